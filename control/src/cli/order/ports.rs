//! What commands about ports order.

use super::{Made, Order, View, act, change, show};
use crate::api::view::PortLabel;
use crate::cli::grammar::Values;
use crate::model::{Change, PortPatch, PortRole, PortWish};

pub(in crate::cli) fn port_attach(values: &Values) -> Made {
    let role = match values.text("role") {
        Some("host") => PortRole::Host,
        Some("shared") => PortRole::Shared,
        _ => PortRole::Uplink,
    };
    let wish = PortWish {
        device: values.need_text("DEVARGS")?.to_owned(),
        role,
        netns: values.text("netns").map(str::to_owned),
        queues: values.value("queues")?,
        mac: values.value("mac")?,
        mtu: values.value("mtu")?,
        addresses: values.prefixes("ip")?.unwrap_or_default(),
        gateway: values.addresses("gateway")?.unwrap_or_default(),
        probe: values.switch("probe"),
        configure: values.switch("configure"),
        workers: None,
    };
    change(Change::PortAttach { port: values.named_port("PORT")?, wish })
}

pub(in crate::cli) fn port_detach(values: &Values) -> Made {
    change(Change::PortDetach { port: values.named_port("PORT")? })
}

pub(in crate::cli) fn port_start(values: &Values) -> Made {
    port_started(values, true)
}

pub(in crate::cli) fn port_stop(values: &Values) -> Made {
    port_started(values, false)
}

fn port_started(values: &Values, started: bool) -> Made {
    if values.text("PORT|all") == Some("all") {
        return Ok(Order::AllPorts { started });
    }
    let set = PortPatch { started: Some(started), ..Default::default() };
    change(Change::PortSet { port: values.named_port("PORT|all")?, set })
}

pub(in crate::cli) fn port_mtu(values: &Values) -> Made {
    let set = PortPatch { mtu: values.value("BYTES")?, ..Default::default() };
    change(Change::PortSet { port: values.named_port("PORT")?, set })
}

pub(in crate::cli) fn port_queue(values: &Values) -> Made {
    let queue_worker = Some((values.need("Q")?, values.need("W")?));
    let set = PortPatch { queue_worker, ..Default::default() };
    change(Change::PortSet { port: values.named_port("PORT")?, set })
}

pub(in crate::cli) fn port_link(values: &Values) -> Made {
    if values.only(&["PORT"]) {
        return Err("nothing to set: want KEY VALUE, like mtu 1400 or ip 192.0.2.1/24".into());
    }
    let set = PortPatch {
        addresses: values.prefixes("ip")?,
        gateway: values.addresses("gateway")?,
        probe: values.switch("probe"),
        ..Default::default()
    };
    change(Change::PortSet { port: values.named_port("PORT")?, set })
}

/// The port asked about; none for all.
fn asked_port(values: &Values) -> Result<Option<PortLabel>, String> {
    match values.text("all|PORT") {
        None | Some("all") => Ok(None),
        Some(_) => values.need("all|PORT").map(Some),
    }
}

pub(in crate::cli) fn show_port_info(values: &Values) -> Made {
    match asked_port(values)? {
        None => show(View::Ports, &[&"ports"]),
        Some(port) => show(View::Port, &[&"ports", &port]),
    }
}

pub(in crate::cli) fn show_port_stats(values: &Values) -> Made {
    match asked_port(values)? {
        None => show(View::AllPortStats, &[&"stats"]),
        Some(port) => show(View::PortStats, &[&"ports", &port, &"stats"]),
    }
}

pub(in crate::cli) fn show_port_xstats(values: &Values) -> Made {
    match asked_port(values)? {
        None => show(View::AllPortXstats, &[&"xstats"]),
        Some(port) => show(View::PortXstats, &[&"ports", &port, &"xstats"]),
    }
}

pub(in crate::cli) fn clear_port_stats(values: &Values) -> Made {
    match asked_port(values)? {
        None => act(&[&"stats", &"clear"]),
        Some(port) => act(&[&"ports", &port, &"stats", &"clear"]),
    }
}
