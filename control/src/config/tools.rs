//! Which of DPDK's own tools can look into an appliance that runs with this configuration.

use super::Appliance;
use std::fmt;

/// One tool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DpdkTool {
    /// Its program.
    pub program: &'static str,
    /// The EAL argument that keeps it out, and what that does; absent where it can look.
    pub kept_out_by: Option<(&'static str, &'static str)>,
}

impl fmt::Display for DpdkTool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kept_out_by {
            None => write!(out, "{} can look into it", self.program),
            Some((argument, why)) => write!(out, "{} can't: {argument} {why}", self.program),
        }
    }
}

/// The tools: `dpdk-telemetry.py` asks by a socket among EAL's run-time files, `dpdk-proc-info` is a secondary process
/// and maps the appliance's memory (DPDK programmer's guide, "Multi-process Support").
pub fn dpdk_tools(appliance: &Appliance) -> [DpdkTool; 2] {
    let given = |argument: &str| appliance.eal.iter().any(|one| one == argument);
    let no_files = ("--no-shconf", "switches EAL's run-time files off");
    let no_files = given(no_files.0).then_some(no_files);
    let no_sharing = ("--no-huge", "gives memory that no other process can map");
    let in_memory = ("--in-memory", "keeps what others would need out of the file system");
    let first =
        |list: [(&'static str, &'static str); 2]| list.into_iter().find(|(one, _)| given(one));
    [
        DpdkTool { program: "dpdk-telemetry.py", kept_out_by: no_files },
        DpdkTool {
            program: "dpdk-proc-info",
            kept_out_by: first([no_sharing, in_memory]).or(no_files),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_tool_out_is_named() {
        let said = |eal: &[&str]| {
            let eal = eal.iter().map(ToString::to_string).collect();
            dpdk_tools(&Appliance { eal, ..Default::default() }).map(|tool| tool.to_string())
        };
        let good = ["dpdk-telemetry.py can look into it", "dpdk-proc-info can look into it"];
        assert_eq!(said(&["--socket-mem", "1024"]), good);
        let [telemetry, info] = said(&["--no-huge", "-m", "256"]);
        assert_eq!(telemetry, good[0]);
        assert!(info.starts_with("dpdk-proc-info can't: --no-huge "), "{info}");
        let [telemetry, info] = said(&["--no-shconf"]);
        assert!(telemetry.contains("can't: --no-shconf") && info.contains("can't: --no-shconf"));
        assert!(said(&["--in-memory"])[1].contains("--in-memory"));
    }
}
