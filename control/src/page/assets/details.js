// One guest or port close up: its traffic over the last minutes, its counters and its drops by reason.

import { tell } from "./cards.js";
import { become, html } from "./elements.js";
import { adapterKey, ALL, portKey } from "./history.js";
import { portState, stateOf } from "./lanes.js";
import { plotOf } from "./plot.js";
import { bitRate, count, packetRate } from "./units.js";

export class Details {
  #aside;
  #what = null;
  #from = null;
  #changed;

  /** Shows in this element of the document; `changed` is called when it opens and closes. */
  constructor(aside, changed) {
    this.#aside = aside;
    this.#changed = changed;
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#what) this.close();
    });
  }

  /** Opens for `{ guest }`, `{ port }` or `{ all }`; `from` gets the focus back. */
  open(what, from) {
    this.#what = what;
    this.#from = from;
    const close = html("button", { type: "button", class: "close", "aria-label": "Close" }, "✕");
    close.addEventListener("click", () => this.close());
    this.#aside.replaceChildren(
      html("div", { class: "head" }, html("h2", { id: "details-title" }, what.guest ?? what.port ?? "Drops"), close),
      html("div", { class: "body" }),
    );
    this.#aside.hidden = false;
    this.#changed();
    close.focus();
  }

  close() {
    this.#what = null;
    this.#aside.hidden = true;
    this.#aside.replaceChildren();
    this.#changed();
    // It may have been drawn anew meanwhile.
    const { key } = this.#from.dataset;
    const again = [...document.querySelectorAll("[data-key]")].find((stop) => stop.dataset.key === key);
    (again ?? this.#from).focus();
  }

  update(view) {
    const body = this.#aside.querySelector(".body");
    if (!this.#what || !body) return;
    become(body, html("div", { class: "body" }, ...bodyOf(this.#what, view)));
  }
}

function bodyOf({ guest: name, port: label }, view) {
  if (name) {
    const guest = view.picture.guests.find((guest) => guest.guest === name);
    return guest ? guestBody(guest, view) : [gone()];
  }
  if (label) {
    const port = view.ports.get(label);
    return port ? portBody(port, view) : [gone()];
  }
  return [html("p", { class: "note" }, "of the whole host"), dropPlot(view, [ALL]), dropsOf([view.picture.drops])];
}

const gone = () => html("p", { class: "note" }, "It is not there any more.");

function guestBody(guest, view) {
  const keys = guest.adapters.map(adapterKey);
  return [
    html("p", { class: "note" }, guest.kind === "vm" ? "virtual machine" : "container"),
    ...plots(view, keys),
    dropsOf(guest.adapters.map((adapter) => adapter.stats.drops)),
    ...guest.adapters.map((adapter) => adapterBody(adapter, view)),
  ];
}

function adapterBody(adapter, view) {
  const { "guest-side": inside, "server-side": outside, stats } = adapter;
  const addresses = inside.addresses.map(({ address, state, holder }) =>
    `${address} ${state}${holder ? `, held by ${holder}` : ""}`);
  const problem = view.picture.problems[outside.port];
  const rows = [
    ["State", stateOf(adapter, view.picture)],
    ["Mode", adapter.network ? `${adapter.mode}, network ${adapter.network}` : adapter.mode],
    ["Addresses", addresses.join("; ") || "none"],
    ["MAC of the guest's side", inside.mac],
    ["MAC of the server's side", outside.mac],
    ["MTU", `${count(inside.mtu)} bytes`],
    ["Port", `${outside.port} (${adapter.port})`],
    ...traffic(stats["tx-pkts"], stats["tx-bytes"], stats["rx-pkts"], stats["rx-bytes"], stats.dropped),
  ];
  if (problem) rows.unshift(["Problem", problem]);
  const section = html("section", {}, html("h3", {}, `Adapter ${adapter.adapter}`), table(rows));
  tell(section, adapter, view.picture);
  return section;
}

function portBody(port, view) {
  const stats = view.stats.get(port.port);
  const isUplink = port.kind === "uplink";
  const rows = [
    ["State", portState(port)],
    ["Device", port.device],
    ["Addresses", (port.addresses ?? []).join("; ") || "none"],
    ["Gateway", (port.gateway ?? []).join("; ") || "none"],
    ["MAC", port.mac],
    ["MTU", `${count(port.mtu)} bytes`],
    ["Queues", port["rx-queues"].map(({ queue, worker }) => `${queue} on core ${worker ?? "none"}`).join("; ") || "none"],
  ];
  if (port.problem) rows.unshift(["Problem", port.problem]);
  if (stats) {
    const received = [stats["rx-pkts"], stats["rx-bytes"]];
    const sent = [stats["tx-pkts"], stats["tx-bytes"]];
    rows.push(...traffic(...(isUplink ? [...received, ...sent] : [...sent, ...received]), stats.dropped));
  }
  const kind = { uplink: "uplink", host: "port before the server's own kernel", shared: "shared port" }[port.kind];
  return [
    html("p", { class: "note" }, kind ?? port.kind),
    ...plots(view, [portKey(port.port)]),
    dropsOf(stats ? [stats.drops] : []),
    table(rows),
  ];
}

const traffic = (inPkts, inBytes, outPkts, outBytes, dropped) => [
  ["In", `${count(inPkts)} pkt, ${count(inBytes)} bytes`],
  ["Out", `${count(outPkts)} pkt, ${count(outBytes)} bytes`],
  ["Dropped", `${count(dropped)} pkt`],
];

function plots(view, keys) {
  const past = view.history.past(keys);
  const plot = (title, into, out, unit) =>
    html("figure", {},
      html("figcaption", {}, `${title}: `,
        html("span", { class: "key in" }, `▼ in ${unit(past[into].at(-1) ?? NaN)}`), " ",
        html("span", { class: "key out" }, `▲ out ${unit(past[out].at(-1) ?? NaN)}`)),
      plotOf(title, past.ago, [
        { name: "in", className: "curve in", values: past[into] },
        { name: "out", className: "curve out", values: past[out] },
      ], unit));
  const both = [plot("Traffic", "inBits", "outBits", bitRate), plot("Packets", "inPkts", "outPkts", packetRate)];
  return past.drops.some((rate) => rate > 0) ? [...both, dropPlot(view, keys)] : both;
}

function dropPlot(view, keys) {
  const { ago, drops } = view.history.past(keys);
  return html("figure", {},
    html("figcaption", {}, "Drops: ", html("span", { class: "key lost" }, `✕ ${packetRate(drops.at(-1) ?? NaN)}`)),
    plotOf("Drops", ago, [{ name: "dropped", className: "curve lost", values: drops }], packetRate));
}

/** Drops by reason, of all of these together, most first. */
function dropsOf(each) {
  const sums = new Map();
  for (const drops of each) {
    for (const [reason, packets] of Object.entries(drops)) {
      sums.set(reason, (sums.get(reason) ?? 0n) + BigInt(packets));
    }
  }
  const rows = [...sums].sort(([, a], [, b]) => (a < b ? 1 : -1));
  if (rows.length === 0) return html("p", { class: "drop-table" }, "Nothing was dropped.");
  const body = rows.map(([reason, packets]) =>
    html("tr", { "data-reason": reason, "data-dropped": String(packets) },
      html("th", { scope: "row" }, reason), html("td", {}, `${count(packets)} pkt`)));
  return html("table", { class: "drop-table" }, html("caption", {}, "Dropped, by reason"), html("tbody", {}, ...body));
}

function table(rows) {
  return html("table", {}, html("tbody", {},
    ...rows.map(([name, value]) => html("tr", {}, html("th", { scope: "row" }, name), html("td", {}, String(value))))));
}
