//! The table of commands.

use super::Values;
use crate::cli::order::{self, Order};

/// One command.
pub(in crate::cli) struct Command {
    /// Its usage: the grammar itself.
    pub(in crate::cli) usage: &'static str,
    /// Its purpose.
    pub(in crate::cli) about: &'static str,
    /// The argument that names what it makes: completion has nothing to offer there.
    pub(super) creates: &'static str,
    /// What it orders.
    pub(in crate::cli) order: fn(&Values) -> Result<Order, String>,
}

/// A command on what is there.
const fn on(
    usage: &'static str,
    order: fn(&Values) -> Result<Order, String>,
    about: &'static str,
) -> Command {
    Command { usage, about, creates: "", order }
}

/// A command that makes what an argument names.
const fn make(
    usage: &'static str,
    creates: &'static str,
    order: fn(&Values) -> Result<Order, String>,
    about: &'static str,
) -> Command {
    Command { usage, about, creates, order }
}

/// Every command. Where two fit, the first is meant.
pub(in crate::cli) static COMMANDS: &[Command] = &[
    on("start", order::start, "Forward."),
    on("stop", order::stop, "Stop forwarding: frames are received, dropped and counted."),
    make(
        "port attach DEVARGS name PORT [role uplink|host|shared] [queues N] [mac MAC] [ip PREFIX]… \
         [gateway IP]… [mtu BYTES] [netns NETNS] [probe on|off] [configure on|off]",
        "PORT",
        order::port_attach,
        "Attach a device as a port, an uplink where no role is given.",
    ),
    on("port detach PORT", order::port_detach, "Detach a port."),
    on("port start PORT|all", order::port_start, "Poll a port again."),
    on("port stop PORT|all", order::port_stop, "Poll a port no more."),
    on("port set PORT mtu BYTES", order::port_mtu, "Set the largest packet, bytes."),
    on(
        "port set PORT queue Q worker W",
        order::port_queue,
        "Let the worker on core W poll receive queue Q.",
    ),
    on(
        "port set PORT [ip PREFIX|none]… [gateway IP|none]… [probe on|off]",
        order::port_link,
        "Change the server's addresses on an uplink, or its gateway; they replace what was there.",
    ),
    on("show port info [all|PORT]", order::show_port_info, "Ports: device, link, MAC, queues."),
    on("show port stats [all|PORT]", order::show_port_stats, "Counters of ports."),
    on("show port xstats [all|PORT]", order::show_port_xstats, "Counters that drivers keep."),
    on("clear port stats all|PORT", order::clear_port_stats, "Counters back to 0."),
    make("guest add GUEST container|vm", "GUEST", order::guest_add, "Register a guest."),
    on("guest del GUEST", order::guest_del, "Delete a guest and its adapters."),
    on("show guest [all|GUEST]", order::show_guest, "Guests and both sides of their adapters."),
    make(
        "adapter add GUEST ADAPTER port SPEC [mode host-routed|virtual-network] [network NET] \
         [ip PREFIX]… [mac MAC] [host-mac MAC] [gateway IP]… [mtu BYTES] [filter LIST|all|none] \
         [announce on|off] [probe on|off] [rate in|out BITS|none]… [class-rate CLASS in|out BITS|none]… \
         [storm FRAMES|none]",
        "ADAPTER",
        order::adapter_add,
        "Give a guest an adapter; a container's is host-routed, a VM's on the network default.",
    ),
    on(
        "adapter set GUEST ADAPTER [port SPEC] [mode host-routed|virtual-network] [network NET] \
         [ip PREFIX|none]… [mac MAC] [host-mac MAC] [gateway IP|none]… [mtu BYTES] \
         [filter LIST|all|none] [announce on|off] [probe on|off] [rate in|out BITS|none]… \
         [class-rate CLASS in|out BITS|none]… [storm FRAMES|none]",
        order::adapter_set,
        "Change an adapter while it runs; ip and gateway replace what was there, a rate that way's alone.",
    ),
    on("adapter del GUEST ADAPTER", order::adapter_del, "Delete an adapter, both sides."),
    make(
        "network add NET host-only",
        "NET",
        order::network_add,
        "Add a network without a way out.",
    ),
    make(
        "network add NET uplink PORT [vlan ID]",
        "NET",
        order::network_add,
        "Add a network on an uplink, untagged or on a VLAN.",
    ),
    on(
        "network set NET [host-only] [uplink PORT] [vlan ID] [unknown-unicast uplink|flood|drop] \
         [learning on|off] [isolated on|off] [max-macs COUNT] [max-macs-per-port COUNT] [age SECONDS]",
        order::network_set,
        "Change a network while it runs.",
    ),
    on("network del NET", order::network_del, "Delete a network that has no members."),
    on("network server NET none", order::network_server_none, "Take the server off a network."),
    on(
        "network server NET SPEC [ip PREFIX]… [mac MAC]",
        order::network_server,
        "Put a port of the server's own on a network.",
    ),
    on("show network [all|NET]", order::show_network, "Networks, their members and settings."),
    on("route add PREFIX via IP", order::route_add, "Add a route to a next hop."),
    on("route add PREFIX dev PORT", order::route_add, "Add a route to what is on-link on a port."),
    on("route del PREFIX", order::route_del, "Delete a route."),
    on(
        "route load FILE",
        order::route_load,
        "Add the routes of a file, PREFIX via IP on each line.",
    ),
    on("show route [all]", order::show_routes, "Routes."),
    on("show route IP", order::show_route_to, "Which route decides for a destination."),
    on("neighbor add IP MAC dev PORT", order::neighbor_add, "Add a static neighbor."),
    on("neighbor del IP", order::neighbor_del, "Delete a static neighbor."),
    on("neighbor flush [IP]", order::neighbor_flush, "Forget learned neighbors."),
    on("arp flush [IP]", order::neighbor_flush, "The same, of IPv4."),
    on("show neighbor", order::show_neighbors, "Neighbors: the MAC of an address on a port."),
    on("show arp", order::show_arp, "The same, of IPv4."),
    on(
        "mac add NET MAC TARGET",
        order::mac_add,
        "Add a static MAC behind a port, an adapter (GUEST/ADAPTER) or the server.",
    ),
    on("mac del NET MAC", order::mac_del, "Delete a static MAC."),
    on("mac flush NET", order::mac_flush, "Forget the learned MACs of a network."),
    on("show mac NET", order::show_macs, "MACs of a network."),
    make(
        "class add CLASS PREFIX [PREFIX]…",
        "CLASS",
        order::class_add,
        "Add a class of destinations: guests' traffic is counted by it.",
    ),
    on(
        "class set CLASS PREFIX [PREFIX]…",
        order::class_set,
        "Give a class other prefixes in place of those that it has; its rates and accounts go on.",
    ),
    on(
        "class del CLASS",
        order::class_del,
        "Delete a class that no adapter has a rate for, and what was counted by it.",
    ),
    on("show class [CLASS]", order::show_classes, "Classes and their prefixes."),
    on(
        "show accounting [GUEST]",
        order::show_accounting,
        "Traffic of guests in all and by class, restarts included.",
    ),
    on(
        "show events [follow]",
        order::show_events,
        "What happened lately; with follow, what happens from now on too.",
    ),
    on(
        "show worker",
        order::show_workers,
        "Workers: queues, loop times, busy and idle cycles, cycles per packet, sizes of bursts.",
    ),
    on(
        "show latency [seconds S]",
        order::show_latency,
        "How long packets stay here, by worker and way, measured for S seconds (1).",
    ),
    on(
        "trace GUEST|PORT [rx|tx|both] [count AMOUNT] [seconds S] [filter EXPR]",
        order::trace,
        "Tell the way of the next packets (10) from and to a guest, adapter or port, stage by stage, with the table \
         entries that decided; ends after S seconds (10).",
    ),
    on(
        "capture PORT file FILE [rx|tx|both] [filter EXPR] [packets PACKETS] [seconds DURATION] \
         [snaplen SNAPLEN]",
        order::capture,
        "Write what a port, or an adapter (GUEST/ADAPTER), receives and sends into a pcapng file; - is the \
         output. A filter is tcpdump's, in quotes.",
    ),
    on("capture stop", order::capture_stop, "End the capture that runs."),
    on("show capture", order::show_capture, "The capture that runs, else the last one."),
    on(
        "top [every INTERVAL]",
        order::top,
        "Rates of guests and ports, drops and load of workers, drawn anew each second, or every so many seconds.",
    ),
    on("show drops [GUEST]", order::show_drops, "Frames dropped, by reason and adapter."),
    on("show config [--diff]", order::show_config, "What runs, or how it differs from the file."),
    on(
        "config apply FILE [dry-run]",
        order::config_apply,
        "Make what runs what a configuration file says, ports too, in one transaction, or tell what would change \
         and what has to wait for the next start.",
    ),
    on("config rollback", order::config_rollback, "Go back to what ran before the last apply."),
    on("save", order::save, "Write what runs into the configuration file; its comments stay."),
    on("show version", order::show_version, "What runs, and since when."),
    on("source FILE", order::source, "Run the commands of a file; the first that fails ends it."),
    on("help [WORD]", order::help, "Commands, all or those with a word."),
    on("quit", order::quit, "Leave the prompt; the prompt of run -i ends the appliance with it."),
];
