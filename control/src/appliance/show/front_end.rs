//! Front-ends of vhost-user adapters: what is known of the connected one, and the arguments that fit.

use crate::api::view::VhostUser;
use crate::model::VhostUserSpec;
use crate::registry::Adapter;
use dataplane::dpdk::VhostState;

/// Entries of a guest's rings: a burst of ours and one that follows it fit with room to spare.
const RING_ENTRIES: u16 = 1024;

/// Feature bits by name (VIRTIO 1.2, 5.1.3 and 6; linux/virtio_net.h has the same names).
const FEATURES: [(u32, &str); 17] = [
    (0, "csum"),
    (1, "guest-csum"),
    (3, "mtu"),
    (7, "guest-tso4"),
    (8, "guest-tso6"),
    (11, "host-tso4"),
    (12, "host-tso6"),
    (15, "mrg-rxbuf"),
    (17, "ctrl-vq"),
    (18, "ctrl-rx"),
    (21, "guest-announce"),
    (22, "mq"),
    (28, "indirect-desc"),
    (29, "event-idx"),
    (32, "version-1"),
    (34, "packed"),
    (35, "in-order"),
];

/// All that an operator wants to know of an adapter's socket.
pub(super) fn describe(
    adapter: &Adapter,
    spec: &VhostUserSpec,
    state: Option<&VhostState>,
) -> VhostUser {
    let pairs = spec.queues.unwrap_or(1);
    let features = state.map_or(0, |state| state.features);
    let has = |bit: &u32| features & 1 << bit != 0;
    VhostUser {
        connected: state.is_some_and(|state| state.is_connected),
        features: FEATURES
            .iter()
            .filter(|(bit, _)| has(bit))
            .map(|(_, name)| (*name).to_owned())
            .collect(),
        queue_pairs: pairs,
        queue_pairs_on: state.map_or(0, |state| state.pairs_on),
        front_end_mtu: state.and_then(|state| state.front_end_mtu),
        connects: state.map_or(0, |state| state.connects),
        resets: state.map_or(0, |state| state.resets),
        qemu: qemu(adapter, spec, pairs),
        libvirt: libvirt(adapter, spec, pairs),
        cloud_hypervisor: cloud_hypervisor(adapter, spec, pairs),
        dpdk: dpdk(adapter, spec, pairs),
    }
}

/// QEMU, which has to share its memory with us whatever else it has.
fn qemu(adapter: &Adapter, spec: &VhostUserSpec, pairs: u16) -> Vec<String> {
    let (path, name) = (&spec.path, &adapter.name);
    // We connect and connect again; else QEMU does.
    let role = if spec.client { "server=on,wait=off" } else { "reconnect=1" };
    let (queues, several) = match pairs {
        1 => (String::new(), String::new()),
        // Two vectors per pair, one for the control queue and one for changes of the configuration.
        _ => (format!(",queues={pairs}"), format!(",mq=on,vectors={}", 2 * pairs + 2)),
    };
    vec![
        "-object memory-backend-memfd,id=guest-memory,size=SIZE,share=on".to_owned(),
        "-numa node,memdev=guest-memory".to_owned(),
        format!("-chardev socket,id=chardev-{name},path={path},{role}"),
        format!("-netdev vhost-user,id=netdev-{name},chardev=chardev-{name}{queues}"),
        format!(
            "-device virtio-net-pci,netdev=netdev-{name},mac={},host_mtu={}{several},\
             rx_queue_size={RING_ENTRIES},tx_queue_size={RING_ENTRIES}",
            adapter.mac, adapter.mtu
        ),
    ]
}

/// libvirt; the domain needs `<memoryBacking><source type='memfd'/><access mode='shared'/>` too.
fn libvirt(adapter: &Adapter, spec: &VhostUserSpec, pairs: u16) -> String {
    let path = xml(&spec.path);
    // Named from QEMU's side.
    let source = match spec.client {
        true => format!("<source type='unix' path='{path}' mode='server'/>"),
        false => format!(
            "<source type='unix' path='{path}' mode='client'>\n    \
             <reconnect enabled='yes' timeout='1'/>\n  </source>"
        ),
    };
    let queues = if pairs > 1 { format!(" queues='{pairs}'") } else { String::new() };
    format!(
        "<interface type='vhostuser'>\n  <mac address='{}'/>\n  {source}\n  \
         <model type='virtio'/>\n  \
         <driver{queues} rx_queue_size='{RING_ENTRIES}' tx_queue_size='{RING_ENTRIES}'/>\n  \
         <mtu size='{}'/>\n</interface>",
        adapter.mac, adapter.mtu
    )
}

fn cloud_hypervisor(adapter: &Adapter, spec: &VhostUserSpec, pairs: u16) -> String {
    let mode = if spec.client { "server" } else { "client" };
    format!(
        "--memory size=SIZE,shared=on --net vhost_user=true,socket={},vhost_mode={mode},mac={},mtu={},\
         num_queues={},queue_size={RING_ENTRIES}",
        spec.path,
        adapter.mac,
        adapter.mtu,
        2 * pairs
    )
}

fn dpdk(adapter: &Adapter, spec: &VhostUserSpec, pairs: u16) -> String {
    let server = if spec.client { ",server=1" } else { "" };
    format!(
        "--vdev net_virtio_user0,path={},mac={},queues={pairs},queue_size={RING_ENTRIES}{server}",
        spec.path, adapter.mac
    )
}

/// The text of an attribute.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}
