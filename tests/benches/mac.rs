//! Look-ups of the MAC table, a burst of 64 at a time, against DPDK's `rte_hash` in the same process.

#[allow(dead_code, reason = "shared by benchmarks that each need a part")]
mod oracle;

use dataplane::dpdk::oracle::RteHash;
use dataplane::frame::BURST_PKTS;
use dataplane::ids::{AdjacencyId, NetworkId};
use dataplane::table::{MacTable, MacWriter, Qsbr};
use dataplane::wire::ethernet::MacAddr;
use oracle::{eal, orders, per_item};
use std::error::Error;
use std::hint::black_box;
use tests::frames::Random;
use tests::measure::{Better, Choice, Contestant, Report, take_turns};

/// Many short ones: the speed of a shared machine changes within seconds.
const ROUNDS: usize = 144;
/// Keys looked up in a turn.
const LOOK_UPS: usize = 1 << 20;
const LAN: NetworkId = NetworkId(3);

fn mac(number: usize) -> MacAddr {
    let [.., a, b, c] = number.to_be_bytes();
    // Of many vendors, so that no part of the key is the same in all.
    MacAddr([2, c ^ 0x5a, b, a, b, c])
}

fn main() -> Result<(), Box<dyn Error>> {
    let choice = Choice::from_arguments();
    let mut report = Report::new("mac");
    let mut random = Random(2);
    for (case, entries) in [("100", 100), ("10,000", 10_000), ("100,000", 100_000)] {
        let mut ours = MacWriter::new(entries, Qsbr::new(1));
        let mut theirs =
            RteHash::new(eal()?, &format!("mac{entries}"), u32::try_from(entries * 2)?)?;
        for number in 0..entries {
            let id = u32::try_from(number + 1)?;
            ours.insert(LAN, mac(number), AdjacencyId(id), true)?;
            theirs.add(MacTable::key(LAN, mac(number)), number + 1)?;
        }
        for (order, numbers) in orders(entries, LOOK_UPS, &mut random) {
            let case = format!("{case} entries, {order}");
            if !choice.wants(&case) {
                continue;
            }
            let macs: Vec<u64> = numbers.iter().map(|number| wire_order(mac(*number))).collect();
            let keys: Vec<u64> =
                numbers.iter().map(|number| MacTable::key(LAN, mac(*number))).collect();
            check(ours.table(), &theirs, &macs, &keys)?;
            let mut contestants = [
                Contestant::new("ours", || look_up(ours.table(), &macs)),
                Contestant::new("rte_hash", || look_up_rte(&theirs, &keys)),
            ];
            let samples = take_turns(ROUNDS, &mut contestants);
            report.rows.extend(samples.rows(&case, "look-up", "ns", Better::Less));
        }
    }
    report.finish(&choice.directory)?;
    Ok(())
}

/// As a MAC lies in a frame, first byte lowest.
fn wire_order(MacAddr([a, b, c, d, e, f]): MacAddr) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// Both answer alike, and find every key.
fn check(
    ours: &MacTable,
    theirs: &RteHash,
    macs: &[u64],
    keys: &[u64],
) -> Result<(), Box<dyn Error>> {
    for (macs, keys) in macs.as_chunks().0.iter().zip(keys.chunks(BURST_PKTS)) {
        let (mut numbers, mut data) = ([0; BURST_PKTS], [0; RteHash::BULK]);
        ours.lookup_burst(LAN, macs, BURST_PKTS, &mut numbers);
        theirs.lookup_bulk(keys, &mut data);
        let mut both = numbers.iter().zip(&data);
        if !both.all(|(number, data)| *number != 0 && *number as usize == *data) {
            return Err("rte_hash answers otherwise".into());
        }
    }
    Ok(())
}

fn look_up(table: &MacTable, macs: &[u64]) -> f64 {
    let mut out = [0; BURST_PKTS];
    per_item(macs.len(), || {
        for macs in macs.as_chunks().0 {
            table.lookup_burst(LAN, macs, BURST_PKTS, &mut out);
            black_box(&out);
        }
    })
}

fn look_up_rte(table: &RteHash, keys: &[u64]) -> f64 {
    let mut out = [0; RteHash::BULK];
    per_item(keys.len(), || {
        for keys in keys.chunks_exact(BURST_PKTS) {
            black_box(table.lookup_bulk(keys, &mut out));
            black_box(&out);
        }
    })
}
