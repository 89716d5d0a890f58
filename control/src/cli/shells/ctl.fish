
# The words of `guestway ctl`, from the program itself.
function __guestway_ctl
    set -l words (commandline -opc)[3..]
    set -l socket
    while set -q words[1]
        switch $words[1]
            case --socket
                set socket --socket $words[2]
                set -e words[1..2]
            case --json
                set -e words[1]
            case '*'
                break
        end
    end
    guestway ctl $socket --complete -- $words (commandline -ct) 2>/dev/null
    # 2: a path on this machine.
    test $status -eq 2; and __fish_complete_path (commandline -ct)
end
complete -c guestway -n '__fish_guestway_using_subcommand ctl' -f -a '(__guestway_ctl)'
