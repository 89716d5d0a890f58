// Numbers as they are read: each with its unit.

const PREFIXES = ["", "k", "M", "G", "T"];
export const UNKNOWN = "–";

function scaled(value, unit) {
  if (value === null || Number.isNaN(value)) return `${UNKNOWN} ${unit}`;
  let step = 0;
  while (value >= 999.5 && step < PREFIXES.length - 1) {
    value /= 1000;
    step += 1;
  }
  const digits = value >= 100 || (step === 0 && value >= 9.95) || value === 0 ? 0 : value >= 10 ? 1 : step === 0 ? 1 : 2;
  return `${value.toFixed(digits)} ${PREFIXES[step]}${unit}`;
}

export const bitRate = (value) => scaled(value, "bit/s");
export const packetRate = (value) => scaled(value, "pkt/s");

/** An exact count: a number, or a BigInt beyond 2^53. */
export const count = (value) => value.toLocaleString("en");

export function duration(seconds) {
  const days = Math.floor(seconds / 86400);
  const hours = Math.floor(seconds / 3600) % 24;
  const minutes = Math.floor(seconds / 60) % 60;
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

/** JSON whose whole numbers beyond 2^53 stay exact, where the browser tells how they were written. */
export function parse(text) {
  return JSON.parse(text, (_key, value, context) => {
    const isInexact = typeof value === "number" && Math.abs(value) > Number.MAX_SAFE_INTEGER;
    return isInexact && /^\d+$/.test(context?.source ?? "") ? BigInt(context.source) : value;
  });
}

/** a - b of two counts, exact before it is rounded. */
export const difference = (a, b) => Number(BigInt(a) - BigInt(b));
