// Guests as boxes, with the adapters that they have in one lane.

import { cut, cutName, mark, say, sayBoth, svg } from "./elements.js";
import { labelKey } from "./history.js";
import { stateOf } from "./lanes.js";
import { bitRate, count, packetRate } from "./units.js";

/** Whole: addresses, MAC, rates and drops of each adapter. */
export const WIDE = { least: 236, most: 300, isWhole: true };
/** For lanes of many: name, state and rates. */
export const NARROW = { least: 200, most: 230, isWhole: false };

const LINE = 17;
const HEAD = 27;
const BLOCK = 5 * LINE + 12;
const WORST = ["failed", "stopped", "conflict", "down", "probing", "unknown", "up"];

/** The worst of some states. */
export function worst(states) {
  return WORST.find((state) => states.includes(state)) ?? "unknown";
}

/** A guest's card: its box, its height, and what keeps it up to date. */
export function cardOf(card, lane, place, size) {
  const label = (name) => `${card.guest}/${name}`;
  const labels = card.adapters.map(label);
  const keys = labels.map(labelKey);
  const height = size.isWhole ? HEAD + Math.max(card.adapters.length * BLOCK, 8) : HEAD + 2 * LINE + 2;
  const { x, y, width } = place;
  const box = svg("g", { class: "card", transform: `translate(${x} ${y})`, "data-guest": card.guest });
  const frame = svg("rect", { class: "box", width, height, rx: 8 });
  const adapter = svg("rect", { class: "plug", x: width / 2 - 13, y: -5, width: 26, height: 10, rx: 3 });
  const kind = card.kind === "vm" ? "VM" : "container";
  const shown = card.kind === "vm" || size.isWhole ? kind : "ct";
  const room = width - 34 - shown.length * 8;
  box.append(
    svg("title", {}, `${card.guest}, ${kind}`),
    frame,
    svg("text", { class: "name", x: 12, y: 19 }, cutName(card.guest, room)),
    svg("text", { class: "kind", x: width - 12, y: 19, "text-anchor": "end" }, shown),
  );
  if (card.adapters.length > 0) box.append(adapter);
  const state = (view) => worst(labels.map((label) => stateOf(view.adapters.get(label), view.picture)));
  const updates = [(view) => mark(box, "class", `card ${card.adapters.length ? state(view) : "bare"}`)];
  const spoken = (view) => {
    const of = card.adapters.map((name) => `${name} ${stateOf(view.adapters.get(label(name)), view.picture)}`);
    mark(box, "aria-label", [`guest ${card.guest}`, kind, `on ${lane.title}`, ...of].join(", "));
  };
  updates.push(spoken);
  card.adapters.forEach((name, place) => {
    const block = svg("g", { class: "adapter", "data-adapter": label(name) });
    const top = size.isWhole ? HEAD + place * BLOCK : HEAD;
    // One line of the narrow card stands for all of its adapters.
    const isShown = size.isWhole || place === 0;
    if (isShown) {
      const make = size.isWhole ? whole : narrow;
      updates.push(make(block, top, width, size.isWhole ? [labels[place]] : labels));
    }
    updates.push((view) => tell(block, view.adapters.get(label(name)), view.picture));
    box.append(block);
  });
  return { box, height, keys, state, updates };
}

/** Exact values beside the drawn ones, for whoever reads by program. */
export function tell(node, adapter, picture) {
  for (const [name, value] of Object.entries(adapter.stats)) {
    if (name !== "drops") mark(node, `data-${name}`, String(value));
  }
  mark(node, "data-state", stateOf(adapter, picture));
  mark(node, "data-drops", JSON.stringify(adapter.stats.drops));
}

function whole(block, top, width, [label]) {
  const text = (row, className, x = 12, more = {}) =>
    block.appendChild(svg("text", { class: className, x, y: top + 12 + row * LINE, ...more }));
  if (top > HEAD) block.append(svg("path", { class: "rule", d: `M12 ${top - 5}H${width - 12}` }));
  const end = { "text-anchor": "end" };
  const name = label.slice(label.indexOf("/") + 1);
  say(text(0, "adapter-name"), cut(name, 10));
  const address = text(0, "address", 12 + Math.min(name.length, 10) * 7.6 + 8);
  const state = text(0, "state", width - 12, end);
  const mac = text(1, "mac");
  const into = [text(2, "in"), text(2, "in", width - 12, end)];
  const out = [text(3, "out"), text(3, "out", width - 12, end)];
  const drops = [text(4, "drops"), text(4, "drops", width - 12, end)];
  return (view) => {
    const adapter = view.adapters.get(label);
    const rates = view.history.rates([labelKey(label)]);
    const [first, ...others] = adapter["guest-side"].addresses;
    const word = stateOf(adapter, view.picture);
    const more = others.length ? ` +${others.length}` : "";
    const room = Math.floor((width - 32 - Math.min(name.length, 10) * 7.6 - word.length * 7) / 7.3) - more.length;
    say(address, first ? cut(first.address, room) + more : "no address");
    say(state, word);
    mark(state, "class", `state ${word}`);
    say(mac, adapter["guest-side"].mac);
    moved([into, out], rates);
    dropped(drops, adapter.stats.dropped, rates.drops);
  };
}

/** What is received and sent now, a line each. */
export function moved([into, out], rates) {
  const [received, sent] = [bitRate(rates.inBits), bitRate(rates.outBits)];
  sayBoth(into, [`▼ in ${received}`, `▼ ${received}`], packetRate(rates.inPkts));
  sayBoth(out, [`▲ out ${sent}`, `▲ ${sent}`], packetRate(rates.outPkts));
}

/** Drops in all and now; loud while there are any. */
export function dropped([total, rate], packets, now) {
  const all = count(packets);
  sayBoth([total, rate], [`✕ dropped ${all} pkt`, `✕ dropped ${all}`, `✕ ${all}`], packetRate(now));
  const loud = now > 0 ? " now" : Number(packets) > 0 ? " some" : "";
  mark(total, "class", `drops${loud}`);
  mark(rate, "class", `drops${loud}`);
}

function narrow(block, top, width, labels) {
  const text = (row, className, more) =>
    block.appendChild(svg("text", { class: className, y: top + 12 + row * LINE, ...more }));
  const left = { x: 12 };
  const right = { x: width - 12, "text-anchor": "end" };
  const [address, state] = [text(0, "address", left), text(0, "state", right)];
  const [into, out] = [text(1, "in", left), text(1, "out", right)];
  return (view) => {
    const adapters = labels.map((label) => view.adapters.get(label));
    const inside = adapters[0]["guest-side"];
    const rates = view.history.rates(labels.map(labelKey));
    const word = worst(adapters.map((adapter) => stateOf(adapter, view.picture)));
    const said = rates.drops > 0 ? "dropping" : word;
    const room = Math.floor((width - 34) / 7.3) - said.length;
    say(address, cut(inside.addresses[0]?.address ?? inside.mac, room));
    say(state, said);
    mark(state, "class", `state ${rates.drops > 0 ? "conflict" : word}`);
    say(into, `▼ ${bitRate(rates.inBits)}`);
    say(out, `▲ ${bitRate(rates.outBits)}`);
  };
}
