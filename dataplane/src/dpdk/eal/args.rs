//! EAL's arguments: ours, and which of the operator's are let through.

use super::{EalError, EalOptions};
use crate::eal_args::{self, is_long};

/// The whole command line for `rte_eal_init`, program name first.
pub(super) fn build(options: &EalOptions) -> Result<Vec<String>, EalError> {
    for argument in &options.extra {
        eal_args::check(argument)
            .map_err(|why| EalError::ArgumentRefused { argument: argument.clone(), why })?;
    }
    let cores = std::iter::once(&options.control_core).chain(&options.worker_cores);
    let lcores: Vec<String> = cores.enumerate().map(|(id, core)| format!("{id}@{core}")).collect();
    let mut arguments: Vec<String> =
        ["guestway", "--lcores", &lcores.join(","), "--main-lcore", "0"].map(str::to_owned).into();
    let names_devices = |argument: &String| {
        is_short(argument, 'a')
            || is_short(argument, 'b')
            || is_long(argument, &["allow", "block", "no-pci"])
    };
    if !options.extra.iter().any(names_devices) {
        // Without an allow-list EAL takes every device bound to vfio at start. This address is no
        // network card's; the ports that the operator names are attached one by one.
        arguments.extend(["-a", "0000:00:00.0"].map(str::to_owned));
    }
    let excludes_single = |argument: &String| {
        is_long(argument, &["single-file-segments", "no-huge", "legacy-mem", "huge-unlink"])
    };
    if !options.extra.iter().any(excludes_single) {
        // A virtio-user port shares our memory by file, and its protocol has room for eight files;
        // with one file per hugepage the back end would see a part and take no frame.
        arguments.push("--single-file-segments".to_owned());
    }
    arguments.extend(options.extra.iter().cloned());
    Ok(arguments)
}

/// Whether the operator chose to run without hugepages.
pub(super) fn is_no_huge(options: &EalOptions) -> bool {
    options.extra.iter().any(|argument| is_long(argument, &["no-huge"]))
}

/// Whether the operator wants to see DPDK's log.
pub(super) fn wants_log(options: &EalOptions) -> bool {
    options.extra.iter().any(|argument| is_long(argument, &["log-level"]))
}

fn is_short(argument: &str, option: char) -> bool {
    argument.strip_prefix('-').is_some_and(|rest| rest.starts_with(option))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(extra: &[&str]) -> EalOptions {
        EalOptions {
            control_core: 3,
            worker_cores: vec![1, 5],
            extra: extra.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn lcores_are_numbered_from_zero_and_mapped_to_cores() {
        let built = build(&options(&["--no-huge", "-m", "64"])).unwrap();
        assert_eq!(
            built.join(" "),
            "guestway --lcores 0@3,1@1,2@5 --main-lcore 0 -a 0000:00:00.0 --no-huge -m 64"
        );
    }

    #[test]
    fn hugepages_come_in_few_files_unless_the_operator_says_otherwise() {
        for (extra, ours) in [
            (&["-m", "64"][..], 1),
            (&["--in-memory"], 1),
            (&["--single-file-segments"], 0),
            (&["--huge-unlink"], 0),
            (&["--no-huge"], 0),
        ] {
            let built = build(&options(extra)).unwrap();
            let given = extra.iter().filter(|text| **text == "--single-file-segments").count();
            let count = built.iter().filter(|text| *text == "--single-file-segments").count();
            assert_eq!(count, ours + given, "{built:?}");
        }
    }

    #[test]
    fn an_allow_list_of_the_operator_replaces_ours() {
        for extra in
            [&["-a", "0000:3b:00.0"][..], &["--allow=0000:3b:00.0"], &["--no-pci"], &["-b1"]]
        {
            let built = build(&options(extra)).unwrap().join(" ");
            assert!(!built.contains("0000:00:00.0"), "{built}");
        }
    }

    #[test]
    fn refused_arguments_are_named() {
        let refused = build(&options(&["-m", "64", "--lcores=0"])).unwrap_err().to_string();
        assert!(refused.contains("--lcores=0") && refused.contains("refused"), "{refused}");
    }
}
