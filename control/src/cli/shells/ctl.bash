
# The words of `guestway ctl`, from the program itself. The line is split at blanks: what bash takes for the
# borders of words stands in the middle of ours.
_guestway_ctl() {
    local line=${COMP_LINE:0:COMP_POINT} words at=2 socket=() partial= prefix found
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    while ((at < ${#words[@]} - 1)); do
        case ${words[at]} in
            --socket) socket=(--socket "${words[at + 1]}"); ((at += 2)) ;;
            --json) ((at += 1)) ;;
            *) break ;;
        esac
    done
    if [[ ${words[1]} != ctl || $at -ge ${#words[@]} || ($at -eq $((${#words[@]} - 1)) && ${words[at]} == -*) ]]; then
        _guestway "$@"
        return
    fi
    partial=${words[${#words[@]} - 1]}
    prefix=${partial%"${COMP_WORDS[COMP_CWORD]}"}
    found=$("${words[0]}" ctl "${socket[@]}" --complete -- "${words[@]:at}" 2>/dev/null)
    # 2: a path on this machine.
    [[ $? == 2 ]] && compopt -o default
    mapfile -t COMPREPLY < <(while read -r one; do [[ -n $one ]] && echo "${one#"$prefix"}"; done <<<"$found")
}
complete -F _guestway_ctl guestway
