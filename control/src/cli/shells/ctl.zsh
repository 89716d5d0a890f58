
# The words of `guestway ctl`, from the program itself.
_guestway_ctl() {
    local found
    found=$(guestway ctl ${opt_args[--socket]:+--socket} ${opt_args[--socket]} --complete -- "${(@)words[1,CURRENT]}" 2>/dev/null)
    # 2: a path on this machine.
    if (( $? == 2 )); then
        _files
    else
        compadd -- ${(f)found}
    fi
}
