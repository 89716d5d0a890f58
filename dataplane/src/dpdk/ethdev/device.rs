//! What the operator writes for a device: a PCI address or a vdev, with arguments behind a comma.

use super::PortError;
use std::sync::atomic::{AtomicU32, Ordering};

/// A device as DPDK wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Device {
    /// The name that the port will have: a vdev's, or a PCI address in full.
    pub(super) name: String,
    /// All of it.
    pub(super) devargs: String,
    /// Whether the name is a PCI address.
    pub(super) is_pci: bool,
}

impl Device {
    pub(super) fn parse(text: &str) -> Result<Self, PortError> {
        let bad = |reason| PortError::BadDevice { device: text.to_owned(), reason };
        let (name, arguments) = text.split_once(',').unwrap_or((text, ""));
        if name.is_empty() {
            return Err(bad("the name is empty"));
        }
        if text.contains('\0') || text.chars().any(char::is_whitespace) {
            return Err(bad("it holds a blank"));
        }
        // RTE_DEV_NAME_MAX_LEN is 64 with the zero byte.
        if name.len() > 63 {
            return Err(bad("the name is longer than 63 bytes"));
        }
        let is_pci = name.contains(':') && name.starts_with(|c: char| c.is_ascii_hexdigit());
        let name = if is_pci {
            pci_address(name).ok_or_else(|| bad("not a PCI address like 0000:3b:00.0"))?
        } else {
            name.to_owned()
        };
        let comma = if arguments.is_empty() { "" } else { "," };
        Ok(Self { devargs: format!("{name}{comma}{arguments}"), name, is_pci })
    }

    /// Whether a tap of DPDK's, whose kernel end is the guest's own interface.
    pub(super) fn is_net_tap(&self) -> bool {
        self.name.starts_with("net_tap")
    }

    /// Whether the driver takes `mac=`; virtio-user's can't be set later.
    pub(super) fn takes_mac_argument(&self) -> bool {
        self.is_net_tap() || self.name.starts_with("net_virtio_user")
    }

    /// The value that the operator gave for a key; empty for a key alone.
    pub(super) fn argument(&self, key: &str) -> Option<&str> {
        let mut pairs = self
            .devargs
            .split(',')
            .skip(1)
            .map(|argument| argument.split_once('=').unwrap_or((argument, "")));
        pairs.find_map(|(name, value)| (name == key).then_some(value))
    }

    /// Adds `key=value` unless the operator gave that key.
    pub(super) fn set_default(&mut self, key: &str, value: &str) {
        if self.argument(key).is_none() {
            self.devargs.push_str(&format!(",{key}={value}"));
        }
    }
}

/// `[DDDD:]BB:DD.F` in hexadecimal, written out in full.
fn pci_address(text: &str) -> Option<String> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.rsplit(':');
    let (device, bus) = (parts.next()?, parts.next()?);
    let domain = parts.next().unwrap_or("0000");
    let hex = |part: &str, digits: usize, limit: u32| {
        let fits = part.len() <= digits && !part.starts_with('+');
        u32::from_str_radix(part, 16).ok().filter(|value| fits && *value < limit)
    };
    let address =
        (hex(domain, 8, u32::MAX)?, hex(bus, 2, 256)?, hex(device, 2, 32)?, hex(function, 1, 8)?);
    let (domain, bus, device, function) = address;
    parts.next().is_none().then(|| format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}"))
}

/// A vdev name of `driver` that this process has not used: `net_tap1000`, `net_tap1001`, … The
/// numbers that operators like to write are left to them.
pub fn next_vdev_name(driver: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1000);
    format!("{driver}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_written_out() {
        for (text, name) in [
            ("3b:00.0", "0000:3b:00.0"),
            ("0000:3B:1f.7", "0000:3b:1f.7"),
            ("10000:01:02.3", "10000:01:02.3"),
        ] {
            assert_eq!(Device::parse(text).unwrap().name, name);
        }
        let with = Device::parse("3b:00.0,representor=1").unwrap();
        assert_eq!(with.devargs, "0000:3b:00.0,representor=1");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            ",iface=x",
            "3b:00",
            "3b:00.9",
            "3b:20.0",
            "zz:00.0:",
            "1:2:3:4.5",
            "net tap",
            "a\0",
        ] {
            let device = Device::parse(text);
            let vdev = device.as_ref().is_ok_and(|device| device.name == "zz:00.0:");
            assert!(device.is_err() || vdev, "{text:?}");
        }
    }

    #[test]
    fn a_default_yields_to_the_operator() {
        let mut device = Device::parse("net_tap0,iface=a,mac=fixed").unwrap();
        device.set_default("mac", "02:00:00:00:00:01");
        device.set_default("persist", "1");
        assert_eq!(device.devargs, "net_tap0,iface=a,mac=fixed,persist=1");
    }

    #[test]
    fn vdev_names_differ() {
        assert_ne!(next_vdev_name("net_tap"), next_vdev_name("net_tap"));
    }
}
