// The page: asks for a picture each second, and shows it.

import { Details } from "./details.js";
import { Drawing } from "./drawing.js";
import { html, mark, say } from "./elements.js";
import { ALL, History } from "./history.js";
import { lanesOf, stateOf } from "./lanes.js";
import { count, duration, packetRate, parse } from "./units.js";

const EVERY_MS = 1000;
const PATIENCE_MS = 5000;

const one = (id) => document.getElementById(id);
const history = new History();
const drawing = new Drawing(one("picture"), (what, from) => details.open(what, from));
const details = new Details(one("details"), () => show());
let view = null;
let answered = new Date();

/** A picture with what is looked up in it by name. */
function viewOf(picture) {
  const by = (rows, key) => new Map(rows.map((row) => [row[key], row]));
  const adapters = picture.guests.flatMap((guest) => guest.adapters);
  return {
    picture,
    history,
    adapters: new Map(adapters.map((adapter) => [`${adapter.guest}/${adapter.adapter}`, adapter])),
    ports: by(picture.ports, "port"),
    stats: by(picture["port-stats"], "port"),
    networks: by(picture.networks, "network"),
  };
}

function show() {
  if (!view) return;
  const lanes = lanesOf(view.picture, one("filter").value);
  const [shown, all] = ["cards", "all"].map((key) =>
    lanes.reduce((sum, lane) => sum + (key === "all" ? lane.all : lane.cards.length), 0));
  say(one("shown"), shown === all ? "" : `${count(shown)} of ${count(all)} shown`);
  drawing.update(view, lanes);
  details.update(view);
  summarize(view.picture);
}

function summarize(picture) {
  const { program, guests } = picture;
  const adapters = guests.flatMap((guest) => guest.adapters);
  const up = adapters.filter((adapter) => stateOf(adapter, picture) === "up").length;
  const drops = history.rates([ALL]).drops;
  const facts = {
    guests: count(guests.length),
    "adapters up": `${count(up)} of ${count(adapters.length)}`,
    forwarding: program.forwarding ? "on" : "off",
    dropped: `${count(picture.dropped)} pkt, ${packetRate(drops)}`,
    buffers: `${count(program["mbufs-free"])} of ${count(program.mbufs)} free`,
    running: `${program.version} for ${duration(program["uptime-s"])}`,
  };
  const list = one("summary");
  if (list.childElementCount === 0) {
    for (const [name, value] of Object.entries(facts)) {
      list.append(html("div", { "data-fact": name }, html("dt", {}, name), html("dd", {}, value)));
    }
    const more = html("button", { type: "button", title: "Drops by reason" });
    list.querySelector("[data-fact=dropped] dd").replaceChildren(more);
    more.addEventListener("click", () => details.open({ all: true }, more));
  }
  for (const item of list.children) say(item.querySelector("button") ?? item.querySelector("dd"), facts[item.dataset.fact]);
  mark(list.querySelector("[data-fact=dropped]"), "data-dropped", String(picture.dropped));
}

async function ask() {
  const response = await fetch("picture.json", { signal: AbortSignal.timeout(PATIENCE_MS) });
  const text = await response.text();
  if (!response.ok) throw new Error(text.trim() || `status ${response.status}`);
  return parse(text);
}

async function turn() {
  const began = performance.now();
  try {
    const picture = await ask();
    answered = new Date();
    const isNew = history.take(picture);
    view = viewOf(picture);
    if (isNew) show();
    document.body.classList.remove("stale");
    say(one("live"), "live");
  } catch (error) {
    // What is shown stays, and is told to be old.
    document.body.classList.add("stale");
    say(one("live"), `no answer since ${answered.toLocaleTimeString()}: ${error.message}`);
  }
  setTimeout(turn, Math.max(0, EVERY_MS - (performance.now() - began)));
}

one("filter").addEventListener("input", show);
new ResizeObserver(show).observe(one("picture"));
turn();
