//! A DPDK container: a guest without a kernel driver, whose program shares its memory with the appliance
//! over a vhost-user socket (virtio-user).
//!
//! The program is DPDK's testpmd, in the container's network namespace and a mount namespace of its own.
//! It forwards between the socket and a tap `eth0` of that namespace, so that the container's tools are
//! Linux's own, as in every other host of the lab. It takes no hugepages.

use crate::host::{Host, Proc};
use crate::lab::Lab;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Until testpmd has its ports.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Who makes the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The appliance; the container connects.
    Connects,
    /// The container; it waits for the appliance.
    Listens,
}

/// A running DPDK container.
#[derive(Debug)]
pub struct DpdkContainer {
    /// Where its tools run; its interface is `eth0`.
    pub host: Host,
    socket: PathBuf,
    role: Role,
    mac: String,
    options: String,
    dir: PathBuf,
    program: Option<Proc>,
}

impl DpdkContainer {
    /// Starts it on a socket, with this MAC, and waits for its interface.
    #[track_caller]
    pub fn start(lab: &Lab, name: &str, socket: &Path, role: Role, mac: &str) -> Self {
        Self::start_with(lab, name, socket, role, mac, "")
    }

    /// As [`DpdkContainer::start`], with further arguments of net_virtio_user, such as `packed_vq=1`.
    #[track_caller]
    pub fn start_with(
        lab: &Lab,
        name: &str,
        socket: &Path,
        role: Role,
        mac: &str,
        options: &str,
    ) -> Self {
        let mut container = Self {
            host: lab.host(name),
            socket: socket.to_owned(),
            role,
            mac: mac.to_owned(),
            options: options.to_owned(),
            dir: lab.dir().to_owned(),
            program: None,
        };
        container.restart();
        container
    }

    /// Starts the program again after [`DpdkContainer::kill`].
    #[track_caller]
    pub fn restart(&mut self) {
        let name = self.host.name();
        let server = if self.role == Role::Listens { ",server=1" } else { "" };
        let options = match self.options.as_str() {
            "" => String::new(),
            options => format!(",{options}"),
        };
        let (socket, mac) = (self.socket.display(), &self.mac);
        if self.role == Role::Listens {
            // A killed program leaves it behind, and testpmd does not clear it away.
            let _ = std::fs::remove_file(&self.socket);
        }
        let line = format!(
            "unshare --mount dpdk-testpmd --no-huge -m 64 --no-pci --no-shconf \
             --file-prefix {name}-{} --lcores 0@0,1@0 \
             --vdev net_virtio_user0,mac={mac},path={socket}{server}{options} \
             --vdev net_tap0,iface=eth0,mac={mac} \
             -- --total-num-mbufs=4096 --forward-mode=io --auto-start --stats-period=3600",
            std::process::id()
        );
        let log = File::options().create(true).append(true).open(self.log_file()).expect("log");
        let mut command = self.host.command(&line);
        command.stdout(log.try_clone().expect("log")).stderr(log).stdin(Stdio::null());
        self.program = Some(Proc::start(&mut command));
        let host = &self.host;
        assert!(
            crate::within(START_LIMIT, || host.has_iface("eth0")),
            "testpmd of {name} does not start: {}",
            self.log()
        );
    }

    /// kill -9 of the program; its interface goes with it.
    pub fn kill(&mut self) {
        self.program = None;
        let host = &self.host;
        crate::eventually("the killed container's tap goes", START_LIMIT, || {
            !host.has_iface("eth0")
        });
    }

    /// Gives its interface an address and a default route by the appliance, as a host-routed guest's.
    pub fn route(&self, address: &str) {
        self.host.address("eth0", &format!("{address}/32"));
        self.host.run("ip route replace 169.254.1.1 dev eth0");
        self.host.run("ip route replace default via 169.254.1.1 dev eth0");
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join(format!("{}.testpmd", self.host.name()))
    }

    /// What the program has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

/// Many DPDK guests in one program: testpmd answers echo requests on each of its virtio-user ports
/// (`icmpecho`), whatever address they are for.
#[derive(Debug)]
pub struct EchoGuests {
    host: Host,
    name: String,
    ports: Vec<(PathBuf, String)>,
    role: Role,
    dir: PathBuf,
    program: Option<Proc>,
}

impl EchoGuests {
    /// Guests on these sockets, with these MACs, of one program; at most 31. Returns once it runs, with
    /// guests that listen once the appliance has connected to each.
    #[track_caller]
    pub fn start(lab: &Lab, name: &str, ports: &[(PathBuf, String)], role: Role) -> Self {
        let mut guests = Self {
            host: lab.server(),
            name: name.to_owned(),
            ports: ports.to_vec(),
            role,
            dir: lab.dir().to_owned(),
            program: None,
        };
        guests.restart();
        guests
    }

    /// Starts the program again after [`EchoGuests::kill`].
    #[track_caller]
    pub fn restart(&mut self) {
        let name = &self.name;
        let mut line = format!(
            "unshare --mount --net dpdk-testpmd --no-huge -m 128 --no-pci --no-shconf \
             --file-prefix {name}-{} --lcores 0@0,1@0",
            std::process::id()
        );
        for (number, (socket, mac)) in self.ports.iter().enumerate() {
            let server = if self.role == Role::Listens { ",server=1" } else { "" };
            if self.role == Role::Listens {
                let _ = std::fs::remove_file(socket);
            }
            let socket = socket.display();
            line += &format!(" --vdev net_virtio_user{number},mac={mac},path={socket}{server}");
        }
        line += " -- --total-num-mbufs=8192 --no-mlockall --forward-mode=icmpecho --auto-start --stats-period=3600 \
                 --port-topology=loop";
        let log = self.dir.join(format!("{name}.testpmd"));
        let log = File::options().create(true).append(true).open(log).expect("log");
        let mut command = self.host.command(&line);
        command.stdout(log.try_clone().expect("log")).stderr(log).stdin(Stdio::null());
        self.program = Some(Proc::start(&mut command));
    }

    /// kill -9 of the program.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// What the program has printed.
    pub fn log(&self) -> String {
        let log = self.dir.join(format!("{}.testpmd", self.name));
        std::fs::read_to_string(log).unwrap_or_default()
    }
}
