//! Rates from readings, and what is drawn of them.

use super::draw::{Picture, si};
use super::rates::{Flow, Rates};
use crate::api::view::{Counters, TrafficCounters};
use crossterm::event::KeyCode;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::time::Duration;

/// `ct1/eth0`, limited to 10 Mbit/s inwards, `vm1/eth0`, ports `up0` and `up1`, one worker; read at 5 s.
fn before() -> Counters {
    Counters::from(&crate::metrics::tests::reading())
}

fn add(traffic: &mut TrafficCounters, rx: (u64, u64), tx: (u64, u64), dropped: u64) {
    traffic.rx_pkts += rx.0;
    traffic.rx_bytes += rx.1;
    traffic.tx_pkts += tx.0;
    traffic.tx_bytes += tx.1;
    traffic.dropped += dropped;
}

/// Two seconds later.
fn after() -> Counters {
    let mut now = before();
    now.read_at_ms += 2_000;
    add(&mut now.in_all, (4_000, 4_000_000), (4_000, 4_000_000), 6);
    add(&mut now.adapters[0].traffic, (1_000, 64_000), (2_000, 2_500_000), 6);
    now.workers[0].run_ns += 2_000_000_000;
    now.workers[0].busy_ns += 500_000_000;
    now.workers[0].rx_pkts += 3_000;
    now
}

#[test]
fn rates_are_per_second_of_the_readings_own_time() {
    let rates = Rates::between(Some(&before()), &after());
    let flow =
        Flow { rx_bps: 256_000.0, rx_pps: 500.0, tx_bps: 10e6, tx_pps: 1000.0, drops_pps: 3.0 };
    assert_eq!(rates.adapters[0].flow, Some(flow));
    assert_eq!(rates.adapters[1].flow, Some(Flow::default()));
    assert_eq!(rates.in_all.map(|flow| flow.rx_pps), Some(2000.0));
    let worker = rates.workers[0];
    assert_eq!((worker.load, worker.pps, worker.is_late), (Some(0.25), Some(1500.0), false));
}

#[test]
fn where_counts_began_anew_there_is_no_rate() {
    let no_flow = |rates: &Rates| rates.adapters.iter().all(|one| one.flow.is_none());
    assert!(no_flow(&Rates::between(None, &after())));
    // Read at the same time; by another process; backwards.
    assert!(no_flow(&Rates::between(Some(&before()), &before())));
    let restarted = Counters { pid: 1, ..after() };
    let rates = Rates::between(Some(&before()), &restarted);
    assert!(no_flow(&rates) && rates.workers[0].load.is_none() && rates.in_all.is_none());
    let mut back = after();
    back.adapters[0].traffic = TrafficCounters::default();
    let rates = Rates::between(Some(&before()), &back);
    assert_eq!(rates.adapters[0].flow, None);
    assert_eq!(rates.adapters[1].flow, Some(Flow::default()), "the others go on");
    // One that was not there before.
    let mut fewer = before();
    fewer.adapters.remove(0);
    assert_eq!(Rates::between(Some(&fewer), &after()).adapters[0].flow, None);
}

#[test]
fn a_worker_that_stands_still_has_no_load() {
    let mut now = after();
    now.workers[0] = before().workers[0];
    now.workers[0].late_beats += 1;
    let worker = Rates::between(Some(&before()), &now).workers[0];
    assert_eq!((worker.load, worker.pps, worker.is_late), (None, Some(0.0), true));
}

#[test]
fn numbers_have_three_digits_and_a_prefix() {
    for (number, shown) in [
        (0.0, "0"),
        (999.0, "999"),
        (999.6, "1.00k"),
        (1_234.0, "1.23k"),
        (12_345.0, "12.3k"),
        (123_456.0, "123k"),
        (10e6, "10.0M"),
        (2.5e9, "2.50G"),
        (1e15, "1000T"),
    ] {
        assert_eq!(si(number), shown);
    }
}

fn drawn(picture: &mut Picture, columns: u16, rows: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| picture.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..rows).map(|y| row(y).trim_end().to_owned()).collect()
}

fn picture() -> Picture {
    let mut picture = Picture::new(Duration::from_secs(1));
    picture.show(Rates::between(Some(&before()), &after()), &after());
    picture
}

#[test]
fn the_picture_has_workers_ports_and_adapters() {
    let lines = drawn(&mut picture(), 120, 12);
    let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
    assert!(lines[0].starts_with("guestway forwarding, up 0:01, 2 adapters"), "{lines:#?}");
    assert!(lines[0].contains("2.00kpkt/s"), "{lines:#?}");
    assert!(lines[1].contains("core 1   [|||||               ]  25.0%  1.50kp/s"), "{lines:#?}");
    assert_eq!(words(3)[..3], ["up0", "uplink", "up"], "{lines:#?}");
    assert_eq!(
        words(6),
        ["ct1/eth0", "-", "up", "10.0M", "1.00k", "256k", "500", "3", "10.0M/-"],
        "{lines:#?}"
    );
    assert_eq!(words(7)[..3], ["vm1/eth0", "lan0", "-"], "{lines:#?}");
    assert!(lines[11].starts_with("q: leave  order: n:name"), "{lines:#?}");
    // On a narrow terminal networks and limits make room; on a low one adapters stay.
    let lines = drawn(&mut picture(), 76, 6);
    let row: Vec<_> = lines.iter().filter(|line| line.starts_with("ct1/eth0")).collect();
    assert_eq!(row.len(), 1, "{lines:#?}");
    assert!(row[0].ends_with(" 3"), "{lines:#?}");
    drawn(&mut picture(), 1, 1);
}

#[test]
fn keys_order_scroll_and_leave() {
    let mut picture = picture();
    let mut first = |keys: &[KeyCode]| {
        assert!(keys.iter().all(|key| picture.key(*key)));
        // Room for one adapter.
        drawn(&mut picture, 120, 8).into_iter().find(|line| line.contains("/eth0")).unwrap()
    };
    assert!(first(&[]).starts_with("ct1"));
    assert!(first(&[KeyCode::Down]).starts_with("vm1"));
    assert!(first(&[KeyCode::End, KeyCode::PageDown]).starts_with("vm1"), "no further");
    assert!(first(&[KeyCode::Char('d')]).starts_with("ct1"), "drops most, from the top");
    assert!(first(&[KeyCode::Char('r')]).starts_with("vm1"));
    assert!(first(&[KeyCode::Char('n')]).starts_with("ct1"));
    assert!(!picture.key(KeyCode::Char('q')));
}

#[test]
fn a_reading_that_is_missing_is_told_and_the_last_one_stays() {
    let mut picture = picture();
    picture.miss("no guestway answers on /run/guestway/api.sock".into());
    let lines = drawn(&mut picture, 120, 12);
    assert!(lines[0].starts_with("no guestway answers on"), "{lines:#?}");
    assert!(lines[6].contains("10.0M"), "{lines:#?}");
}
