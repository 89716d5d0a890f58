//! The appliance on bare metal, as far as a test can have it: a machine of its own with an IOMMU, two
//! e1000e NICs bound to vfio-pci, hugepages, and the configuration file that operators start from.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::vm::{Job, Recipe, Spec};
use tests::world::{OUT, Outside};
use tests::{Lab, Vm, eventually};

/// Where the NICs are in that machine.
const NICS: [&str; 2] = ["0000:00:04.0", "0000:00:05.0"];
/// A host on the second NIC's LAN.
const PEER: &str = "198.51.100.150";
/// What DPDK loads at start: buses, pools, the NICs' driver and the taps'.
const DRIVERS: [&str; 5] = ["bus_pci", "bus_vdev", "mempool_ring", "net_e1000", "net_tap"];

#[test]
fn card4_forwards_between_nics_on_vfio_and_containers() {
    let lab = Lab::new();
    let outside = Outside::new(&lab);
    let (second, peer) = (lab.bridge("lan2"), lab.host("peer"));
    second.plug(&lab, &peer, "eth0");
    peer.address("eth0", &format!("{PEER}/25"));
    let mut vm = Vm::launch(&lab, machine());
    for (lan, tap) in [(&outside.lan, "nic0"), (&second, "nic1")] {
        eventually("QEMU's tap is there", Duration::from_secs(10), || lan.try_enslave(tap));
    }
    vm.booted();
    prepare(&vm);

    let appliance = start(&vm);
    println!("{}", vm.run("guestway ctl show port info all"));

    let limit = Duration::from_secs(30);
    // Routed: by the first NIC, with the appliance as the container's gateway and its proxy on the LAN.
    eventually("db reaches the LAN", limit, || vm.succeeds(&ping("db", OUT)));
    eventually("the LAN reaches db", limit, || outside.out.ping("192.0.2.12"));
    // The machine's own kernel, by the same NIC.
    eventually("the machine reaches the LAN", limit, || vm.ping(OUT));
    // Bridged: by the second NIC, with the container's own MAC on that LAN.
    vm.run("ip -n app link set eth0 up");
    vm.run("ip -n app addr replace 198.51.100.200/25 dev eth0");
    eventually("app reaches its LAN", limit, || vm.succeeds(&ping("app", PEER)));
    let mac = vm.run("ip netns exec app cat /sys/class/net/eth0/address");
    assert_eq!(peer.neighbor("198.51.100.200").as_deref(), Some(mac.trim()));

    vm.run("killall -TERM guestway");
    assert!(vm.finish(appliance, Duration::from_secs(10)).status.success());

    // Again with workers that sleep while there is nothing to do. DPDK's driver for these NICs sets no vector of
    // MSI-X up for its queues.
    vm.run("sed -i 's/^# polling = .*/polling = \"adaptive\"/' /etc/guestway.toml");
    vm.run("sed -i 's/^eal = ./eal = [\"--vfio-intr=msi\", /' /etc/guestway.toml");
    let appliance = start(&vm);
    eventually("db reaches the LAN", limit, || vm.succeeds(&ping("db", OUT)));
    eventually("app reaches its LAN", limit, || vm.succeeds(&ping("app", PEER)));
    // By the clock each would look a thousand times a second; the NICs' interrupts are relied on once they have come.
    eventually("each worker is woken", limit, || {
        let (before, after) = (loops(&vm), (vm.run("sleep 1"), loops(&vm)).1);
        before.iter().zip(&after).all(|(before, after)| after - before < 500)
    });
    for _ in 0..3 {
        assert!(outside.out.ping("192.0.2.12") && vm.succeeds(&ping("app", PEER)));
        vm.run("sleep 0.3");
    }
    vm.run("killall -TERM guestway");
    assert!(vm.finish(appliance, Duration::from_secs(10)).status.success());
}

/// Starts the appliance there.
fn start(vm: &Vm) -> Job {
    let appliance = vm.spawn("guestway run --config /etc/guestway.toml");
    eventually("the appliance answers", Duration::from_secs(60), || {
        if !vm.runs(appliance) {
            let output = vm.finish(appliance, Duration::from_secs(1));
            let said = [output.stdout, output.stderr].concat();
            panic!(
                "it ended: {}\n{}",
                String::from_utf8_lossy(&said),
                vm.run("dmesg | tail -n 20")
            );
        }
        vm.succeeds("guestway ctl show version")
    });
    appliance
}

/// Times that each worker has looked for something to do.
fn loops(vm: &Vm) -> Vec<u64> {
    let workers: Value =
        serde_json::from_str(&vm.run("guestway ctl --json show worker")).expect("JSON");
    let workers = workers.as_array().expect("workers").iter();
    workers.map(|worker| worker["loops"].as_u64().expect("a number")).collect()
}

/// One echo request from a container.
fn ping(netns: &str, to: &str) -> String {
    format!("ip netns exec {netns} ping -n -q -c 1 -W 1 {to}")
}

/// Three cores, as the file wants two workers; an IOMMU that checks what the NICs do to its memory.
fn machine() -> Spec {
    let nic = |number: usize| {
        format!(
            "-netdev tap,id=nic{number},ifname=nic{number},script=no,downscript=no \
             -device e1000e,netdev=nic{number},addr={},romfile=",
            4 + number
        )
    };
    // There is no interrupt remapping, in which alone VFIO trusts unless told otherwise.
    let recipe = Recipe::new("bare-metal", "linux-image-amd64")
        .module("tun")
        .module("irqbypass")
        .module("vfio_iommu_type1 allow_unsafe_interrupts=1")
        .module("vfio-pci")
        .program(&tests::binary(), "guestway");
    let recipe = drivers().iter().fold(recipe, |recipe, driver| recipe.library(driver));
    Spec::of_image("metal", recipe.image())
        .memory(2_048)
        .cores(3)
        .everywhere()
        .kernel_arguments("intel_iommu=on")
        .devices("-device intel-iommu,intremap=off")
        .devices(&nic(0))
        .devices(&nic(1))
}

/// DPDK's drivers, in the directory from which it loads them.
fn drivers() -> Vec<PathBuf> {
    let plugins = Path::new("/usr/lib/x86_64-linux-gnu/dpdk");
    let entries = std::fs::read_dir(plugins).expect("DPDK's drivers").filter_map(Result::ok);
    let mut dirs = entries.map(|e| e.path()).filter(|path| path.join("librte_net_tap.so").exists());
    let dir = dirs.next().expect("DPDK's drivers");
    DRIVERS.iter().map(|name| dir.join(format!("librte_{name}.so"))).collect()
}

/// What the head of the file tells operators to do.
fn prepare(vm: &Vm) {
    vm.run("sysctl -qw vm.nr_hugepages=512");
    vm.run("mkdir -p /dev/hugepages && mount -t hugetlbfs none /dev/hugepages");
    for nic in NICS {
        vm.run(&format!("echo vfio-pci >/sys/bus/pci/devices/{nic}/driver_override"));
        vm.run(&format!("echo {nic} >/sys/bus/pci/drivers_probe"));
        vm.run(&format!("test -e /sys/bus/pci/drivers/vfio-pci/{nic}"));
    }
    for name in ["gw-venet", "db", "app"] {
        vm.run(&format!("ip netns add {name} && ip -n {name} link set lo up"));
    }
    vm.run("mkdir -p /var/lib/guestway");
    vm.write("/etc/guestway.toml", configuration());
}

/// The operators' file, with this machine's NICs in it, which have one receive queue each.
fn configuration() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/bare-metal.toml");
    let text = std::fs::read_to_string(path).expect("the operators' file");
    let changes = [
        ("device = \"0000:3b:00.0\"", format!("device = \"{}\"", NICS[0])),
        ("device = \"0000:3b:00.1\"", format!("device = \"{}\"", NICS[1])),
        ("queues = 2\nworkers = [1, 2]", "queues = 1".to_owned()),
    ];
    changes.iter().fold(text, |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from:?} in the operators' file");
        text.replace(from, to)
    })
}
