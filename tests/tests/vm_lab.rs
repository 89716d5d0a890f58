//! The lab's virtual machines, against DPDK's own forwarder: what the suites rely on works.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::host::Proc;
use tests::lab::on_all_cores;
use tests::vm::Spec;
use tests::{Lab, Nic, Shell, Vm, eventually};

// The machine's address, and its peer's.
const GUEST: &str = "192.0.2.11";
const PEER: &str = "192.0.2.1";

/// DPDK's testpmd between a vhost-user socket and a tap `peer` with an address, in the server.
fn forwarder(lab: &Lab, socket: &Path) -> Proc {
    let mut command = Command::new("dpdk-testpmd");
    command
        .args(["-l", "0,1", "--no-huge", "-m", "512", "--no-pci", "--no-shconf"])
        .arg(format!("--file-prefix=vm{}", std::process::id()))
        .arg(format!("--vdev=net_vhost0,iface={},queues=1", socket.display()))
        .args([
            "--vdev=net_tap0,iface=peer",
            "--",
            "--total-num-mbufs=16384",
            "--stats-period=3600",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let forwarder = on_all_cores(|| Proc::start(&mut command));
    let server = lab.server();
    // The tap comes first.
    eventually("testpmd listens", Duration::from_secs(10), || socket.exists());
    server.address("peer", &format!("{PEER}/24"));
    forwarder
}

/// The interface is as the kernel found it, and works once it is configured.
#[track_caller]
fn works_once_configured(vm: &Vm) {
    vm.address("eth0", &format!("{GUEST}/24"));
    eventually("its peer answers", Duration::from_secs(5), || vm.ping(PEER));
}

#[test]
fn a_virtual_machine_forwards_reboots_and_comes_back() {
    let lab = Lab::new();
    let server = lab.server();
    let socket = lab.dir().join("vhost.sock");
    let _forwarder = forwarder(&lab, &socket);
    let mac = "02:00:00:00:00:11";
    let mut vm = Vm::start(&lab, Spec::new("vm").nic(Nic::connecting(&socket, mac)));

    // A shell there is a shell here.
    assert_eq!(vm.mac("eth0"), mac);
    let output = vm.output("echo out; echo err >&2; exit 3");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(3), &b"out\n"[..]));
    assert_eq!(output.stderr, b"err\n");
    let killed = vm.output_within(Duration::from_secs(1), "sleep 9");
    assert_eq!(killed.status.code(), Some(137));
    let text = "0123456789".repeat(1_000);
    vm.write("/tmp/text", &text);
    assert_eq!(vm.run("cat /tmp/text"), text);

    works_once_configured(&vm);
    vm.reaches(PEER);
    server.reaches(GUEST);
    assert_eq!(vm.neighbor(PEER), Some(server.mac("peer")));
    let iperf = vm.spawn("iperf3 -s -1");
    eventually("iperf3 listens", Duration::from_secs(5), || {
        vm.succeeds("netstat -tln | grep :5201")
    });
    server.run(&format!("iperf3 -c {GUEST} -t 2"));
    assert!(vm.finish(iperf, Duration::from_secs(5)).status.success());
    let sleep = vm.spawn("sleep 999");
    assert!(vm.runs(sleep));
    vm.end(sleep);
    assert!(!vm.runs(sleep));
    eventually("the job is gone", Duration::from_secs(5), || {
        !vm.succeeds("ps | grep '[s]leep 999'")
    });

    let device = vm.unbind("eth0");
    assert!(!vm.has_iface("eth0"));
    vm.bind(&device);
    works_once_configured(&vm);

    vm.reboot();
    works_once_configured(&vm);

    vm.kill();
    assert!(!vm.is_running() && !server.ping(GUEST));
    vm.restart();
    works_once_configured(&vm);
}
