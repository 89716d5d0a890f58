//! A virtual machine's NIC: virtio in the guest, vhost-user on the outside.

use std::path::{Path, PathBuf};

/// Who makes the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The other side; QEMU connects, and again when it has lost the connection.
    Connects,
    /// QEMU, and it waits for the other side.
    Listens,
}

/// A virtio NIC over vhost-user.
#[derive(Clone, Debug)]
pub struct Nic {
    socket: PathBuf,
    role: Role,
    mac: String,
    queues: u16,
    properties: Vec<String>,
}

impl Nic {
    /// QEMU connects to a socket that the other side listens on; while nobody does, it tries again
    /// every second.
    pub fn connecting(socket: &Path, mac: &str) -> Self {
        Self::new(socket, Role::Connects, mac)
    }

    /// QEMU listens on the socket, and begins to boot when the other side has connected.
    pub fn listening(socket: &Path, mac: &str) -> Self {
        Self::new(socket, Role::Listens, mac)
    }

    fn new(socket: &Path, role: Role, mac: &str) -> Self {
        let (socket, mac) = (socket.to_owned(), mac.to_owned());
        Self { socket, role, mac, queues: 1, properties: Vec::new() }
    }

    /// Offers `pairs` of queues instead of one.
    pub fn queues(mut self, pairs: u16) -> Self {
        self.queues = pairs;
        self
    }

    /// Properties of QEMU's `virtio-net-pci`, such as `host_mtu=9000`, `packed=on` or
    /// `csum=off,gso=off`.
    pub fn with(mut self, properties: &str) -> Self {
        self.properties.push(properties.to_owned());
        self
    }

    /// QEMU's arguments for the NIC of this number.
    pub(super) fn arguments(&self, number: usize) -> Vec<String> {
        let role = match self.role {
            Role::Connects => "server=off,reconnect=1",
            Role::Listens => "server=on,wait=off",
        };
        let (socket, mac, queues) = (self.socket.display(), &self.mac, self.queues);
        // No option ROM: nothing boots from the network. No MSI-X but one interrupt line, which all
        // queues share: QEMU 7.2 takes vhost-user's vectors for KVM's under emulation, and crashes.
        let mut device = format!("virtio-net-pci,netdev=net{number},mac={mac},romfile=,vectors=0");
        if queues > 1 {
            device += ",mq=on";
        }
        for properties in &self.properties {
            device += &format!(",{properties}");
        }
        [
            "-chardev".to_owned(),
            format!("socket,id=nic{number},path={socket},{role}"),
            "-netdev".to_owned(),
            format!("vhost-user,id=net{number},chardev=nic{number},queues={queues}"),
            "-device".to_owned(),
            device,
        ]
        .into()
    }
}
