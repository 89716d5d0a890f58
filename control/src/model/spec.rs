//! What a port is made of, as text: `tap,…`, `shared:PORT`, a PCI address, a vdev string, and the
//! vhost-user and virtio-user forms. Parsing knows the syntax only; whether the device exists is
//! found out when it is attached.

use super::Name;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Longest interface name, bytes (IFNAMSIZ less its NUL).
const INTERFACE_NAME_LEN: usize = 15;
/// Longest device name, bytes (RTE_DEV_NAME_MAX_LEN less its NUL).
const DEVICE_NAME_LEN: usize = 63;
/// Longest UNIX socket path, bytes (sun_path less its NUL).
const SOCKET_PATH_LEN: usize = 107;
/// Longest name of a network namespace, bytes (NAME_MAX).
const NAMESPACE_NAME_LEN: usize = 255;

/// What a port is made of.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum PortSpec {
    /// A tap that we create.
    Tap(TapSpec),
    /// A place on a named port of role `shared`.
    Shared(Name),
    /// A NIC on the PCI bus.
    Pci {
        /// Where.
        address: PciAddress,
        /// Device arguments after the address; empty for none.
        args: String,
    },
    /// A DPDK virtual device.
    Vdev(VdevSpec),
    /// A vhost-user socket whose back end is ours.
    VhostUser(VhostUserSpec),
    /// A vhost-user socket whose front end is ours.
    VirtioUser {
        /// Absolute path of the socket.
        path: String,
    },
}

/// A tap interface, born in the guest's network namespace where one is named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TapSpec {
    /// The interface's name; inside a namespace its alternative name.
    pub iface: String,
    /// Where it is born; our own namespace where absent.
    pub namespace: Option<Namespace>,
    /// Its name inside the namespace; `eth0` where absent.
    pub guest_iface: Option<String>,
    /// Whether we set up the guest's end: addresses, MTU, default route.
    pub configure: bool,
}

/// A network namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Namespace {
    /// By name, under /run/netns.
    Named(String),
    /// That of a process.
    Pid(u32),
}

/// Domain, bus, device and function, in DPDK's full form: `0000:3b:00.0`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PciAddress(String);

/// A virtual device: driver name with its number, and the driver's arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VdevSpec {
    /// Like `net_tap0`.
    pub name: String,
    /// What follows the name's comma; empty for none.
    pub args: String,
}

/// A vhost-user socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VhostUserSpec {
    /// Absolute path of the socket.
    pub path: String,
    /// We connect and the VM monitor listens.
    pub client: bool,
    /// Queue pairs; 1 where absent.
    pub queues: Option<u16>,
    /// Group that owns the socket.
    pub group: Option<String>,
    /// Permission bits of the socket.
    pub perm: Option<u16>,
}

/// Text that is no port specification.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bad port {spec:?}: {why}")]
pub struct BadSpec {
    spec: String,
    why: String,
}

impl PortSpec {
    /// What this port occupies, each in words that go before "is taken by"; two ports may not share
    /// one. A place on a shared port occupies nothing. `netns` is the namespace that the named port
    /// is put into from outside its device string.
    pub fn occupies(&self, netns: Option<&str>) -> Vec<String> {
        let place = |name: &str, namespace: Option<String>| match namespace {
            Some(space) => format!("interface {name} in {space}"),
            None => format!("interface {name}"),
        };
        let outer = netns.map(|name| Namespace::Named(name.to_owned()).to_string());
        match self {
            PortSpec::Tap(tap) => {
                let space = tap.namespace.as_ref().map(Namespace::to_string).or(outer);
                let names = std::iter::once(tap.interface_name()).chain(tap.alternative_name());
                names.map(|name| place(name, space.clone())).collect()
            }
            PortSpec::Shared(_) => Vec::new(),
            PortSpec::Pci { address, .. } => vec![format!("device {address}")],
            PortSpec::Vdev(vdev) => {
                let device = format!("device {}", vdev.name);
                let iface = vdev.arg("iface").filter(|_| !vdev.name.starts_with("net_vhost"));
                std::iter::once(device).chain(iface.map(|name| place(name, outer))).collect()
            }
            PortSpec::VhostUser(VhostUserSpec { path, .. }) | PortSpec::VirtioUser { path } => {
                vec![format!("socket {path}")]
            }
        }
    }

    /// Whether its kernel end is a tap, whose MAC is then the kernel's and never ours.
    pub fn is_tap(&self) -> bool {
        match self {
            PortSpec::Tap(_) => true,
            PortSpec::Vdev(vdev) => vdev.name.starts_with("net_tap"),
            _ => false,
        }
    }
}

impl TapSpec {
    /// What the interface is called where it lives.
    pub fn interface_name(&self) -> &str {
        match (&self.namespace, &self.guest_iface) {
            (None, _) => &self.iface,
            (Some(_), Some(name)) => name,
            (Some(_), None) => "eth0",
        }
    }

    /// Its alternative name, by which it is found from outside the guest; none where it would repeat
    /// the first.
    pub fn alternative_name(&self) -> Option<&str> {
        (self.interface_name() != self.iface).then_some(self.iface.as_str())
    }
}

impl VdevSpec {
    /// The value of one of the driver's arguments.
    pub fn arg(&self, key: &str) -> Option<&str> {
        let pairs = self.args.split(',').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

impl FromStr for PortSpec {
    type Err = BadSpec;

    fn from_str(text: &str) -> Result<Self, BadSpec> {
        parse(text).map_err(|why| BadSpec { spec: text.to_owned(), why })
    }
}

/// Chooses the form by what the text begins with.
fn parse(text: &str) -> Result<PortSpec, String> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it holds a space or a control character".to_owned());
    }
    let (head, rest) = text.split_once(',').unwrap_or((text, ""));
    match head {
        "tap" => parse_tap(rest).map(PortSpec::Tap),
        "vhost-user" => parse_vhost_user(rest).map(PortSpec::VhostUser),
        "virtio-user" => parse_virtio_user(rest),
        _ if text.starts_with("shared:") => {
            let name = text.trim_start_matches("shared:");
            Ok(PortSpec::Shared(name.parse::<Name>().map_err(|bad| bad.to_string())?))
        }
        _ if head.starts_with("net_") || head.starts_with("eth_") => {
            parse_vdev(head, rest).map(PortSpec::Vdev)
        }
        _ if head.contains(':') || head.contains('.') => {
            Ok(PortSpec::Pci { address: head.parse()?, args: rest.to_owned() })
        }
        _ => Err("one of tap,iface=NAME or shared:PORT or a PCI address like 0000:3b:00.0 or a \
                  vdev like net_tap0,iface=NAME"
            .to_owned()),
    }
}

fn parse_tap(rest: &str) -> Result<TapSpec, String> {
    let mut iface = None;
    let mut namespace = None;
    let mut guest_iface = None;
    let mut configure = None;
    for (key, value) in pairs(rest) {
        match (key, value) {
            ("iface", Some(value)) => once(&mut iface, key, interface_name(value)?)?,
            ("guest-iface", Some(value)) => once(&mut guest_iface, key, interface_name(value)?)?,
            ("netns", Some(value)) => {
                once(&mut namespace, "netns or pid", Namespace::Named(namespace_name(value)?))?;
            }
            ("pid", Some(value)) => {
                let pid = value.parse().ok().filter(|pid| *pid > 0);
                let pid = pid.ok_or_else(|| format!("pid={value} is no process number"))?;
                once(&mut namespace, "netns or pid", Namespace::Pid(pid))?;
            }
            ("configure", Some("on")) => once(&mut configure, key, true)?,
            ("configure", Some("off")) => once(&mut configure, key, false)?,
            ("configure", _) => return Err("configure is on or off".to_owned()),
            _ => return Err(unknown(key, "iface, netns, pid, guest-iface, configure")),
        }
    }
    let iface = iface.ok_or("iface=NAME is missing")?;
    if guest_iface.is_some() && namespace.is_none() {
        return Err("guest-iface needs netns=NAME or pid=N; without a namespace the interface is \
                    named by iface"
            .to_owned());
    }
    Ok(TapSpec { iface, namespace, guest_iface, configure: configure.unwrap_or(true) })
}

fn parse_vhost_user(rest: &str) -> Result<VhostUserSpec, String> {
    let (mut path, mut client, mut queues, mut group, mut perm) = (None, None, None, None, None);
    for (key, value) in pairs(rest) {
        match (key, value) {
            ("path", Some(value)) => once(&mut path, key, socket_path(value)?)?,
            ("client", None) => once(&mut client, key, true)?,
            ("queues", Some(value)) => {
                let count = value.parse().ok().filter(|count| (1..=128).contains(count));
                let count = count.ok_or_else(|| format!("queues={value}: 1 to 128"))?;
                once(&mut queues, key, count)?;
            }
            ("group", Some(value)) if !value.is_empty() => once(&mut group, key, value.to_owned())?,
            ("perm", Some(value)) => {
                let bits = u16::from_str_radix(value, 8).ok().filter(|bits| *bits <= 0o777);
                let bits = bits.ok_or_else(|| format!("perm={value}: octal, like 0660"))?;
                once(&mut perm, key, bits)?;
            }
            _ => return Err(unknown(key, "path, client, queues, group, perm")),
        }
    }
    let path = path.ok_or("path=/ABSOLUTE/PATH is missing")?;
    Ok(VhostUserSpec { path, client: client.unwrap_or(false), queues, group, perm })
}

fn parse_virtio_user(rest: &str) -> Result<PortSpec, String> {
    let mut path = None;
    for (key, value) in pairs(rest) {
        match (key, value) {
            ("path", Some(value)) => once(&mut path, key, socket_path(value)?)?,
            _ => return Err(unknown(key, "path")),
        }
    }
    Ok(PortSpec::VirtioUser { path: path.ok_or("path=/ABSOLUTE/PATH is missing")? })
}

fn parse_vdev(name: &str, args: &str) -> Result<VdevSpec, String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if name.len() > DEVICE_NAME_LEN || !name.bytes().all(legal) {
        return Err(format!(
            "device name {name:?}: at most {DEVICE_NAME_LEN} letters, digits and _ - ."
        ));
    }
    let vdev = VdevSpec { name: name.to_owned(), args: args.to_owned() };
    if vdev.name.starts_with("net_tap")
        && let Some(iface) = vdev.arg("iface")
    {
        interface_name(iface)?;
    }
    Ok(vdev)
}

/// `key=value` pairs and bare words, in order.
fn pairs(rest: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    rest.split(',').filter(|word| !word.is_empty()).map(|word| match word.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (word, None),
    })
}

fn once<T>(slot: &mut Option<T>, key: &str, value: T) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{key} is given twice")),
    }
}

fn unknown(key: &str, known: &str) -> String {
    format!("{key:?} is unknown or lacks its value; the keys are {known}")
}

/// The kernel's rule (dev_valid_name), and no comma, which is ours.
fn interface_name(name: &str) -> Result<String, String> {
    let legal = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b',');
    let fits = (1..=INTERFACE_NAME_LEN).contains(&name.len());
    if fits && name.bytes().all(legal) && !matches!(name, "." | "..") {
        return Ok(name.to_owned());
    }
    Err(format!(
        "interface name {name:?}: 1 to {INTERFACE_NAME_LEN} bytes without '/', ':' or space"
    ))
}

/// A file name under /run/netns.
pub(crate) fn namespace_name(name: &str) -> Result<String, String> {
    let fits = (1..=NAMESPACE_NAME_LEN).contains(&name.len());
    let legal = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '/' | ',');
    if fits && name.chars().all(legal) && !matches!(name, "." | "..") {
        return Ok(name.to_owned());
    }
    Err(format!("namespace {name:?}: a name as `ip netns` lists it, without '/'"))
}

fn socket_path(path: &str) -> Result<String, String> {
    if path.starts_with('/') && path.len() <= SOCKET_PATH_LEN && !path.ends_with('/') {
        return Ok(path.to_owned());
    }
    Err(format!("path={path}: an absolute path of at most {SOCKET_PATH_LEN} bytes"))
}

impl FromStr for PciAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (place, function) = text.split_once('.')?;
            let mut parts = place.rsplit(':');
            let (device, bus, domain) = (parts.next()?, parts.next()?, parts.next());
            let hex = |part: &str, digits: usize, limit: u32| {
                let legal = part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit());
                u32::from_str_radix(part, 16).ok().filter(|value| legal && *value <= limit)
            };
            let domain = hex(domain.unwrap_or("0000"), 4, 0xffff)?;
            let (bus, device) = (hex(bus, 2, 0xff)?, hex(device, 2, 0x1f)?);
            let function = hex(function, 1, 7)?;
            let whole = parts.next().is_none();
            whole.then(|| Self(format!("{domain:04x}:{bus:02x}:{device:02x}.{function}")))
        };
        parse().ok_or_else(|| {
            format!(
                "{text:?} is no PCI address: DOMAIN:BUS:DEVICE.FUNCTION in hexadecimal, device at \
                 most 1f, function 0 to 7, like 0000:3b:00.0"
            )
        })
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Namespace::Named(name) => write!(out, "namespace {name}"),
            Namespace::Pid(pid) => write!(out, "the namespace of process {pid}"),
        }
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortSpec::Tap(tap) => tap.fmt(out),
            PortSpec::Shared(port) => write!(out, "shared:{port}"),
            PortSpec::Pci { address, args } => write_device(out, &address.0, args),
            PortSpec::Vdev(vdev) => write_device(out, &vdev.name, &vdev.args),
            PortSpec::VhostUser(vhost) => vhost.fmt(out),
            PortSpec::VirtioUser { path } => write!(out, "virtio-user,path={path}"),
        }
    }
}

fn write_device(out: &mut fmt::Formatter<'_>, name: &str, args: &str) -> fmt::Result {
    out.write_str(name)?;
    if args.is_empty() { Ok(()) } else { write!(out, ",{args}") }
}

impl fmt::Display for TapSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "tap,iface={}", self.iface)?;
        match &self.namespace {
            Some(Namespace::Named(name)) => write!(out, ",netns={name}")?,
            Some(Namespace::Pid(pid)) => write!(out, ",pid={pid}")?,
            None => {}
        }
        if let Some(name) = &self.guest_iface {
            write!(out, ",guest-iface={name}")?;
        }
        if self.configure { Ok(()) } else { out.write_str(",configure=off") }
    }
}

impl fmt::Display for VhostUserSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "vhost-user,path={}", self.path)?;
        if self.client {
            out.write_str(",client")?;
        }
        if let Some(queues) = self.queues {
            write!(out, ",queues={queues}")?;
        }
        if let Some(group) = &self.group {
            write!(out, ",group={group}")?;
        }
        self.perm.map_or(Ok(()), |perm| write!(out, ",perm={perm:04o}"))
    }
}

impl TryFrom<String> for PortSpec {
    type Error = BadSpec;

    fn try_from(text: String) -> Result<Self, BadSpec> {
        text.parse()
    }
}

impl Serialize for PortSpec {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<PortSpec>().unwrap_err().to_string()
    }

    #[test]
    fn every_form_is_read_and_written_back_the_same() {
        for text in [
            "tap,iface=ct1-eth0",
            "tap,iface=ct1-eth0,netns=ct1,guest-iface=net0,configure=off",
            "tap,iface=ct1-eth0,pid=4711",
            "shared:venet0",
            "0000:3b:00.0",
            "0000:3b:00.0,mprq_en=1",
            "net_tap0,iface=up0",
            "net_null0",
            "net_pcap0,rx_pcap=/tmp/a.pcap,infinite_rx=1",
            "eth_af_packet0,iface=eth1",
            "vhost-user,path=/run/vm1.sock,client,queues=4,group=kvm,perm=0660",
            "virtio-user,path=/dev/vhost-net",
        ] {
            let spec: PortSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
            assert_eq!(spec.to_string().parse::<PortSpec>().unwrap(), spec);
        }
        let short: PortSpec = "3B:00.1".parse().unwrap();
        assert_eq!(short.to_string(), "0000:3b:00.1");
    }

    #[test]
    fn in_a_namespace_the_interface_has_the_guests_name_and_ours_beside_it() {
        let names = |text: &str| {
            let Ok(PortSpec::Tap(tap)) = text.parse() else { panic!("{text}") };
            (tap.interface_name().to_owned(), tap.alternative_name().map(str::to_owned))
        };
        assert_eq!(names("tap,iface=a"), ("a".to_owned(), None));
        assert_eq!(names("tap,iface=a,netns=n"), ("eth0".to_owned(), Some("a".to_owned())));
        assert_eq!(names("tap,iface=a,pid=1,guest-iface=b").0, "b");
        assert_eq!(names("tap,iface=eth0,netns=n"), ("eth0".to_owned(), None));
    }

    #[test]
    fn a_port_occupies_its_device_and_its_names_in_their_namespace() {
        let occupies = |text: &str, netns| text.parse::<PortSpec>().unwrap().occupies(netns);
        assert_eq!(occupies("tap,iface=a", None), ["interface a"]);
        assert_eq!(
            occupies("tap,iface=a,netns=n", None),
            ["interface eth0 in namespace n", "interface a in namespace n"]
        );
        assert_eq!(
            occupies("net_tap2,iface=venet0", Some("gw")),
            ["device net_tap2", "interface venet0 in namespace gw"]
        );
        assert!(occupies("shared:venet0", None).is_empty());
    }

    #[test]
    fn bad_specifications_are_refused_with_what_would_be_right() {
        for (text, says) in [
            ("", "tap,iface=NAME"),
            ("ct1", "tap,iface=NAME"),
            ("tap", "iface=NAME is missing"),
            ("tap,iface=", "1 to 15 bytes"),
            ("tap,iface=sixteen-bytes-xx", "1 to 15 bytes"),
            ("tap,iface=a/b", "1 to 15 bytes"),
            ("tap,iface=a b", "space"),
            ("tap,iface=a,iface=b", "iface is given twice"),
            ("tap,iface=a,netns=n,pid=1", "given twice"),
            ("tap,iface=a,netns=../x", "namespace"),
            ("tap,iface=a,pid=0", "no process number"),
            ("tap,iface=a,guest-iface=eth0", "needs netns"),
            ("tap,iface=a,mtu=9000", "\"mtu\" is unknown"),
            ("tap,iface=a,configure=yes", "on or off"),
            ("shared:Bad Name", "space"),
            ("shared:BAD", "bad name"),
            ("0000:3b:00", "tap,iface=NAME"),
            ("0000:3b:00.8", "0000:3b:00.0"),
            ("0000:3b:20.0", "device at most 1f"),
            ("0000:3g:00.0", "PCI address"),
            ("0:0:3b:00.0", "PCI address"),
            ("net_tap0,iface=way-too-long-a-name", "1 to 15 bytes"),
            ("vhost-user,path=relative.sock", "absolute path"),
            ("vhost-user,path=/a,perm=9", "octal"),
            ("vhost-user,path=/a,queues=0", "1 to 128"),
            ("virtio-user", "path="),
        ] {
            let said = refused(text);
            let expected = says == "tap,iface=NAME" && said.contains("PCI address");
            assert!(said.contains(says) || expected, "{text:?}: {said}");
        }
    }
}
