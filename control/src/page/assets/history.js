// What the counters of successive pictures say: rates now, and over the last minutes.

import { difference } from "./units.js";

/** Samples that are kept: five minutes of one a second. */
export const SPAN = 300;

export const KINDS = ["inBits", "outBits", "inPkts", "outPkts", "drops"];

export const labelKey = (label) => `adapter ${label}`;
export const adapterKey = (adapter) => labelKey(`${adapter.guest}/${adapter.adapter}`);
export const portKey = (label) => `port ${label}`;
export const ALL = "all";

/** Counters by what they belong to. `rx` is the appliance's: from the guest or the server, but into the uplink. */
function counters(picture) {
  const rows = new Map();
  for (const guest of picture.guests) {
    for (const adapter of guest.adapters) rows.set(adapterKey(adapter), theirs(adapter.stats));
  }
  const uplinks = new Set(picture.ports.filter((port) => port.kind === "uplink").map((port) => port.port));
  for (const stats of picture["port-stats"]) {
    rows.set(portKey(stats.port), uplinks.has(stats.port) ? ours(stats) : theirs(stats));
  }
  rows.set(ALL, [0, 0, 0, 0, picture.dropped]);
  return rows;
}

const theirs = (of) => [of["tx-bytes"], of["rx-bytes"], of["tx-pkts"], of["rx-pkts"], of.dropped];
const ours = (of) => [of["rx-bytes"], of["tx-bytes"], of["rx-pkts"], of["tx-pkts"], of.dropped];

export class History {
  #series = new Map();
  #before = null;
  #taken = 0;
  #times = new Float64Array(SPAN);

  /** Takes a picture in. False where it is the last one again. */
  take(picture) {
    const at = picture["read-at-ns"];
    if (this.#before?.pid !== picture.program.pid || at < this.#before.at) this.#forget();
    if (this.#before?.at === at) return false;
    const now = { pid: picture.program.pid, at, rows: counters(picture) };
    const slot = this.#taken % SPAN;
    this.#times[slot] = Number(at) / 1e9;
    const seconds = this.#before ? difference(at, this.#before.at) / 1e9 : NaN;
    for (const key of this.#series.keys()) {
      if (!now.rows.has(key)) this.#series.delete(key);
    }
    for (const [key, row] of now.rows) {
      const series = this.#of(key);
      const before = this.#before?.rows.get(key);
      KINDS.forEach((kind, at) => {
        const grown = before ? difference(row[at], before[at]) : NaN;
        // Who goes back was cleared meanwhile, or is another one of the same name.
        const rate = grown < 0 ? NaN : grown / seconds;
        series[kind][slot] = kind.endsWith("Bits") ? rate * 8 : rate;
      });
    }
    this.#taken += 1;
    this.#before = now;
    return true;
  }

  /** The last rates, added up over these keys; unknown ones are NaN, which no key is. */
  rates(keys) {
    const slot = (this.#taken + SPAN - 1) % SPAN;
    const sums = {};
    for (const kind of KINDS) sums[kind] = this.#sum(keys, kind, slot);
    return sums;
  }

  /** Oldest first: seconds before now, and for each kind the rates of these keys added up. */
  past(keys) {
    const length = Math.min(this.#taken, SPAN);
    const slots = Array.from({ length }, (_, place) => (this.#taken - length + place) % SPAN);
    const now = length ? this.#times[slots[length - 1]] : 0;
    const past = { ago: slots.map((slot) => now - this.#times[slot]) };
    for (const kind of KINDS) past[kind] = slots.map((slot) => this.#sum(keys, kind, slot));
    return past;
  }

  #sum(keys, kind, slot) {
    let sum = keys.length ? NaN : 0;
    for (const key of keys) {
      const value = this.#series.get(key)?.[kind][slot] ?? NaN;
      if (!Number.isNaN(value)) sum = Number.isNaN(sum) ? value : sum + value;
    }
    return sum;
  }

  #of(key) {
    let series = this.#series.get(key);
    if (!series) {
      series = Object.fromEntries(KINDS.map((kind) => [kind, new Float64Array(SPAN).fill(NaN)]));
      this.#series.set(key, series);
    }
    return series;
  }

  #forget() {
    this.#series.clear();
    this.#before = null;
    this.#taken = 0;
  }
}
