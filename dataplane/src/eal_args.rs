//! Which of EAL's arguments an operator may give: the one list, for the file's check and for the start,
//! so that what is found good also starts.

/// Long options that are ours alone, each with why.
const REFUSED_LONG: [(&str, &str); 6] = [
    ("lcores", CORES),
    ("main-lcore", CORES),
    ("service-corelist", CORES),
    ("corelist", CORES),
    ("coremask", CORES),
    ("proc-type", "guestway is always DPDK's primary process"),
];
const CORES: &str = "cores are given by `control_core` and `workers`";

/// Short options of EAL that take a value (DPDK Linux guide, EAL parameters).
const SHORT_WITH_VALUE: &str = "abcdlmnrsS";

/// Whether EAL may be given this argument.
///
/// # Errors
/// Why it is refused.
pub fn check(argument: &str) -> Result<(), &'static str> {
    if argument.contains('\0') {
        return Err("it holds a zero byte");
    }
    if argument == "--" {
        return Err("EAL's arguments end by themselves");
    }
    if let Some(typed) = long_name(argument) {
        if "help".starts_with(typed) {
            return Err("EAL's options are listed in the DPDK guide");
        }
        // getopt_long takes a long option by any beginning that fits no other.
        let taken = REFUSED_LONG.iter().find(|(name, _)| name.starts_with(typed));
        return taken.map_or(Ok(()), |(_, why)| Err(*why));
    }
    // A cluster such as `-vl0`: letters up to the first that takes the rest as its value.
    for letter in argument.strip_prefix('-').unwrap_or_default().chars() {
        match letter {
            'c' | 'l' | 's' | 'S' => return Err(CORES),
            'h' => return Err("EAL's options are listed in the DPDK guide"),
            letter if SHORT_WITH_VALUE.contains(letter) => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

/// Whether an argument is one of these long options, by any beginning of three letters and more: EAL (getopt_long) takes
/// every beginning that fits one option only.
pub fn is_long(argument: &str, names: &[&str]) -> bool {
    let typed = long_name(argument).filter(|typed| typed.len() > 2);
    typed.is_some_and(|typed| names.iter().any(|name| name.starts_with(typed)))
}

/// The name of a long option as typed, without its value.
fn long_name(argument: &str) -> Option<&str> {
    let rest = argument.strip_prefix("--")?;
    Some(rest.split_once('=').map_or(rest, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_about_cores_and_process_type_are_refused_in_every_spelling() {
        for argument in [
            "-l",
            "-l1",
            "-c",
            "-c0x3",
            "-s1",
            "-S",
            "-vl0",
            "--lcores",
            "--lcores=0",
            "--lco=0@0",
            "--main-lcore=1",
            "--main",
            "--corelist=1",
            "--coremask",
            "--proc-type=secondary",
            "--",
            "-h",
            "--help",
            "-m\0",
        ] {
            assert!(check(argument).is_err(), "{argument}");
        }
    }

    #[test]
    fn other_arguments_pass() {
        for argument in
            ["-m", "512", "-mcls", "--vdev=net_null0", "--log-level=8", "-v", "--in-memory"]
        {
            assert_eq!(check(argument), Ok(()), "{argument}");
        }
    }
}
