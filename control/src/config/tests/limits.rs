//! Rates and storm limits of adapters in the file.

use super::errors::expect;
use super::start::{BASE, guest};
use super::*;
use crate::config::merge;
use crate::model::{Change, Rate};
use crate::registry::Limits;

const CLASSES: &str = "[[class]]\nname = \"lan\"\nprefixes = [\"10.0.0.0/8\"]\n[[class]]\n\
                       name = \"far.away\"\nprefixes = [\"0.0.0.0/0\"]\n";

/// A file with one adapter that has these keys; classes come after it.
fn text(keys: &str) -> String {
    format!("{BASE}{}{keys}{CLASSES}", guest("ct1", "203.0.113.1"))
}

fn limits(registry: &Registry) -> Limits {
    registry.adapters().next().unwrap().limits.clone()
}

#[test]
fn limits_are_read_in_whatever_form_they_are_written() {
    let plain = "rate = { in = 10000000, out = 2500 }\n\
                 class_rate = { lan = { in = 1000000 }, \"far.away\" = { out = 5000000000 } }\n\
                 storm = 1000\n";
    let want = limits(&started(&good(&text(plain))));
    let bps = |limit: &crate::registry::RateLimit| limit.asked().unwrap();
    assert_eq!(bps(&want.rate), Rate { in_bps: Some(10_000_000), out_bps: Some(2_500) });
    let lan = &want.classes[&"lan".parse().unwrap()];
    assert_eq!(bps(lan), Rate { in_bps: Some(1_000_000), out_bps: None });
    assert_eq!(want.storm_pps.map(u32::from), Some(1000));
    for same in [
        "rate = { in = \"10M\", out = \"2.5kbit\" }\nstorm = 1_000\n\
         class_rate = { lan = { in = \"1m\", out = 0 }, \"far.away\" = { out = \"5G\" } }\n",
        "storm = 1000\nrate.in = \"10mbit\"\nrate.out = 2500\nclass_rate.lan.in = \"1000K\"\n\
         [guest.adapter.class_rate.\"far.away\"]\nin = \"none\"\nout = \"5g\"\n",
    ] {
        assert_eq!(limits(&started(&good(&text(same)))), want, "{same}");
    }
    let none = text("rate = { in = 0, out = \"none\" }\nclass_rate = { lan = {} }\nstorm = 0\n");
    assert!(limits(&started(&good(&none))).is_none());
}

#[test]
fn each_wrong_limit_is_named_with_its_line() {
    let text = r#"[[class]]
name = "lan"
prefixes = ["10.0.0.0/8"]
[[class]]
name = "broken"
prefixes = "10.0.0.0/8"
[[guest]]
name = "vm1"
kind = "vm"
[[guest.adapter]]
name = "a"
port = "tap,iface=vm1-a"
rate = { in = "10MB", out = 999 }
storm = 1000001
[[guest.adapter]]
name = "b"
port = "tap,iface=vm1-b"
rate = "10M"
class_rate = "10M"
[[guest.adapter]]
name = "c"
port = "tap,iface=vm1-c"
rate = { in = 2.5, out = -1 }
[[guest.adapter]]
name = "d"
port = "tap,iface=vm1-d"
class_rate = { lan = 5, wan = { in = "1M" }, wide = { in = "1M" }, broken = { in = "1M" }, Lan = { in = "1M" } }
[guest.adapter.rate]
up = 5
[[guest.adapter]]
name = "e"
port = "tap,iface=vm1-e"
[guest.adapter.class_rate.lan]
in = "1M"
out = "2T"
"#;
    let key = |key: &str| format!("guest[vm1].adapter[{key}");
    expect(
        text,
        &[
            (6, "class[broken].prefixes", "is not a list of strings"),
            (13, &key("a].rate.in"), "\"10MB\" is not a rate: bits per second like 500k"),
            (
                13,
                &key("a].rate.out"),
                "999 bit/s is no rate to limit to: from 1 kbit/s to 1 Tbit/s",
            ),
            (14, &key("a].storm"), "1000001 is not a whole number from 0 to 1000000"),
            (18, &key("b].rate"), "\"10M\" is not a table like { in = \"10M\", out = \"5M\" }"),
            (19, &key("b].class_rate"), "\"10M\" is not a table like { CLASS = { in = \"10M\" } }"),
            (
                23,
                &key("c].rate.in"),
                "2.5 is not a rate: bits per second, like 10000000 or \"10M\"",
            ),
            (23, &key("c].rate.out"), "-1 is not a whole number"),
            (27, &key("d].class_rate.lan"), "5 is not a table like { in = \"10M\""),
            (27, &key("d].class_rate.Lan"), "bad name \"Lan\""),
            (27, &key("d].class_rate"), "there is no class wan: class add wan PREFIX"),
            (27, &key("d].class_rate"), "there is no class wide"),
            (29, &key("d].rate.up"), "unknown key; the keys here are in, out"),
            (35, &key("e].class_rate.lan.out"), "2000000000000 bit/s is no rate"),
        ],
    );
}

#[test]
fn a_second_class_of_a_name_is_told_with_the_line_of_the_first() {
    expect(
        "[[class]]\nname = \"a\"\nprefixes = [\"10.0.0.0/8\"]\n\
         [[class]]\nname = \"a\"\nprefixes = [\"11.0.0.0/8\"]\n",
        &[(5, "class[a].name", "class a exists already (line 2)")],
    );
}

#[test]
fn limits_are_shown_and_read_back_and_their_differences_told() {
    let keys =
        "rate = { in = \"10M\" }\nclass_rate = { \"far.away\" = { in = 1000, out = \"2k\" } }\n";
    let config = good(&text(keys));
    let registry = started(&config);
    let rendered = render(&config.appliance, &registry);
    for line in
        ["rate = { in = 10000000 }", "class_rate = { \"far.away\" = { in = 1000, out = 2000 } }"]
    {
        assert!(rendered.contains(&format!("\n{line}\n")), "{rendered}");
    }
    assert!(!rendered.contains("storm"), "{rendered}");
    assert_eq!(diff(&good(&rendered), &registry).unwrap(), Diff::default());
    let found = diff(&good(&text("storm = 5\nrate = { in = 5000 }\n")), &registry).unwrap();
    let lines: Vec<String> = found.differences.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "~ adapter ct1/eth0 class_rate: none in the file, { \"far.away\" = { in = 1000, out = \
             2000 } } running",
            "~ adapter ct1/eth0 rate: { in = 5000 } in the file, { in = 10000000 } running",
            "~ adapter ct1/eth0 storm: 5 in the file, none running",
        ]
    );
}

/// What `save` makes of a file once this wish runs.
fn saved(keys: &str, wish: &str) -> String {
    let text = text(keys);
    let mut running = started(&good(&text));
    let wish = serde_json::from_str(wish).unwrap();
    let (guest, adapter) = ("ct1".parse().unwrap(), "eth0".parse().unwrap());
    running.apply(&[Change::AdapterSet { guest, adapter, wish }]).unwrap();
    let merged = merge(file(), &text, &running).unwrap();
    assert_eq!(diff(&good(&merged), &running).unwrap().differences, [], "{merged}");
    let (head, tail) = (self::text(""), CLASSES);
    let rest = merged.strip_prefix(head.strip_suffix(tail).unwrap()).unwrap();
    rest.strip_suffix(tail).unwrap().to_owned()
}

#[test]
fn of_a_limit_that_is_saved_only_what_differs_is_touched() {
    let half = r#"{"rate": {"out": 5000}}"#;
    assert_eq!(
        saved("rate = { in = \"10M\" } # slow\n", half),
        "rate = { in = \"10M\", out = 5000 } # slow\n"
    );
    assert_eq!(
        saved("rate.in = \"10M\" # slow\n", half),
        "rate.in = \"10M\" # slow\nrate.out = 5000\n"
    );
    assert_eq!(
        saved("# slow\n[guest.adapter.rate]\n# down\nin = \"10M\" # more\nout = 7000 # up\n", half),
        "# slow\n[guest.adapter.rate]\n# down\nin = \"10M\" # more\nout = 5000 # up\n"
    );
    assert_eq!(
        saved("rate = { in = \"10M\", out = \"2M\" }\n", r#"{"rate": {"in": 0}}"#),
        "rate = { out = \"2M\" }\n"
    );
    let none = r#"{"class-rate": {"lan": {"in": 0}}, "storm": 7}"#;
    assert_eq!(saved("class_rate = { lan = { in = \"10M\" } }\n", none), "storm = 7\n");
    let both = "class_rate = { lan = { in = \"10M\" }, \"far.away\" = { out = \"1k\" } }\n";
    assert_eq!(
        saved(both, r#"{"class-rate": {"far.away": {"in": 2000}}}"#),
        "class_rate = { lan = { in = \"10M\" }, \"far.away\" = { out = \"1k\", in = 2000 } }\n"
    );
}

#[test]
fn a_file_with_classes_is_no_other_file_for_a_version_that_reads_them_first() {
    // The fingerprint that this text had when classes were read last.
    assert_eq!(good(&text("")).fingerprint(), 1_124_907_055_324_026_670);
}
