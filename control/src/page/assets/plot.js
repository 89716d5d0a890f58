// A plot of rates over the last minutes: one line in, one line out.

import { svg } from "./elements.js";
import { SPAN } from "./history.js";

const WIDTH = 440;
const HEIGHT = 132;
const LEFT = 78;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 20;

/** The least of 1, 2, 5 times a power of ten that is not below. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((by) => by * power).find((step) => step >= value) ?? power;
}

const known = (values) => values.filter((value) => !Number.isNaN(value));

/** What the axis spans: whole minutes, at least one. */
function spanOf(ago) {
  return Math.min(SPAN, Math.max(60, Math.ceil((ago[0] ?? 0) / 60) * 60));
}

/** Seconds ago and lines of `{ name, className, values }`; `unit` writes a value with its unit. */
export function plotOf(title, ago, lines, unit) {
  const peak = Math.max(10, ...lines.flatMap((line) => known(line.values)));
  const top = nice(peak);
  const span = spanOf(ago);
  const x = (seconds) => WIDTH - RIGHT - (seconds / span) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
  const spoken = lines.map(({ name, values }) => `${name} ${unit(values.at(-1) ?? NaN)} now`);
  const plot = svg("svg", {
    class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": `${title} of the last ${span / 60} min: ${spoken.join(", ")}, at most ${unit(peak)}`,
  });
  for (const part of [0, 0.5, 1]) {
    const at = y(part * top);
    plot.append(
      svg("path", { class: "grid", d: `M${LEFT} ${at}H${WIDTH - RIGHT}` }),
      svg("text", { class: "tick", x: LEFT - 6, y: at + 4, "text-anchor": "end" }, unit(part * top)),
    );
  }
  const step = span > 120 ? 60 : span / 4;
  for (let seconds = 0; seconds <= span; seconds += step) {
    const said = seconds === 0 ? "now" : seconds % 60 ? `−${seconds} s` : `−${seconds / 60} min`;
    const anchor = seconds === 0 ? "end" : "middle";
    plot.append(svg("text", { class: "tick", x: x(seconds), y: HEIGHT - 4, "text-anchor": anchor }, said));
  }
  for (const { className, values } of lines) plot.append(svg("path", { class: className, d: path(ago, values, x, y) }));
  return plot;
}

/** A line with gaps where nothing is known. */
function path(ago, values, x, y) {
  let isOn = false;
  const steps = values.map((value, place) => {
    if (Number.isNaN(value)) {
      isOn = false;
      return "";
    }
    const step = `${isOn ? "L" : "M"}${x(ago[place]).toFixed(1)} ${y(value).toFixed(1)}`;
    isOn = true;
    return step;
  });
  return steps.join("");
}
