//! net_tap: real frames between a kernel interface and us.

mod eal_lab;

use dataplane::dpdk::{AttachSpec, ethdev};
use dataplane::frame::Frame;
use dataplane::wire::ethernet::MacAddr;
use eal_lab::{bytes_of, ethernet, eventually, expect_in_kernel, frame, listen, receive, send, sh, start};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

#[test]
fn frames_pass_both_ways_unchanged() {
    let (eal, mut pool) = start();
    let spec =
        AttachSpec { mac: Some(MAC), mtu: 1400, ..AttachSpec::new("net_tap0,iface=t0", pool) };
    let (port, mut rx, mut tx) = ethdev::attach(eal, &spec).unwrap();
    assert_eq!(port.driver(), "net_tap");
    assert_eq!(port.mac().unwrap(), MAC);
    assert_eq!(port.kernel_interface().as_deref(), Some("t0"));
    let shown = sh("ip link show t0");
    assert!(shown.contains("02:00:00:00:00:07") && shown.contains("mtu 1400"), "{shown}");
    eventually("link up", || port.link().unwrap().up);

    let listener = listen("t0");
    let sent = ethernet(MAC.0, 900);
    send(&mut tx[0], [frame(&mut pool, &sent)]);
    expect_in_kernel(&listener, &sent);

    // The kernel asks for a neighbor that doesn't exist: an ARP request by broadcast.
    sh("ip addr add 192.0.2.1/24 dev t0; ping -c1 -W1 192.0.2.2 || true");
    let arp = receive(&mut rx[0], |frame| frame.head().get(12..14) == Some(&[8, 6]));
    let bytes = bytes_of(&arp);
    assert_eq!((&bytes[..6], &bytes[6..12]), (&[0xff; 6][..], &MAC.0[..]));
    assert_eq!(bytes[38..42], [192, 0, 2, 2]);
    drop(arp);
    port.detach(rx, tx).unwrap();
    assert_eq!(pool.in_use(), 0);
}
