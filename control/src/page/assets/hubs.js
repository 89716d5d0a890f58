// What guests hang on: the router, shared ports, networks; and the host's own ports and what is outside.

import { dropped, moved } from "./cards.js";
import { cut, cutName, mark, say, svg } from "./elements.js";
import { portKey } from "./history.js";
import { portState } from "./lanes.js";
import { count } from "./units.js";

const LINE = 17;
const FIRST = 21;

/** A box of lines of text: the first is its title, the others come as they are asked for. */
class Box {
  constructor(className, { x, y, width }, title, kind) {
    this.width = width;
    this.rows = 1;
    this.frame = svg("rect", { class: "box", width, rx: 8 });
    this.box = svg("g", { class: className, transform: `translate(${x} ${y})` }, this.frame);
    const room = width - 34 - kind.length * 8;
    this.box.append(
      svg("title", {}, `${title} ${kind}`),
      svg("text", { class: "name", x: 12, y: FIRST }, cutName(title, room)),
      svg("text", { class: "kind", x: width - 12, y: FIRST, "text-anchor": "end" }, kind),
    );
  }

  /** A line: what stands at its left, and at its right. */
  row(className) {
    const y = FIRST + this.rows * LINE;
    this.rows += 1;
    const left = svg("text", { class: className, x: 12, y });
    const right = svg("text", { class: className, x: this.width - 12, y, "text-anchor": "end" });
    this.box.append(left, right);
    return [left, right];
  }

  line(className, text) {
    say(this.row(className)[0], cut(text, Math.floor((this.width - 22) / 7.2)));
  }

  end() {
    const height = FIRST + this.rows * LINE - 4;
    this.frame.setAttribute("height", height);
    return height;
  }
}

/** Rows of what is received and sent, and what keeps them up to date. */
function traffic(box, keys) {
  const [into, out] = [box.row("in"), box.row("out")];
  return (view) => moved([into, out], view.history.rates(keys));
}

/** State, traffic and drops of a port of the host's own. */
function portRows(box, name) {
  const key = portKey(name);
  const [state, speed] = box.row("state");
  const [mac] = box.row("mac");
  const moving = traffic(box, [key]);
  const drops = box.row("drops");
  return (view) => {
    const [port, stats] = [view.ports.get(name), view.stats.get(name)];
    const word = port ? portState(port) : "failed";
    say(state, word);
    mark(state, "class", `state ${word}`);
    // What a tap tells of its speed is nothing that it keeps to.
    const isNic = port?.kind === "uplink" && port["speed-mbps"];
    say(speed, isNic ? `${count(port["speed-mbps"])} Mbit/s` : "");
    mark(speed, "class", "note");
    say(mac, port?.mac ?? "");
    moving(view);
    dropped(drops, stats?.dropped ?? 0, view.history.rates([key]).drops);
    tellPort(box.box, name, word, stats);
  };
}

function tellPort(node, name, word, stats) {
  mark(node, "data-port", name);
  mark(node, "data-state", word);
  mark(node, "aria-label", `port ${name}, ${word}`);
  for (const key of ["rx-pkts", "rx-bytes", "tx-pkts", "tx-bytes", "dropped"]) {
    mark(node, `data-${key}`, stats ? String(stats[key]) : null);
  }
}

/** An uplink, or the server's own port. */
export function portBoxOf(port, place) {
  const isServer = port.kind === "host";
  const box = new Box(`port ${port.kind}`, place, isServer ? "server" : port.port, isServer ? "host port" : "uplink");
  if (isServer) box.line("address", port.device);
  for (const address of port.addresses ?? []) box.line("address", address);
  const update = portRows(box, port.port);
  return { box: box.box, height: box.end(), updates: [update] };
}

/** What the guests of a lane hang on. */
export function hubOf(picture, lane, place) {
  const make = { router: routerOf, shared: sharedOf, network: networkOf }[lane.kind];
  const { box, updates } = make(picture, lane, place);
  const height = box.end();
  return { box: box.box, height, updates };
}

/** How many guests hang there, and how many of them the filter lets through. */
const guests = (lane) => {
  const all = `${count(lane.all)} guest${lane.all === 1 ? "" : "s"}`;
  return lane.cards.length === lane.all ? all : `${count(lane.cards.length)} of ${all}`;
};

function routerOf(picture, lane, place) {
  const box = new Box("hub router", place, "router", "host-routed");
  const forwarding = box.row("state");
  box.line("note", guests(lane));
  const moving = traffic(box, lane.keys);
  const update = (view) => {
    const isOn = view.picture.program.forwarding;
    say(forwarding[0], isOn ? "forwarding" : "stopped: all is dropped");
    mark(forwarding[0], "class", `state ${isOn ? "up" : "stopped"}`);
    moving(view);
  };
  return { box, updates: [update] };
}

function sharedOf(picture, lane, place) {
  const box = new Box("hub shared", place, lane.title, "shared port");
  box.line("note", guests(lane));
  return { box, updates: [portRows(box, lane.port)] };
}

function networkOf(picture, lane, place) {
  const network = picture.networks.find((network) => network.network === lane.network);
  const { uplink } = network.attach;
  const box = new Box("hub network", place, lane.title, "network");
  const on = uplink ? `on ${uplink.port}, ${uplink.vlan ? `VLAN ${uplink.vlan}` : "untagged"}` : "host-only";
  box.line("note", network.isolated ? `${on}, isolated` : on);
  box.line("note", guests(lane));
  const macs = box.row("note");
  const updates = [traffic(box, lane.keys)];
  const find = (view) => view.networks.get(lane.network) ?? network;
  updates.push((view) => say(macs[0], `learned MACs: ${count(find(view)["learned-macs"])}`));
  if (network.server) {
    for (const address of network.server.addresses) box.line("address", `server ${address}`);
    updates.push(portRows(box, `network:${lane.network}`));
  }
  return { box, updates };
}

const CLOUD = "M34 84C8 84 2 52 28 46C24 18 62 6 80 22C96 0 140 8 140 38C170 40 168 84 138 84Z";

/** What is outside, and the routers by which it is reached. */
export function cloudOf(uplinks, { x, y, width }) {
  const gateways = uplinks.flatMap((port) => port.gateway ?? []);
  const box = svg("g", { class: "cloud", transform: `translate(${x} ${y})` });
  const text = (row, className, said) =>
    svg("text", { class: className, x: width / 2, y: 66 + row * LINE, "text-anchor": "middle" }, said);
  box.append(
    svg("title", {}, "what is outside of this host"),
    svg("path", { class: "box", d: CLOUD, transform: `scale(${width / 168} 1.1)` }),
    text(0, "name", "public network"),
    text(1, "note", gateways.length ? `via ${gateways.slice(0, 1)}` : "no gateway"),
  );
  return box;
}
