//! Filters as tcpdump and Wireshark have them (pcap-filter(7)), compiled by libpcap.
//!
//! Who types a filter compiles it: names are looked up by the client's resolver, libpcap's parser runs with
//! the client's rights, and what reaches the appliance is a list of instructions that it checks.

use dataplane::sight::bpf::Instruction;

/// Compiles a filter for Ethernet frames.
///
/// # Errors
/// What libpcap says is wrong with it.
#[cfg(feature = "dpdk")]
pub fn compile(text: &str) -> Result<Vec<Instruction>, String> {
    let wrong = |error: pcap::Error| match error {
        pcap::Error::PcapError(reason) => format!("bad filter {text:?}: {reason}"),
        other => format!("bad filter {text:?}: {other}"),
    };
    let ethernet = pcap::Capture::dead(pcap::Linktype::ETHERNET).map_err(wrong)?;
    let program = ethernet.compile(text, true).map_err(wrong)?;
    let read = |one: &pcap::BpfInstruction| {
        let line = one.to_string();
        parse(&line).ok_or_else(|| format!("libpcap's instruction {line:?} is not understood"))
    };
    program.get_instructions().iter().map(read).collect()
}

/// As above; this build has no libpcap, as it has no DPDK.
///
/// # Errors
/// Always.
#[cfg(not(feature = "dpdk"))]
pub fn compile(text: &str) -> Result<Vec<Instruction>, String> {
    Err(format!("no filter {text:?}: built without libpcap"))
}

/// The library shows an instruction as `tcpdump -ddd` does, and in no other way.
#[cfg(feature = "dpdk")]
fn parse(line: &str) -> Option<Instruction> {
    let mut words = line.split(' ');
    let one = Instruction {
        code: words.next()?.parse().ok()?,
        if_true: words.next()?.parse().ok()?,
        if_false: words.next()?.parse().ok()?,
        k: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(one)
}

#[cfg(all(test, feature = "dpdk"))]
mod tests {
    use super::*;
    use dataplane::sight::bpf::Program;
    use proptest::prelude::*;
    use proptest::sample::select;

    /// What operators ask for, and what makes the compiler use each kind of instruction.
    const FILTERS: &[&str] = &[
        "icmp",
        "arp or icmp",
        "host 10.0.0.2",
        "net 10.0.0.0/8 and not udp",
        "tcp port 443",
        "udp portrange 1000-2000",
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
        "ip[8] - 1 > 10 and ip[2:2] * 2 != 100",
        "ether src 02:00:00:00:00:01",
        "vlan 100 and ip",
        "ip6 and tcp",
        "len > 100",
        "greater 60 and less 90",
        "ip and (ip[6:2] & 0x1fff) = 0 and udp[4:2] / 4 >= 2",
        "ether[0] & 1 = 1 and ip[0] & 0xf != 5",
        "src port 68 and dst port 67",
    ];

    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let ether_type = select(vec![0x0800u16, 0x0806, 0x86dd, 0x8100]);
        let protocol = select(vec![1u8, 6, 17, 58]);
        let rest = prop::collection::vec(any::<u8>(), 14..120);
        (ether_type, protocol, rest, any::<bool>()).prop_map(|(kind, protocol, rest, is_near)| {
            let mut bytes = rest;
            bytes[12..14].copy_from_slice(&kind.to_be_bytes());
            if bytes.len() > 40 {
                bytes[14] = 0x45;
                bytes[23] = protocol;
                bytes[20] &= 0xe0;
                if is_near {
                    bytes[26..30].copy_from_slice(&[10, 0, 0, 2]);
                    bytes[34..36].copy_from_slice(&443u16.to_be_bytes());
                }
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn ours_and_libpcaps_admit_the_same(text in select(FILTERS.to_vec()), frame in frame()) {
            let ours = Program::new(compile(text).unwrap()).unwrap();
            let dead = pcap::Capture::dead(pcap::Linktype::ETHERNET).unwrap();
            let theirs = dead.compile(text, true).unwrap();
            let wire_bytes = u32::try_from(frame.len()).unwrap();
            prop_assert_eq!(ours.admits(&frame, wire_bytes), theirs.filter(&frame), "{}", text);
        }
    }

    #[test]
    fn what_is_no_filter_is_told_why() {
        let error = compile("icmp and and").unwrap_err();
        assert!(error.contains("icmp and and") && error.contains("syntax error"), "{error}");
        assert!(compile("host 300.1.1.1").is_err());
    }
}
