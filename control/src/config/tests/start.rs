//! The file and the state at a start, and what `--apply` makes of their differences.

use super::*;
use crate::model::{Change, GuestKind, PortPatch};
use crate::registry::RefusalKind;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) const BASE: &str = r#"
[[uplink]]
name = "up0"
device = "net_tap0,iface=up0"
addresses = ["192.0.2.1/24"]
[[port]]
name = "venet0"
device = "net_tap2,iface=venet0"
role = "shared"
"#;

pub(super) fn guest(name: &str, address: &str) -> String {
    format!(
        "[[guest]]\nname = \"{name}\"\nkind = \"container\"\n[[guest.adapter]]\nname = \"eth0\"\n\
         port = \"shared:venet0\"\naddresses = [\"{address}\"]\n"
    )
}

#[test]
fn a_first_start_takes_the_file_and_a_second_the_state() {
    let config = good(&format!("{BASE}{}", guest("ct1", "203.0.113.1")));
    let first = plan_start(&config, None, false).unwrap();
    assert!(first.imported && first.differences.is_empty());
    let mut registry = first.registry;
    let add = Change::GuestAdd { guest: name("ct2"), kind: GuestKind::Container };
    registry.apply(&[add]).unwrap();
    let second = plan_start(&config, Some(stored(&registry)), false).unwrap();
    assert!(!second.imported);
    // What was done live is kept, and as the file is the same it is not reported.
    assert!(second.registry.guest(&name("ct2")).is_some());
    assert!(second.notices(&config).is_empty());
    assert_eq!(second.registry.gateway_mac(), registry.gateway_mac());
}

#[test]
fn a_changed_file_is_reported_and_taken_over_only_where_asked() {
    let before = good(&format!("{BASE}{}", guest("ct1", "203.0.113.1")));
    let registry = started(&before);
    let after = good(&format!("{BASE}{}", guest("ct2", "203.0.113.1")));
    let kept = plan_start(&after, Some(stored(&registry)), false).unwrap();
    assert!(kept.registry.guest(&name("ct1")).is_some());
    let notices = kept.notices(&after);
    assert!(notices[0].contains("run --apply takes it over"), "{notices:?}");
    assert!(notices.contains(&"- guest ct1: only running".to_owned()), "{notices:?}");
    assert!(notices.contains(&"+ adapter ct2/eth0: only in the file".to_owned()), "{notices:?}");
    // Reported again at the next start, until it is taken over.
    let again = plan_start(&after, Some(stored(&kept.registry)), false).unwrap();
    assert_eq!(again.notices(&after), notices);
    let taken = plan_start(&after, Some(stored(&again.registry)), true).unwrap();
    assert!(taken.imported && taken.registry.guest(&name("ct1")).is_none());
    let settled = plan_start(&after, Some(stored(&taken.registry)), false).unwrap();
    assert!(settled.notices(&after).is_empty());
}

#[test]
fn a_comment_is_no_change_of_the_file() {
    let text = format!("{BASE}{}", guest("ct1", "203.0.113.1"));
    let config = good(&text);
    let registry = started(&config);
    let commented = good(&format!("# new\n{text}"));
    let plan = plan_start(&commented, Some(stored(&registry)), false).unwrap();
    assert!(plan.notices(&commented).is_empty());
}

#[test]
fn ports_are_the_files_and_keep_what_was_set_while_it_says_the_same() {
    let config = good(BASE);
    let mut registry = started(&config);
    let set = PortPatch { mtu: Some(9000), ..PortPatch::default() };
    registry.apply(&[Change::PortSet { port: name("up0"), set }]).unwrap();
    let mac = registry.port(&name("up0")).unwrap().mac;
    let again = plan_start(&config, Some(stored(&registry)), false).unwrap().registry;
    assert_eq!(again.port(&name("up0")).unwrap().mtu, 9000);
    assert_eq!(again.port(&name("up0")).unwrap().mac, mac);
    let changed = good(&BASE.replace("192.0.2.1/24", "192.0.2.2/24"));
    let changed = plan_start(&changed, Some(stored(&again)), false).unwrap().registry;
    let up0 = changed.port(&name("up0")).unwrap();
    assert_eq!((up0.mtu, up0.addresses[0].to_string().as_str()), (1500, "192.0.2.2/24"));
    assert_eq!(up0.mac, mac, "a generated MAC stays");
}

fn address(registry: &Registry, port: &str) -> String {
    registry.port(&name(port)).unwrap().addresses[0].to_string()
}

#[test]
fn addresses_set_live_stay_while_the_file_says_what_it_said() {
    let second = "[[uplink]]\nname = \"up1\"\ndevice = \"net_tap1,iface=up1\"\n\
                  addresses = [\"198.51.100.1/24\"]\n";
    let file = good(&format!("{BASE}{second}"));
    let mut registry = started(&file);
    let set = |port: &str, to: &str| Change::PortSet {
        port: name(port),
        set: PortPatch { addresses: Some(vec![to.parse().unwrap()]), ..PortPatch::default() },
    };
    // They change places, which neither could alone.
    let none = |port: &str| Change::PortSet {
        port: name(port),
        set: PortPatch { addresses: Some(vec![]), ..PortPatch::default() },
    };
    let swap = [none("up0"), set("up1", "192.0.2.1/24"), set("up0", "198.51.100.1/24")];
    registry.apply(&swap).unwrap();
    let again = plan_start(&file, Some(stored(&registry)), false).unwrap().registry;
    assert_eq!(address(&again, "up0"), "198.51.100.1/24");
    assert_eq!(address(&again, "up1"), "192.0.2.1/24");
    // `run --apply` brings the file's back.
    let applied = plan_start(&file, Some(stored(&registry)), true).unwrap().registry;
    assert_eq!(address(&applied, "up0"), "192.0.2.1/24");
    assert_eq!(diff(&file, &applied).unwrap(), Diff::default());
    // A file that says otherwise counts.
    let other = good(&format!("{BASE}{second}").replace("192.0.2.1/24", "192.0.2.7/24"));
    let error = plan_start(&other, Some(stored(&registry)), false).unwrap_err();
    assert!(error.message.contains("192.0.2.1/24 overlaps 192.0.2.7/24 of uplink up0"), "{error}");
}

#[test]
fn a_file_that_was_taken_over_live_is_what_counts_from_then_on() {
    let text = |address: &str, queues: u8| {
        let text = BASE.replace("192.0.2.1/24", address);
        good(&text.replace("[[port]]", &format!("queues = {queues}\n[[port]]")))
    };
    let (old, new) = (text("192.0.2.1/24", 1), text("192.0.2.2/24", 2));
    let mut registry = started(&old);
    let found = diff_live(&new, &new.appliance, &registry).unwrap();
    registry.apply(&found.changes).unwrap();
    registry.adopt_ports(&new.ports);
    registry.settle();
    assert_eq!(address(&registry, "up0"), "192.0.2.2/24");
    let queues = |registry: &Registry| registry.port(&name("up0")).unwrap().queues;
    let restarted =
        |file: &Config| plan_start(file, Some(stored(&registry)), false).unwrap().registry;
    // What had to wait for a start comes with it; the file before that is another file now.
    assert_eq!(
        (address(&restarted(&new), "up0"), queues(&restarted(&new))),
        ("192.0.2.2/24".into(), 2)
    );
    assert_eq!(
        (address(&restarted(&old), "up0"), queues(&restarted(&old))),
        ("192.0.2.1/24".into(), 1)
    );
}

#[test]
fn a_port_attached_live_survives_and_one_gone_from_the_file_goes() {
    let config = good(&format!("{BASE}{}", guest("ct1", "203.0.113.1")));
    let mut registry = started(&config);
    let wish = PortWish { device: "net_tap7,iface=up7".to_owned(), ..config.ports[0].1.clone() };
    let wish = PortWish { addresses: Vec::new(), ..wish };
    registry.apply(&[Change::PortAttach { port: name("up7"), wish }]).unwrap();
    let fewer = good(&BASE[..BASE.find("[[port]]").unwrap()]);
    let error = plan_start(&fewer, Some(stored(&registry)), false).unwrap_err();
    assert_eq!(error.kind, RefusalKind::NotFound);
    assert!(error.message.contains("there is no port venet0"), "{error}");
    assert!(error.message.contains("put the port back"), "{error}");
    registry.apply(&[Change::GuestDel { guest: name("ct1") }]).unwrap();
    let plan = plan_start(&fewer, Some(stored(&registry)), false).unwrap();
    let names: Vec<&str> = plan.registry.ports().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["up0", "up7"]);
}

#[test]
fn the_files_ports_are_checked_against_the_state() {
    let config = good(&format!("{BASE}{}", guest("ct1", "203.0.113.1")));
    let registry = started(&config);
    let clash = good(&BASE.replace("192.0.2.1/24", "203.0.113.1/24"));
    let error = plan_start(&clash, Some(stored(&registry)), false).unwrap_err();
    assert!(error.message.contains("203.0.113.1 is taken by port up0"), "{error}");
}

#[test]
fn taking_a_file_over_swaps_whatever_is_swapped() {
    let text = |one: &str, two: &str, lan: [u16; 2], iface: [&str; 2]| {
        format!(
            "{BASE}{}{}
[[network]]
name = \"lan0\"
uplink = \"up0\"
vlan = {}
[network.server]
port = \"tap,iface={}\"
[[network]]
name = \"lan1\"
uplink = \"up0\"
vlan = {}
[network.server]
port = \"tap,iface={}\"
[[route]]
prefix = \"10.0.0.0/8\"
via = \"{one}\"
[[route]]
prefix = \"11.0.0.0/8\"
via = \"192.0.2.9\"
",
            guest("ct1", one),
            guest("ct2", two),
            lan[0],
            iface[0],
            lan[1],
            iface[1]
        )
    };
    let before = good(&text("203.0.113.1", "203.0.113.2", [1, 2], ["s0", "s1"]));
    let after = good(&text("203.0.113.2", "203.0.113.1", [2, 1], ["s1", "s0"]));
    let registry = started(&before);
    let taken = plan_start(&after, Some(stored(&registry)), true).unwrap().registry;
    assert_eq!(diff(&after, &taken).unwrap(), Diff::default());
    let owner = taken.owner_of("203.0.113.1".parse().unwrap()).unwrap();
    assert_eq!(owner.guest.as_str(), "ct2");
}

/// Files each of which differs from each in several nouns.
pub(super) fn files() -> [String; 9] {
    let vm = "[[guest]]\nname = \"ct1\"\nkind = \"vm\"\n[[guest.adapter]]\nname = \"eth0\"\n\
              port = \"tap,iface=ct1\"\naddresses = [\"203.0.113.1/24\"]\n";
    let lan = "[[network]]\nname = \"lan0\"\nuplink = \"up0\"\nage_s = 20\n";
    let member = "[[guest.adapter]]\nname = \"eth1\"\nport = \"tap,iface=x1\"\n\
                  mode = \"virtual-network\"\nnetwork = \"lan0\"\naddresses = [\"203.0.113.9/24\"]\n\
                  [[mac]]\nnetwork = \"lan0\"\nmac = \"02:00:00:00:00:09\"\nguest = \"ct1\"\n\
                  adapter = \"eth1\"\n";
    let routed = "[[guest.adapter]]\nname = \"eth1\"\nport = \"tap,iface=x1\"\n\
                  mode = \"host-routed\"\naddresses = [\"203.0.113.9\"]\nmtu = 1400\n\
                  [[route]]\nprefix = \"10.0.0.0/8\"\nvia = \"203.0.113.9\"\n\
                  [[neighbor]]\nip = \"192.0.2.3\"\nmac = \"02:00:00:00:00:07\"\ndev = \"up0\"\n";
    let limited = "rate = { in = \"10M\", out = \"5M\" }\nstorm = 9\n\
                   class_rate = { c = { in = \"1M\" }, d = { in = \"1M\", out = \"2M\" } }\n\
                   [[class]]\nname = \"c\"\nprefixes = [\"10.0.0.0/8\"]\n\
                   [[class]]\nname = \"d\"\nprefixes = [\"11.0.0.0/8\"]\n";
    let otherwise = "rate.out = \"6M\"\n[guest.adapter.class_rate.c]\nin = \"1M\"\n\
                     [guest.adapter.class_rate.\"e.f\"]\nout = \"3M\"\n\
                     [[class]]\nname = \"c\"\nprefixes = [\"11.0.0.0/8\"]\n\
                     [[class]]\nname = \"e.f\"\nprefixes = [\"10.0.0.0/8\"]\n";
    [
        BASE.to_owned(),
        format!("{BASE}{}{limited}", guest("ct1", "203.0.113.1")),
        format!("{BASE}{}{otherwise}", guest("ct1", "203.0.113.2")),
        format!("{BASE}{}", guest("ct1", "203.0.113.1")),
        format!("{BASE}{vm}"),
        format!("{BASE}{lan}{}{member}", guest("ct1", "203.0.113.1")),
        format!("{BASE}{}{routed}", guest("ct1", "203.0.113.1")),
        format!("{BASE}{lan}{vm}{member}"),
        format!("{BASE}{lan}{vm}{routed}[[class]]\nname = \"c\"\nprefixes = [\"10.0.0.0/8\"]\n"),
    ]
}

#[test]
fn taking_a_file_over_reaches_it_from_any_state() {
    let files = files();
    for from in &files {
        for to in &files {
            let (from, to) = (good(from), good(to));
            let registry = started(&from);
            let plan = plan_start(&to, Some(stored(&registry)), true);
            let plan = plan.unwrap_or_else(|refusal| {
                panic!("{refusal}\n{:#?}", diff(&to, &registry).unwrap().changes)
            });
            assert_eq!(diff(&to, &plan.registry).unwrap(), Diff::default());
        }
    }
}

#[test]
fn a_mac_left_out_of_the_file_is_no_difference() {
    let config = good(&format!("{BASE}{}", guest("ct1", "203.0.113.1")));
    let mut registry = Registry::new(Identity { seed: 99 });
    registry.apply_from_file(&config.attach_ports()).unwrap();
    registry.apply(&config.initial).unwrap();
    let wish = AdapterWish {
        port: Some("tap,iface=a".to_owned()),
        mac: Some("02:00:00:00:00:01".parse().unwrap()),
        ..AdapterWish::default()
    };
    let add = Change::AdapterAdd { guest: name("ct1"), adapter: name("eth1"), wish };
    registry.apply(&[add]).unwrap();
    let text = format!(
        "{BASE}{}[[guest.adapter]]\nname = \"eth1\"\nport = \"tap,iface=a\"\n",
        guest("ct1", "203.0.113.1")
    );
    assert_eq!(diff(&good(&text), &registry).unwrap(), Diff::default());
}
