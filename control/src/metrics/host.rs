//! Whether a request means this appliance by its Host header.
//!
//! A page on the web can have its own name resolve to 127.0.0.1 and then read, through the operator's
//! browser, what listens there (DNS rebinding). What it can't do is have the browser send another name than
//! its own. So requests are answered that name an address of ours or `localhost`, and no others.

use std::net::{IpAddr, SocketAddr};

/// Whether `host` (the header's value or the target's authority, RFC 9110 7.2) names what listens on
/// `listening`. The port does not count: it is another one behind a tunnel.
pub(super) fn is_ours(host: &str, listening: SocketAddr) -> bool {
    let name = without_port(host);
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let Ok(ip) = bare.parse::<IpAddr>() else { return false };
    // Listening on all addresses, any may be meant; none of them is a name that somebody else resolves.
    ip.is_loopback() || ip == listening.ip() || listening.ip().is_unspecified()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            // An address of IPv6 without brackets has colons of its own.
            if name.contains(':') && !name.ends_with(']') { host } else { name }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(host: &str, listening: &str) -> bool {
        is_ours(host, listening.parse().unwrap())
    }

    #[test]
    fn loopback_and_the_address_listened_on_are_ours() {
        for host in [
            "localhost",
            "LocalHost:9650",
            "127.0.0.1",
            "127.0.0.1:9650",
            "127.9.9.9:1",
            "[::1]:9650",
            "[::1]",
            "::1",
            "192.0.2.1:9650",
            "192.0.2.1",
            "localhost:",
        ] {
            assert!(ours(host, "192.0.2.1:9650"), "{host}");
        }
        assert!(ours("[2001:db8::1]:9650", "[2001:db8::1]:9650"));
        assert!(ours("192.0.2.77:9650", "0.0.0.0:9650"));
        assert!(ours("[2001:db8::7]", "[::]:9650"));
    }

    #[test]
    fn names_and_addresses_of_others_are_not() {
        for host in [
            "",
            "evil.example",
            "evil.example:9650",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.2:9650",
            "[2001:db8::1]",
            "2130706433",
            "127.0.0.1:9650:x",
            "[::1",
            "user@127.0.0.1:x",
        ] {
            assert!(!ours(host, "192.0.2.1:9650"), "{host}");
        }
        assert!(!ours("evil.example", "0.0.0.0:9650"));
    }
}
