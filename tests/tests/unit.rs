//! The unit file, man pages and completions: what their own tools say of them.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tests::{Appliance, Config, Lab, binary};

fn configs(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(path)
}

/// Runs a command that must exit 0; all it prints.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}

/// Most exposure that systemd may see in it, in tenths: 0 is none, 100 all. What is left is what it needs:
/// the machine's own network and root with CAP_SYS_ADMIN.
const EXPOSURE_MAX: u32 = 38;

#[test]
fn the_unit_is_as_closed_as_it_can_be() {
    let unit = configs("systemd/guestway.service");
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=yes", "--no-pager"]);
    command.arg(format!("--threshold={EXPOSURE_MAX}")).arg(&unit);
    run(&mut command);
}

#[test]
fn the_unit_is_sound() {
    let root = tempfile::tempdir().expect("a directory");
    let place = |path: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        path
    };
    for program in ["usr/bin/guestway", "bin/kill"] {
        std::fs::write(place(program), "").expect("a file");
        std::fs::set_permissions(place(program), PermissionsExt::from_mode(0o755))
            .expect("its mode");
    }
    std::fs::copy(
        configs("systemd/guestway.service"),
        place("etc/systemd/system/guestway.service"),
    )
    .expect("the unit");
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no", "--recursive-errors=no", "guestway.service"]);
    command.arg(format!("--root={}", root.path().display()));
    let said = run(&mut command);
    assert_eq!(said, "", "nothing to complain of");
}

/// The system calls of a set of systemd's, and of the sets that it names.
fn calls(of: &str) -> BTreeSet<String> {
    let text = run(Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", of]));
    let lines = text.lines().skip(1).map(str::trim).filter(|line| !line.starts_with('#'));
    lines
        .flat_map(|line| match line.starts_with('@') {
            true => calls(line),
            false => BTreeSet::from([line.to_owned()]),
        })
        .collect()
}

/// The unit's filter, which holds from the start, leaves what the appliance's own leaves later.
#[test]
fn the_units_system_calls_include_the_appliances() {
    let unit = std::fs::read_to_string(configs("systemd/guestway.service")).expect("the unit");
    let mut allowed = calls("@default");
    for words in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (is_taken, words) = words.strip_prefix('~').map_or((false, words), |w| (true, w));
        for word in words.split(' ') {
            let set = match word.starts_with('@') {
                true => calls(word),
                false => BTreeSet::from([word.to_owned()]),
            };
            match is_taken {
                true => allowed.retain(|call| !set.contains(call)),
                false => allowed.extend(set),
            }
        }
    }
    let source = configs("../control/src/privileges/syscalls.rs");
    let source = std::fs::read_to_string(source).expect("the list");
    let (kept, _) = source.split_once("const ENDING").expect("the list of what ends it");
    let names: BTreeSet<&str> = kept
        .split("libc::SYS_")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
        .collect();
    assert!(names.len() > 100, "{names:?}");
    let missing: Vec<_> = names.into_iter().filter(|name| !allowed.contains(*name)).collect();
    assert_eq!(missing, [""; 0]);
}

/// Pages and completions, as a package has them.
fn generated() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    run(Command::new(binary()).arg("generate").arg(dir.path()));
    dir
}

#[test]
fn the_man_pages_are_clean_and_say_what_there_is() {
    let dir = generated();
    for (page, wants) in [
        ("guestway.8", &["guestway-run(8)", "SIGHUP", "/etc/guestway/guestway.toml"][..]),
        ("guestway-run.8", &["--config", "--apply"]),
        (
            "guestway-ctl.8",
            &[
                "--json",
                "adapter add GUEST ADAPTER port SPEC",
                "show worker",
                "A list of Guest (GET /v1/guests)",
            ],
        ),
        ("guestway-check.8", &["--config"]),
    ] {
        let mut command = Command::new("man");
        command.args(["--warnings=w", "--nj", "--nh", "-l"]).arg(dir.path().join(page));
        command.env("MANWIDTH", "200").env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        let output = command.output().expect("man");
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && complaints.is_empty(), "{page}: {complaints}");
        let text = String::from_utf8_lossy(&output.stdout);
        for want in wants {
            assert!(text.contains(want), "{want} in {page}:\n{text}");
        }
    }
    // What is only for packages is on none.
    let hidden = std::fs::read_dir(dir.path()).expect("pages").flatten();
    assert!(
        hidden.into_iter().all(|file| !file.file_name().to_string_lossy().contains("generate"))
    );
}

/// What bash offers for a line that ends at the cursor.
fn bash(dir: &Path, line: &str) -> Vec<String> {
    let script = format!(
        "source {}/guestway.bash
         COMP_LINE={line:?}; COMP_POINT=${{#COMP_LINE}}
         read -ra COMP_WORDS <<<\"$COMP_LINE\"; [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
         COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
         compopt() {{ echo files; }}
         how=$(complete -p guestway) || exit; how=${{how##*-F }}; how=${{how%% *}}
         $how guestway \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        dir.display()
    );
    let path = std::env::var("PATH").expect("a path");
    let own = binary().parent().expect("a directory").display().to_string();
    let mut command = Command::new("bash");
    let said = run(command.args(["-c", &script]).env("PATH", format!("{own}:{path}")));
    said.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_arguments_commands_and_names() {
    let lab = Lab::new();
    let dir = generated();
    let config = Config::new(&lab).network("lan-of-seven", "").container("ct1");
    let mut app = Appliance::start(&lab, &config, None);
    let socket = app.socket().display().to_string();
    let ctl = |words: &str| bash(dir.path(), &format!("guestway ctl --socket {socket} {words}"));
    let first = bash(dir.path(), "guestway ");
    assert!(
        ["run", "ctl", "check"].iter().all(|word| first.iter().any(|one| one == word)),
        "{first:?}"
    );
    assert!(!first.iter().any(|one| one == "generate"), "{first:?}");
    assert!(bash(dir.path(), "guestway run --con").contains(&"--config".to_owned()));
    assert!(bash(dir.path(), "guestway ctl --js").contains(&"--json".to_owned()));
    assert_eq!(bash(dir.path(), "guestway ctl show ver"), ["version"]);
    assert_eq!(ctl("show network lan-"), ["lan-of-seven"]);
    assert_eq!(ctl("--json show guest c"), ["ct1"]);
    assert_eq!(ctl("guest add "), [""; 0]);
    assert_eq!(ctl("source "), ["files"]);
    app.stop();
}

/// What zsh makes of a line when Tab is typed behind it, in a terminal of its own.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty -b shell "TERM=dumb zsh -f -i"
zpty -w shell "PROMPT=; fpath=($1 \$fpath); autoload -U compinit; compinit -u -D; echo rea''dy"
screen=
for i in {1..100}; do zpty -rt shell out && screen+=$out; [[ $screen == *ready* ]] && break; sleep 0.1; done
screen=
zpty -wn shell "$2"$'\t'
for i in {1..50}; do zpty -rt shell out && screen+=$out; [[ $screen == *$3* ]] && break; sleep 0.1; done
print -r -- "$screen"
"#;

#[test]
fn fish_and_zsh_complete_arguments_and_commands() {
    let dir = generated();
    let own = binary().parent().expect("a directory").display().to_string();
    let path = format!("{own}:{}", std::env::var("PATH").expect("a path"));
    let zsh = |line: &str, want: &str| {
        let mut command = Command::new("zsh");
        command.args(["-f", "-c", ZSH, "zsh"]).arg(dir.path()).args([line, want]);
        run(command.env("PATH", &path))
    };
    for (line, want) in [
        ("guestway ctl show ver", "version"),
        ("guestway ctl --json neighbor fl", "flush"),
        ("guestway ctl --js", "--json"),
        ("guestway ctl source /etc/hostn", "/etc/hostname"),
    ] {
        let screen = zsh(line, want);
        assert!(screen.contains(want), "{line}: {screen}");
    }
    let fish = |line: &str| {
        let script = format!("source {}/guestway.fish; complete -C {line:?}", dir.path().display());
        run(Command::new("fish").args(["--no-config", "-c", &script]).env("PATH", &path))
    };
    assert!(fish("guestway ").contains("check"));
    assert_eq!(fish("guestway ctl show ver").trim(), "version");
    assert!(fish("guestway ctl --json neighbor fl").contains("flush"));
}
