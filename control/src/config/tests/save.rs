//! What runs, written into the operator's file; and a file applied to what runs.

use super::start::{BASE, files, guest};
use super::*;
use crate::config::{diff, diff_live, merge};
use crate::model::{Change, PortPatch};

fn merged(text: &str, running: &Registry) -> String {
    merge(file(), text, running).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn what_runs_is_reached_from_any_file_and_again_changes_nothing() {
    for from in files() {
        for to in files() {
            let running = started(&good(&to));
            let text = merged(&from, &running);
            let differences = diff(&good(&text), &running).unwrap().differences;
            assert_eq!(differences, [], "{from}\nwas made\n{text}");
            assert_eq!(merged(&text, &running), text);
        }
    }
}

#[test]
fn a_file_that_says_what_runs_stays_byte_for_byte() {
    let all = files();
    for text in all.iter().map(String::as_str).chain([CONTRACT, ""]) {
        assert_eq!(merged(text, &started(&good(text))), text);
    }
}

#[test]
fn comments_order_and_spelling_of_what_stays_stay() {
    let text = "# top\n[appliance]\nmbufs = 65_536 # many\n\n# the wire\n[[uplink]]\nname = \"up0\"\n\
                device = \"net_tap0,iface=up0\"\naddresses = [ \"192.0.2.1/24\" ] # ours\n\n\
                # first\n[[guest]]\nkind = \"container\"\nname = \"ct1\"\n  # its card\n  \
                [[guest.adapter]]\n  name = \"eth0\"\n  port = \"tap,iface=a\"\n  mtu = 1500 # usual\n\
                addresses = [\n  \"203.0.113.1\", # www\n]\n\n# second\n[[guest]]\nname = \"ct2\"\n\
                kind = \"container\"\n\n# last\n[[route]]\nprefix = \"10.0.0.0/8\"\nvia = \"203.0.113.1\"\n";
    let mut running = started(&good(text));
    running
        .apply(&[
            Change::GuestDel { guest: "ct2".parse().unwrap() },
            Change::PortSet {
                port: "up0".parse().unwrap(),
                set: PortPatch { mtu: Some(9000), ..PortPatch::default() },
            },
            Change::AdapterSet {
                guest: "ct1".parse().unwrap(),
                adapter: "eth0".parse().unwrap(),
                wish: crate::model::AdapterWish { mtu: Some(1400), ..Default::default() },
            },
        ])
        .unwrap();
    let want = text
        .replace("# ours\n", "# ours\nmtu = 9000\n")
        .replace("mtu = 1500 # usual", "mtu = 1400 # usual")
        .replace("\n# second\n[[guest]]\nname = \"ct2\"\nkind = \"container\"\n", "");
    assert_eq!(merged(text, &running), want);
}

#[test]
fn a_key_that_says_the_default_goes_once_it_differs_and_comes_when_it_must() {
    let text = format!("{BASE}{}announce = false\n", guest("ct1", "203.0.113.1"));
    let mut running = started(&good(&text));
    let set = |announce| Change::AdapterSet {
        guest: "ct1".parse().unwrap(),
        adapter: "eth0".parse().unwrap(),
        wish: crate::model::AdapterWish { announce: Some(announce), ..Default::default() },
    };
    running.apply(&[set(true)]).unwrap();
    let without = merged(&text, &running);
    assert_eq!(without, text.replace("announce = false\n", ""));
    running.apply(&[set(false)]).unwrap();
    assert_eq!(merged(&without, &running), text);
}

#[test]
fn inline_tables_are_taken_up_and_a_file_with_errors_is_left_alone() {
    let text =
        "guest = [{ name = \"ct1\", kind = \"container\" }, { name = \"ct2\", kind = \"vm\" }]\n";
    let mut running = started(&good(text));
    assert_eq!(merged(text, &running), text);
    running.apply(&[Change::GuestDel { guest: "ct1".parse().unwrap() }]).unwrap();
    let left = merged(text, &running);
    assert_eq!(diff(&good(&left), &running).unwrap().differences, []);
    let error = merge(file(), "[appliance]\nworkers = 1\nmbufs = \"x\"\n", &running).unwrap_err();
    assert!(error.contains("guestway.toml:2") && error.contains("and 1 more"), "{error}");
}

#[test]
fn a_live_batch_brings_ports_and_what_hangs_on_them_together() {
    let plain = "[[uplink]]\nname = \"up0\"\ndevice = \"net_tap0,iface=up0\"\n\
                 addresses = [\"192.0.2.1/24\"]\n";
    let more = format!(
        "{plain}mtu = 9000\n[[port]]\nname = \"venet0\"\nrole = \"shared\"\n\
         device = \"net_tap2,iface=venet0\"\n{}[[uplink]]\nname = \"up1\"\n\
         device = \"net_tap3,iface=up1\"\naddresses = [\"198.51.100.1/24\"]\n[[network]]\n\
         name = \"lan0\"\nuplink = \"up1\"\nvlan = 5\n",
        guest("ct1", "203.0.113.1")
    );
    let (plain, more) = (good(plain), good(&more));
    for (from, to) in [(&plain, &more), (&more, &plain)] {
        let mut running = started(from);
        let found = diff_live(to, &to.appliance, &running).unwrap();
        assert!(found.differences.iter().all(|difference| !difference.needs_start));
        running.apply(&found.changes).unwrap();
        let left = diff_live(to, &to.appliance, &running).unwrap();
        assert_eq!((left.differences, left.changes), (vec![], vec![]));
    }
}

/// Files whose uplinks have, swap and give up addresses, gateways and what depends on them.
fn linked() -> [String; 7] {
    let up = |number: u8, keys: &str| {
        format!(
            "[[uplink]]\nname = \"up{number}\"\ndevice = \"net_tap{number},iface=up{number}\"\n{keys}\n"
        )
    };
    let a = "addresses = [\"192.0.2.1/24\"]\ngateway = [\"192.0.2.254\"]";
    let b = "addresses = [\"198.51.100.1/24\", \"198.51.100.2/24\"]\nprobe = false";
    let b_too = "addresses = [\"198.51.100.1/24\"]\ngateway = [\"198.51.100.254\"]\nmtu = 9000";
    let venet =
        "[[port]]\nname = \"venet0\"\ndevice = \"net_tap5,iface=venet0\"\nrole = \"shared\"\n";
    let route = "[[route]]\nprefix = \"10.0.0.0/8\"\nvia = \"192.0.2.9\"\n\
                 [[route]]\nprefix = \"11.0.0.0/8\"\nvia = \"198.51.100.9\"\n";
    let gateway = "gateway = [\"198.51.100.2\"]\n";
    [
        format!("{}{}{venet}{route}", up(0, a), up(1, b)),
        format!("{}{}{venet}{route}", up(0, b), up(1, a)),
        format!("{}{}{venet}{route}", up(0, "addresses = [\"192.0.2.2/24\"]"), up(1, b_too)),
        format!("{}{}{venet}{}", up(0, b_too), up(1, ""), guest("ct1", "192.0.2.1")),
        format!("{}{venet}{}{}", up(0, a), guest("ct1", "198.51.100.1"), gateway),
        format!("{}{venet}{}", up(0, b), guest("ct1", "192.0.2.9")),
        format!("{}{venet}{}{route}", up(1, b), guest("ct1", "192.0.2.9")),
    ]
}

#[test]
fn a_live_batch_reaches_any_file_from_any_state() {
    let all: Vec<String> = files().into_iter().chain(linked()).collect();
    for from in &all {
        for to in &all {
            let (from, to) = (good(from), good(to));
            let mut running = started(&from);
            let found = diff_live(&to, &to.appliance, &running).unwrap();
            let applied = running.apply(&found.changes);
            applied.unwrap_or_else(|refusal| panic!("{refusal}\n{:#?}", found.changes));
            let left = diff_live(&to, &to.appliance, &running).unwrap();
            assert!(left.differences.iter().all(|left| left.needs_start), "{:?}", left.differences);
            assert_eq!(left.changes, []);
        }
    }
}

#[test]
fn what_an_uplink_keeps_is_not_let_go_meanwhile() {
    let text = |more: &str| {
        format!(
            "[[uplink]]\nname = \"up0\"\ndevice = \"net_tap0,iface=up0\"\n{more}\n\
             [[route]]\nprefix = \"10.0.0.0/8\"\nvia = \"192.0.2.9\"\n"
        )
    };
    let one = good(&text("addresses = [\"192.0.2.1/24\"]\ngateway = [\"192.0.2.254\"]"));
    let two = good(&text(
        "addresses = [\"192.0.2.7/24\", \"198.51.100.1/24\"]\ngateway = [\"198.51.100.254\"]",
    ));
    let running = started(&one);
    let found = diff_live(&two, &two.appliance, &running).unwrap();
    let lines: Vec<String> = found.differences.iter().map(ToString::to_string).collect();
    let says = "~ port up0 gateway: [\"198.51.100.254\"] in the file, [\"192.0.2.254\"] running";
    assert!(lines.contains(&says.to_owned()) && lines.len() == 2, "{lines:?}");
    let [Change::PortSet { set, .. }] = found.changes.as_slice() else { panic!("{found:?}") };
    assert_eq!(set.addresses.as_ref().map(Vec::len), Some(2));
    assert_eq!((set.mtu, set.probe, set.configure), (None, None, None));
}

#[test]
fn a_class_whose_prefixes_change_is_set_and_keeps_its_rates() {
    let text = |c: &str, d: &str| {
        good(&format!(
            "{BASE}{}class_rate.c.in = \"1M\"\n[[class]]\nname = \"c\"\nprefixes = [{c}]\n\
             [[class]]\nname = \"d\"\nprefixes = [{d}]\n",
            guest("ct1", "203.0.113.1")
        ))
    };
    let running = started(&text("\"10.0.0.0/8\", \"11.0.0.0/8\"", "\"12.0.0.0/8\""));
    let changes = |to: &Config| diff_live(to, &to.appliance, &running).unwrap().changes;
    let set = |class: &str, prefixes: &[&str]| Change::ClassSet {
        class: class.parse().unwrap(),
        prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
    };
    // Nobody else's: in one step, even where nothing stays.
    let other = text("\"13.0.0.0/8\"", "\"12.0.0.0/8\"");
    assert_eq!(changes(&other), [set("c", &["13.0.0.0/8"])]);
    // One that goes to another class is let go first.
    let moved = text("\"10.0.0.0/8\"", "\"12.0.0.0/8\", \"11.0.0.0/8\"");
    let steps = [set("c", &["10.0.0.0/8"]), set("d", &["12.0.0.0/8", "11.0.0.0/8"])];
    assert_eq!(changes(&moved), steps);
    // Where everything goes to another there is nothing to keep.
    let swapped = text("\"12.0.0.0/8\"", "\"10.0.0.0/8\", \"11.0.0.0/8\"");
    assert!(changes(&swapped).contains(&Change::ClassDel { class: "c".parse().unwrap() }));
}

#[test]
fn a_port_of_another_role_waits_for_a_start() {
    let text = |noun: &str, keys: &str| {
        good(&format!("[[{noun}]]\nname = \"x\"\ndevice = \"net_tap0,iface=x\"\n{keys}\n"))
    };
    let uplink = text("uplink", "addresses = [\"192.0.2.1/24\"]");
    let running = started(&text("port", "role = \"shared\""));
    let found = diff_live(&uplink, &uplink.appliance, &running).unwrap();
    assert!(found.differences.iter().all(|difference| difference.needs_start));
    assert!(found.differences.iter().any(|difference| difference.what == "port x role"));
    assert_eq!(found.changes, []);
}

#[test]
fn what_takes_effect_at_a_start_only_is_told_and_not_in_the_batch() {
    let text = |queues: u8| {
        format!(
            "[[uplink]]\nname = \"up0\"\ndevice = \"net_tap0,iface=up0\"\nqueues = {queues}\n\
             addresses = [\"192.0.2.1/24\"]\n"
        )
    };
    let (one, two) = (good(&text(1)), good(&format!("[appliance]\nworkers = [2, 3]\n{}", text(2))));
    let running = started(&one);
    let found = diff_live(&two, &one.appliance, &running).unwrap();
    let lines: Vec<String> = found.differences.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "~ appliance workers: [2, 3] in the file, [1] running (the file's takes effect at a start)",
            "~ port up0 queues: 2 in the file, 1 running (the file's takes effect at a start)",
        ]
    );
    assert_eq!(found.changes, []);
}
