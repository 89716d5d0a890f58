//! Which of DPDK's own tools can look into an appliance that runs with this configuration.

use dataplane::eal_args;
use std::fmt;

/// The EAL argument that keeps a tool out, and what that does.
type Reason = (&'static str, &'static str);

/// One tool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DpdkTool {
    /// Its program.
    pub program: &'static str,
    /// The EAL argument that keeps it out, and what that does; absent where it can look.
    pub kept_out_by: Option<Reason>,
}

impl fmt::Display for DpdkTool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kept_out_by {
            None => write!(out, "{} can look into it", self.program),
            Some((argument, why)) => write!(out, "{} can't: {argument} {why}", self.program),
        }
    }
}

/// The tools: `dpdk-telemetry.py` asks by a socket among EAL's run-time files; `dpdk-proc-info` and `dpdk-dumpcap` are
/// secondary processes and map the appliance's memory (DPDK programmer's guide, "Multi-process Support").
pub fn dpdk_tools(eal: &[String]) -> [DpdkTool; 3] {
    let sharing = kept_out(eal, &[NO_HUGE, IN_MEMORY, UNLINKED, NO_FILES]);
    [
        DpdkTool { program: "dpdk-telemetry.py", kept_out_by: kept_out(eal, &[NO_FILES]) },
        DpdkTool { program: "dpdk-proc-info", kept_out_by: sharing },
        DpdkTool { program: "dpdk-dumpcap", kept_out_by: sharing },
    ]
}

/// Whether an appliance with these EAL arguments can serve `dpdk-dumpcap`.
#[cfg(feature = "dpdk")]
pub(crate) fn shares_memory(eal: &[String]) -> bool {
    dpdk_tools(eal).iter().all(|tool| tool.kept_out_by.is_none())
}

const NO_FILES: Reason = ("--no-shconf", "switches EAL's run-time files off");
const NO_HUGE: Reason = ("--no-huge", "gives memory that no other process can map");
const IN_MEMORY: Reason = ("--in-memory", "keeps what others would need out of the file system");
const UNLINKED: Reason = ("--huge-unlink", "takes the memory's files away, which others would map");

/// The first of these that is among the arguments.
fn kept_out(eal: &[String], reasons: &[Reason]) -> Option<Reason> {
    let is_given = |reason: &&Reason| {
        let names = [reason.0.trim_start_matches('-')];
        // By its value it says that nothing of ours is taken away.
        let harmless =
            |argument: &str| argument.ends_with("=existing") || argument.ends_with("=never");
        eal.iter().any(|argument| eal_args::is_long(argument, &names) && !harmless(argument))
    };
    reasons.iter().find(is_given).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_tool_out_is_named() {
        let said = |eal: &[&str]| {
            let eal: Vec<String> = eal.iter().map(ToString::to_string).collect();
            dpdk_tools(&eal).map(|tool| tool.to_string())
        };
        let good = ["dpdk-telemetry.py", "dpdk-proc-info", "dpdk-dumpcap"]
            .map(|program| format!("{program} can look into it"));
        assert_eq!(said(&["--socket-mem", "1024"]), good);
        assert_eq!(said(&["--huge-unlink=existing"]), good);
        let [telemetry, info, dumpcap] = said(&["--no-huge", "-m", "256"]);
        assert_eq!(telemetry, good[0]);
        assert!(info.starts_with("dpdk-proc-info can't: --no-huge "), "{info}");
        assert!(dumpcap.starts_with("dpdk-dumpcap can't: --no-huge "), "{dumpcap}");
        assert!(said(&["--no-shconf"]).iter().all(|line| line.contains("can't: --no-shconf ")));
        for (given, named) in [
            ("--in-memory", "--in-memory"),
            ("--in-mem", "--in-memory"),
            ("--huge-unlink", "--huge-unlink"),
            ("--huge-unlink=always", "--huge-unlink"),
        ] {
            assert!(said(&[given])[2].contains(&format!("can't: {named} ")), "{given}");
        }
    }
}
