// The host drawn: the public network, the host's own ports, its router and networks, and the guests on them.

import { cardOf, NARROW, WIDE } from "./cards.js";
import { svg } from "./elements.js";
import { cloudOf, hubOf, portBoxOf } from "./hubs.js";
import { portKey } from "./history.js";
import { portState } from "./lanes.js";

// Lengths in pixels. Columns from left to right: public network, the host's ports, hubs, guests.
const EDGE = 12;
/** The section's own, which page.css sets. */
const PADDING = 8;
const CLOUD = { x: 4, width: 160 };
const HOST = { x: CLOUD.x + CLOUD.width + 24 };
const PORTS = { x: HOST.x + 16, width: 206 };
const HUBS = { x: PORTS.x + PORTS.width + 42, width: 206 };
const TRUNK = HUBS.x + HUBS.width + 14;
const GUESTS = { x: TRUNK + 18 };
const TOP = 44;
const GAP = 14;
/** Between rows of small boxes. */
const TIGHT = 8;
const LANE_GAP = 28;
const RAIL = 16;
/** Where a line meets the side of a box, from its top. */
const MEET = 22;
/** With more rows of guests than this in a lane, their boxes are small. */
const ROWS = 4;

export class Drawing {
  #signature = "";
  #updates = [];
  #section;
  #open;

  /** Draws into a section of the document; `open` is called with whatever somebody wants to see more of. */
  constructor(section, open) {
    this.#section = section;
    this.#open = open;
    section.addEventListener("keydown", (event) => this.#move(event));
  }

  /** Shows a picture; what is there stays in place unless something came, went or moved. */
  update(view, lanes) {
    const width = Math.max(GUESTS.x + WIDE.least + 2 * EDGE, this.#section.clientWidth - 2 * PADDING);
    const { ports, networks } = view.picture;
    const signature = JSON.stringify([
      width,
      lanes,
      ports.map((port) => [port.port, port.kind, port.addresses, port.gateway]),
      networks.map((network) => [network.network, network.attach, network.server?.addresses]),
    ]);
    if (signature !== this.#signature) {
      this.#signature = signature;
      this.#build(view.picture, lanes, width);
    }
    for (const update of this.#updates) update(view);
  }

  #build(picture, lanes, width) {
    const focused = this.#section.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.#updates = [];
    const layers = { lines: svg("g", { class: "lines", "aria-hidden": "true" }), boxes: svg("g") };
    const hubs = new Map();
    let y = TOP;
    for (const lane of lanes) {
      hubs.set(lane.key, this.#lane(picture, lane, y, width, layers));
      y = hubs.get(lane.key).end + LANE_GAP;
    }
    const ports = this.#ports(picture, layers);
    this.#links(picture, lanes, hubs, ports, layers);
    const bottom = Math.max(y - LANE_GAP, ports.end) + 18;
    const host = svg("rect", {
      class: "frame", x: HOST.x, y: EDGE, width: width - HOST.x - EDGE, height: bottom - EDGE, rx: 14,
    });
    const title = svg("text", { class: "frame-title", x: PORTS.x, y: EDGE + 20 }, "this host");
    const drawing = svg("svg", { width, height: bottom + EDGE, role: "group", "aria-label": "Drawing of the host" });
    drawing.append(host, title, layers.lines, layers.boxes);
    this.#section.replaceChildren(drawing);
    const stops = [...drawing.querySelectorAll("[data-key]")];
    const again = stops.find((stop) => stop.dataset.key === focused);
    (again ?? stops[0])?.setAttribute("tabindex", "0");
    again?.focus();
  }

  /** A hub and, on rails beside it, the cards of its guests. */
  #lane(picture, lane, y, width, { lines, boxes }) {
    const room = width - GUESTS.x - EDGE - GAP;
    const fit = (size) => Math.max(1, Math.floor((room + GAP) / (size.least + GAP)));
    const size = lane.all > ROWS * fit(WIDE) ? NARROW : WIDE;
    const columns = fit(size);
    const across = Math.min((room + GAP) / columns - GAP, size.most);
    const hub = hubOf(picture, lane, { x: HUBS.x, y, width: HUBS.width });
    boxes.append(lane.port ? this.#stop(hub.box, { port: lane.port }) : hub.box);
    this.#updates.push(...hub.updates);
    let [rail, end, next] = [y, y, y];
    for (let first = 0; first < lane.cards.length; first += columns) {
      rail = next;
      let last = TRUNK;
      lane.cards.slice(first, first + columns).forEach((card, column) => {
        const place = { x: GUESTS.x + column * (across + GAP), y: rail + RAIL, width: across };
        const made = cardOf(card, lane, place, size);
        boxes.append(this.#stop(made.box, { guest: card.guest, lane: lane.key }));
        last = place.x + across / 2;
        const drop = line(lines, `M${last} ${rail}V${place.y}`);
        this.#updates.push(...made.updates, (view) => show(drop, made.state(view), view.history.rates(made.keys)));
        end = Math.max(end, place.y + made.height);
      });
      line(lines, `M${TRUNK} ${rail}H${last}`);
      next = end + (size === NARROW ? TIGHT : GAP);
    }
    if (lane.cards.length > 0) {
      line(lines, `M${HUBS.x + HUBS.width} ${y + MEET}H${TRUNK}M${TRUNK} ${y}V${Math.max(rail, y + MEET)}`);
    }
    return { y, end: Math.max(end, y + hub.height) };
  }

  /** Uplinks from the top, below them the server's own. */
  #ports(picture, { boxes }) {
    const ports = new Map();
    let y = TOP;
    for (const kind of ["uplink", "host"]) {
      for (const port of picture.ports.filter((port) => port.kind === kind)) {
        const made = portBoxOf(port, { x: PORTS.x, y, width: PORTS.width });
        boxes.append(this.#stop(made.box, { port: port.port }));
        this.#updates.push(...made.updates);
        ports.set(port.port, { y, kind });
        y += made.height + GAP;
      }
    }
    return { ports, end: y - GAP };
  }

  /** From the public network to the uplinks, and from the host's ports to the hubs that they lead to. */
  #links(picture, lanes, hubs, { ports }, { lines, boxes }) {
    const uplinks = picture.ports.filter((port) => port.kind === "uplink");
    if (uplinks.length > 0) {
      boxes.append(cloudOf(uplinks, { x: CLOUD.x, y: 2, width: CLOUD.width }));
      for (const { port } of uplinks) {
        const y = ports.get(port).y + MEET;
        this.#portLine(lines, `M${CLOUD.x + CLOUD.width - 8} ${TOP + MEET}H${HOST.x - 12}V${y}H${PORTS.x}`, port);
      }
    }
    const router = hubs.get("router");
    const right = PORTS.x + PORTS.width;
    [...ports].forEach(([name, { y }], place) => {
      const bend = right + 12 + 5 * Math.min(place, 5);
      if (router) this.#portLine(lines, `M${right} ${y + MEET}H${bend}V${router.y + MEET}H${HUBS.x}`, name);
      for (const lane of lanes.filter((lane) => lane.uplink === name)) {
        this.#portLine(lines, `M${right} ${y + MEET}H${bend}V${hubs.get(lane.key).y + MEET}H${HUBS.x}`, name);
      }
    });
    for (const lane of lanes.filter((lane) => lane.kind === "shared")) {
      const side = HUBS.x + HUBS.width / 2;
      this.#portLine(lines, `M${side} ${router.y + MEET}V${hubs.get(lane.key).y}`, lane.port);
    }
  }

  #portLine(lines, path, name) {
    const drawn = line(lines, path);
    this.#updates.push((view) => {
      const port = view.ports.get(name);
      show(drawn, port ? portState(port) : "failed", view.history.rates([portKey(name)]));
    });
  }

  /** Makes a box a stop of the keyboard, and a button. One of them is in the order of Tab, arrows lead on. */
  #stop(box, what) {
    box.dataset.key = JSON.stringify(what);
    box.setAttribute("role", "button");
    box.setAttribute("tabindex", "-1");
    const open = () => this.#open(what, box);
    box.addEventListener("click", open);
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      open();
    });
    return box;
  }

  #move(event) {
    const from = event.target.closest?.("[data-key]");
    if (!from || event.altKey || event.ctrlKey || event.metaKey) return;
    const stops = [...this.#section.querySelectorAll("[data-key]")];
    const to = event.key === "Home" ? stops[0] : event.key === "End" ? stops.at(-1) : nearest(from, stops, event.key);
    if (!to) return;
    event.preventDefault();
    from.setAttribute("tabindex", "-1");
    to.setAttribute("tabindex", "0");
    to.focus();
  }
}

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The next stop that way: aside counts three times as much as ahead. */
function nearest(from, stops, key) {
  const way = WAYS[key];
  if (!way) return null;
  const middle = (stop) => {
    const box = stop.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };
  const [x, y] = middle(from);
  let [best, least] = [null, Infinity];
  for (const stop of stops) {
    const [dx, dy] = [middle(stop)[0] - x, middle(stop)[1] - y];
    const ahead = dx * way[0] + dy * way[1];
    const far = ahead + 3 * Math.abs(dx * way[1] + dy * way[0]);
    if (ahead > 4 && far < least) [best, least] = [stop, far];
  }
  return best;
}

function line(lines, path) {
  return lines.appendChild(svg("path", { d: path, class: "line" }));
}

function show(drawn, state, rates) {
  const isBusy = rates.inPkts + rates.outPkts > 0;
  const classes = `line ${state}${isBusy ? " busy" : ""}`;
  if (drawn.getAttribute("class") !== classes) drawn.setAttribute("class", classes);
}
