// Who hangs where: guests by the router, the shared port or the network that their adapters are on.

import { adapterKey } from "./history.js";

/** The state of an adapter in one word, the worst first. */
export function stateOf(adapter, picture) {
  const label = adapter["server-side"].port;
  if (label in picture.problems) return "failed";
  if (picture.stopped.includes(label)) return "stopped";
  const states = adapter["guest-side"].addresses.map((address) => address.state);
  if (states.includes("conflict")) return "conflict";
  if (adapter.link === "down") return "down";
  return states.includes("probing") ? "probing" : adapter.link;
}

/** The state of a port of the host's own. */
export function portState(port) {
  return port.state === "started" ? port.link : port.state;
}

export function addressesOf(adapter) {
  return adapter["guest-side"].addresses.map((address) => address.address);
}

/** guest2 before guest10. */
const NATURAL = new Intl.Collator("en", { numeric: true });

/** What a filter looks at. */
function words(guest, adapter, picture) {
  const { network, mode } = adapter;
  const texts = [guest.guest, guest.kind, adapter.adapter, mode, network ?? "", adapter.port];
  texts.push(adapter["guest-side"].mac, stateOf(adapter, picture), ...addressesOf(adapter));
  return texts.join(" ").toLowerCase();
}

/**
 * Lanes from top to bottom, each a hub with cards: one for each guest that has adapters there, in all of which each
 * word of the filter occurs. Empty networks are left out unless something else is known of them.
 */
export function lanesOf(picture, filter) {
  const wanted = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const lanes = new Map();
  const lane = (key, more) => lanes.set(key, { key, cards: [], all: 0, keys: [], ...more });
  const named = new Map(picture.ports.map((port) => [port.port, port]));
  lane("router", { kind: "router", title: "router" });
  for (const port of picture.ports) {
    if (port.kind === "shared") lane(`port ${port.port}`, { kind: "shared", title: port.port, port: port.port });
  }
  for (const network of picture.networks) {
    const { attach } = network;
    const uplink = attach.uplink?.port ?? null;
    lane(`network ${network.network}`, { kind: "network", title: network.network, uplink, network: network.network });
  }
  for (const guest of picture.guests) {
    const cards = new Map();
    for (const adapter of guest.adapters) {
      const port = adapter["server-side"].port;
      const key = adapter.network ? `network ${adapter.network}` : named.has(port) ? `port ${port}` : "router";
      const on = lanes.get(key) ?? lanes.get("router");
      on.keys.push(adapterKey(adapter));
      const text = words(guest, adapter, picture);
      const isWanted = wanted.every((word) => text.includes(word));
      const card = cards.get(on) ?? { guest: guest.guest, kind: guest.kind, adapters: [], isWanted: false };
      card.adapters.push(adapter.adapter);
      card.isWanted ||= isWanted;
      cards.set(on, card);
    }
    if (guest.adapters.length === 0) {
      const isWanted = wanted.every((word) => `${guest.guest} ${guest.kind}`.includes(word));
      cards.set(lanes.get("router"), { guest: guest.guest, kind: guest.kind, adapters: [], isWanted });
    }
    for (const [on, card] of cards) {
      on.all += 1;
      if (card.isWanted) on.cards.push(card);
    }
  }
  for (const { cards } of lanes.values()) cards.sort((a, b) => NATURAL.compare(a.guest, b.guest));
  const servers = new Set(picture.networks.filter((network) => network.server).map((network) => network.network));
  const isTold = (lane) =>
    lane.kind !== "network" || lane.all > 0 || lane.uplink !== null || servers.has(lane.network);
  return [...lanes.values()].filter(isTold);
}
