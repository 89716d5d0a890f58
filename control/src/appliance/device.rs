//! Devices: from a port specification to open queues, and the kernel's end of a tap.

mod interface;

use super::Appliance;
use crate::api::backend::{Refusal, RefusalKind};
use crate::api::view::PortLabel;
use crate::config::Polling;
use crate::kernel::{self, Place};
use crate::metrics::DeviceCounts;
use crate::model::{Namespace, PortSpec, TapSpec, VhostUserSpec};
use crate::publish::{Assignment, PortFacts, Returned, Role};
use crate::registry::{Adapter, Port as NamedPort, ServerPort};
use dataplane::dpdk::ethdev::{self, next_vdev_name};
use dataplane::dpdk::{self, AttachSpec, DpdkIo, Netns, Port, Rx, Tx, VhostSpec, tap, vhost};
use dataplane::wire::ethernet::MacAddr;
use std::path::PathBuf;

/// A device that is attached, and what control does with it beside its queues.
pub(super) struct Device {
    /// The driver's side.
    pub(super) port: Port,
    /// As the operator wrote it.
    pub(super) spec: PortSpec,
    /// Namespace in which its tap was born.
    pub(super) netns: Option<Netns>,
    /// Its kernel interface, where it has one.
    pub(super) interface: Option<String>,
    /// Queues while the port is stopped.
    pub(super) paused: Option<Returned<DpdkIo>>,
    /// Link as last seen.
    pub(super) is_up: Option<bool>,
    /// Front-ends that had come by then.
    pub(super) connects: u32,
    /// Ours to delete with the port: a tap that outlives the process.
    pub(super) is_persistent: bool,
    /// Of its own counters, what `clear` has taken off so far.
    pub(super) set_back: DeviceCounts,
}

/// A device just opened, not yet a port.
pub(super) struct Opened {
    pub(super) device: Device,
    pub(super) facts: PortFacts,
    rx: Vec<Rx>,
    tx: Vec<Tx>,
    /// Worker cores that the operator chose for its queues.
    workers: Vec<Option<usize>>,
}

/// What to open, whichever noun it comes from.
pub(super) struct Wanted<'a> {
    label: PortLabel,
    spec: &'a PortSpec,
    netns: Option<&'a str>,
    role: Role,
    own_mac: Option<MacAddr>,
    peer_mac: Option<MacAddr>,
    mtu: u16,
    queues: u16,
    workers: Vec<Option<usize>>,
}

impl<'a> Wanted<'a> {
    /// An adapter's own port; `None` for one on a shared port.
    pub(super) fn adapter(adapter: &'a Adapter) -> Option<Self> {
        adapter.shared_port().is_none().then(|| Self {
            label: crate::publish::port_label(adapter),
            spec: &adapter.spec,
            netns: None,
            role: Role::Guest,
            own_mac: Some(adapter.host_mac),
            peer_mac: Some(adapter.mac),
            mtu: adapter.mtu,
            queues: 1,
            workers: Vec::new(),
        })
    }

    /// The server's port on a network.
    pub(super) fn server(server: &'a ServerPort, gateway_mac: MacAddr) -> Self {
        Self {
            label: PortLabel::Server(server.network.clone()),
            spec: &server.spec,
            netns: None,
            role: Role::NetworkServer,
            own_mac: Some(gateway_mac),
            peer_mac: Some(server.mac),
            mtu: server.mtu,
            queues: 1,
            workers: Vec::new(),
        }
    }

    /// A named port.
    pub(super) fn named(port: &'a NamedPort, gateway_mac: MacAddr) -> Self {
        use crate::model::PortRole;
        let (role, own_mac, peer_mac) = match port.role {
            PortRole::Uplink if port.spec.is_tap() => {
                // A tap's device MAC is the far side's; ours is made from the appliance's own.
                let own = port.mac.unwrap_or_else(|| tap_uplink_mac(gateway_mac, &port.name));
                (Role::Uplink, Some(own), None)
            }
            PortRole::Uplink => (Role::Uplink, port.mac, None),
            PortRole::Host => (Role::Host, Some(gateway_mac), port.mac),
            PortRole::Shared => (Role::Shared, Some(gateway_mac), port.mac),
        };
        Self {
            label: PortLabel::Named(port.name.clone()),
            spec: &port.spec,
            netns: port.netns.as_deref(),
            role,
            own_mac,
            peer_mac,
            mtu: port.mtu,
            queues: port.queues,
            workers: port.workers.clone(),
        }
    }
}

impl Wanted<'_> {
    /// Devices and interfaces that it will hold alone.
    pub(super) fn occupies(&self) -> Vec<String> {
        self.spec.occupies(self.netns)
    }
}

/// One MAC per uplink, so that two tap uplinks on one LAN differ.
fn tap_uplink_mac(gateway_mac: MacAddr, name: &crate::model::Name) -> MacAddr {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, fold) | 1;
    MacAddr::from_u64(gateway_mac.to_u64() ^ (hash & 0x00ff_ffff))
}

fn refuse(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::Conflict, message)
}

impl Appliance {
    /// Whether workers sleep while there is nothing to do.
    fn may_sleep(&self) -> bool {
        self.config.appliance.polling == Polling::Adaptive
    }

    /// Opens a device. Nobody polls it yet.
    pub(super) fn open(&mut self, wanted: Wanted<'_>) -> Result<Opened, Refusal> {
        match wanted.spec {
            PortSpec::VhostUser(spec) => self.open_vhost(&wanted, spec),
            PortSpec::Tap(spec) => self.open_tap(&wanted, spec),
            _ => self.open_ethdev(wanted),
        }
    }

    /// A socket for a guest, or a VM monitor's to connect to.
    fn open_vhost(&mut self, wanted: &Wanted<'_>, spec: &VhostUserSpec) -> Result<Opened, Refusal> {
        let spec = VhostSpec {
            path: PathBuf::from(&spec.path),
            is_client: spec.client,
            pairs: spec.queues.unwrap_or(1),
            group: spec.group.clone(),
            perm: spec.perm,
            mtu: wanted.mtu,
            pool: self.pool,
            wakes: self.may_sleep(),
            qsbr: self.publisher.qsbr.clone(),
        };
        let (port, rx, tx) = vhost::open(self.eal, &spec)
            .map_err(|error| refuse(format!("{}: {error}", wanted.label)))?;
        let facts = PortFacts {
            role: wanted.role,
            own_mac: wanted.own_mac.unwrap_or(MacAddr::ZERO),
            peer_mac: wanted.peer_mac.unwrap_or(MacAddr::ZERO),
            mtu: wanted.mtu,
        };
        let device = Device {
            port: Port::Vhost(port),
            spec: wanted.spec.clone(),
            netns: None,
            interface: None,
            paused: None,
            // Nobody has come, and the first one to come is told of.
            is_up: Some(false),
            connects: 0,
            is_persistent: false,
            set_back: DeviceCounts::default(),
        };
        Ok(Opened { device, facts, rx, tx, workers: wanted.workers.clone() })
    }

    /// A tap of our own, in the container's namespace.
    fn open_tap(&mut self, wanted: &Wanted<'_>, spec: &TapSpec) -> Result<Opened, Refusal> {
        let netns = namespace(wanted.spec, wanted.netns);
        check_place(wanted, netns.as_ref())?;
        let workers = u16::try_from(self.publisher.workers.count()).unwrap_or(1);
        let interface = spec.interface_name().to_owned();
        let (port, rx, tx) = tap::open(
            self.eal,
            &dpdk::TapSpec {
                iface: interface.clone(),
                netns: netns.clone(),
                queues: wanted.queues,
                // So each worker has one of its own.
                writers: workers,
                mtu: wanted.mtu,
                mac: wanted.peer_mac,
                pool: self.pool,
            },
        )
        .map_err(|error| refuse(format!("{}: {error}", wanted.label)))?;
        let device_mac = port.mac().unwrap_or(MacAddr::ZERO);
        let facts = PortFacts {
            role: wanted.role,
            own_mac: wanted.own_mac.unwrap_or(device_mac),
            peer_mac: wanted.peer_mac.unwrap_or(device_mac),
            mtu: wanted.mtu,
        };
        let device = Device {
            port: Port::Tap(port),
            spec: wanted.spec.clone(),
            netns,
            interface: Some(interface),
            paused: None,
            is_up: None,
            connects: 0,
            is_persistent: true,
            set_back: DeviceCounts::default(),
        };
        Ok(Opened { device, facts, rx, tx, workers: wanted.workers.clone() })
    }

    fn open_ethdev(&mut self, wanted: Wanted<'_>) -> Result<Opened, Refusal> {
        let workers = u16::try_from(self.publisher.workers.count()).unwrap_or(1);
        let netns = namespace(wanted.spec, wanted.netns);
        let (device, interface) = device_string(wanted.spec)?;
        let is_tap = wanted.spec.is_tap();
        check_place(&wanted, netns.as_ref())?;
        let spec = AttachSpec {
            netns: netns.clone(),
            rx_queues: wanted.queues,
            tx_queues: if is_tap { wanted.queues } else { workers.max(wanted.queues) },
            mtu: wanted.mtu,
            wakes: self.may_sleep(),
            mac: match is_tap {
                true => wanted.peer_mac,
                false => wanted.own_mac.filter(|_| is_nic(wanted.spec)),
            },
            ..AttachSpec::new(&device, self.pool)
        };
        let attached = match ethdev::attach(self.eal, &spec) {
            // Not every device has a transmit queue for each worker; one is enough.
            Err(ethdev::PortError::Queues { .. }) if spec.tx_queues > 1 => {
                ethdev::attach(self.eal, &AttachSpec { tx_queues: 1, ..spec })
            }
            result => result,
        };
        let (port, rx, tx) =
            attached.map_err(|error| refuse(format!("{}: {error}", wanted.label)))?;
        let device_mac = port.mac().unwrap_or(MacAddr::ZERO);
        let facts = PortFacts {
            role: wanted.role,
            own_mac: wanted.own_mac.unwrap_or(device_mac),
            peer_mac: wanted.peer_mac.unwrap_or(if is_tap { device_mac } else { MacAddr::ZERO }),
            mtu: wanted.mtu,
        };
        let device = Device {
            interface: interface.or_else(|| port.kernel_interface()),
            port: Port::Ethdev(port),
            spec: wanted.spec.clone(),
            netns,
            paused: None,
            is_up: None,
            connects: 0,
            is_persistent: false,
            set_back: DeviceCounts::default(),
        };
        Ok(Opened { device, facts, rx, tx, workers: wanted.workers })
    }

    /// Closes a device that did not become a port.
    pub(super) fn discard(&mut self, label: &PortLabel, opened: Opened) {
        let Opened { device, rx, tx, .. } = opened;
        self.detach(label, device, Returned { rx: numbered(rx), tx }, true);
    }

    /// Hands an open device to the workers.
    pub(super) fn install(&mut self, label: &PortLabel, opened: Opened) -> Result<(), Refusal> {
        let Opened { mut device, facts, rx, tx, workers } = opened;
        let queues = u16::try_from(rx.len()).unwrap_or(1);
        let assignment = self.assign(queues, &workers);
        let is_uplink = facts.role == Role::Uplink;
        if is_uplink {
            // Broadcasts and the LAN's multicasts; unicast of others only while a network wants it.
            let _ = device.port.set_all_multicast(true);
        }
        self.devices.insert(label.clone(), device);
        self.failed.remove(label);
        let opened = self.publisher.open_port(label.clone(), facts, rx, tx, assignment);
        let id = opened.map_err(|e| Refusal::new(RefusalKind::Internal, e.to_string()))?;
        self.begin_port(id);
        Ok(())
    }

    /// A port leaves: its queues come back, its device ends, and its tap with it where that is ours.
    pub(super) fn remove_port(&mut self, label: &PortLabel, delete_tap: bool) {
        let returned = self.publisher.close_port(label);
        let Some(mut device) = self.devices.remove(label) else { return };
        match (returned, device.paused.take()) {
            (Ok(mut queues), paused) => {
                if let Some(paused) = paused {
                    queues.rx.extend(paused.rx);
                    queues.tx.extend(paused.tx);
                }
                self.detach(label, device, queues, delete_tap);
            }
            (Err(error), _) => self.event(&format!("port {label}: {error}")),
        }
    }

    fn detach(
        &mut self,
        label: &PortLabel,
        device: Device,
        queues: Returned<DpdkIo>,
        delete_tap: bool,
    ) {
        let Device { port, interface, netns, is_persistent, .. } = device;
        let rx = queues.rx.into_iter().map(|(_, rx)| rx).collect();
        if let Err(error) = port.detach(rx, queues.tx) {
            self.event(&format!("port {label}: {error}"));
        }
        if let (Some(name), true) = (interface, is_persistent && delete_tap) {
            let place = netns.as_ref().map_or(Place::Here, place_of);
            if let Err(error) = kernel::delete(&place, &name) {
                self.event(&format!("port {label}: {error}"));
            }
        }
    }

    /// Which worker polls what: the operator's choice, else the least loaded.
    pub(super) fn assign(&self, queues: u16, cores: &[Option<usize>]) -> Assignment {
        let workers = &self.publisher.workers;
        let first = workers.least_loaded();
        let mut assignment = Assignment::spread(queues, first, workers.count());
        for (queue, core) in cores.iter().enumerate() {
            let chosen = core.and_then(|core| workers.on_core(core));
            if let (Some(slot), Some(worker)) = (assignment.rx.get_mut(queue), chosen) {
                *slot = worker;
            }
        }
        if let Some(worker) = assignment.rx.first() {
            assignment.owner = *worker;
        }
        assignment
    }
}

fn numbered(rx: Vec<Rx>) -> Vec<(u16, Rx)> {
    (0..).zip(rx).collect()
}

fn is_nic(spec: &PortSpec) -> bool {
    matches!(spec, PortSpec::Pci { .. })
}

fn namespace(spec: &PortSpec, netns: Option<&str>) -> Option<Netns> {
    match spec {
        PortSpec::Tap(TapSpec { namespace: Some(Namespace::Named(name)), .. }) => {
            Some(Netns::Name(name.clone()))
        }
        PortSpec::Tap(TapSpec { namespace: Some(Namespace::Pid(pid)), .. }) => {
            Some(Netns::Pid(*pid))
        }
        _ => netns.map(|name| match name.starts_with('/') {
            true => Netns::Path(PathBuf::from(name)),
            false => Netns::Name(name.to_owned()),
        }),
    }
}

pub(super) fn place_of(netns: &Netns) -> Place {
    match netns {
        Netns::Name(name) => Place::Name(name.clone()),
        Netns::Path(path) => Place::Path(path.clone()),
        Netns::Pid(pid) => Place::Pid(*pid),
    }
}

/// Says of a namespace that is not there what to do.
fn check_place(wanted: &Wanted<'_>, netns: Option<&Netns>) -> Result<(), Refusal> {
    match netns.filter(|place| !kernel::place_exists(&place_of(place))) {
        None => Ok(()),
        Some(place) => Err(refuse(format!(
            "{}: {place} is not there ({}); create it first, or leave it out",
            wanted.label,
            place.path().display()
        ))),
    }
}

/// The device as DPDK takes it, and its kernel interface if we know its name.
fn device_string(spec: &PortSpec) -> Result<(String, Option<String>), Refusal> {
    match spec {
        PortSpec::Vdev(vdev) => {
            let interface = vdev.arg("iface").filter(|_| vdev.name.starts_with("net_tap"));
            Ok((spec.to_string(), interface.map(str::to_owned)))
        }
        PortSpec::Pci { .. } => Ok((spec.to_string(), None)),
        PortSpec::VirtioUser { path } => {
            Ok((format!("{},path={path}", next_vdev_name("net_virtio_user")), None))
        }
        PortSpec::Tap(_) | PortSpec::VhostUser(_) | PortSpec::Shared(_) => {
            Err(Refusal::new(RefusalKind::Internal, format!("{spec} is no DPDK device")))
        }
    }
}
