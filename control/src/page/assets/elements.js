// Elements of HTML and SVG. Whatever is shown gets there as text, never as markup: names are input.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

const said = new WeakMap();

/** Sets a node's text; costs nothing where it is the same as the last time. */
export function say(node, text) {
  if (said.get(node) === text) return;
  said.set(node, text);
  node.textContent = text;
}

/** Sets an attribute, likewise; null takes it away. */
export function mark(node, name, value) {
  if (node.getAttribute(name) === value) return;
  if (value === null) node.removeAttribute(name);
  else node.setAttribute(name, value);
}

/** Makes what is there say what `fresh` says, in place: a selection or a focus in it stays. */
export function become(old, fresh) {
  if (old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
  } else if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else {
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) mark(old, name, value);
    const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
    before.forEach((child, place) => (place < after.length ? become(child, after[place]) : child.remove()));
    old.append(...after.slice(before.length));
  }
}

/** Text cut to so many characters, with a sign where: its end stays, for names that begin alike often differ there. */
export function cut(text, length) {
  if (text.length <= length) return text;
  const end = Math.floor(Math.max(0, length - 1) / 3);
  return `${text.slice(0, Math.max(1, length - 1 - end))}…${text.slice(text.length - end)}`;
}

const ruler = document.createElement("canvas").getContext("2d");

/** A name cut to so many pixels in the font of names (page.css): letters differ in width by a factor of four. */
export function cutName(name, pixels) {
  ruler.font = '650 14px system-ui, "DejaVu Sans", sans-serif';
  let length = name.length;
  while (length > 2 && ruler.measureText(cut(name, length)).width > pixels) length -= 1;
  return cut(name, length);
}

/** Between what stands at the two ends of a line, in pixels. */
const GAP = 8;

/** Text at both ends of a line: of several ways to say what is at the left, the first that leaves room for the right. */
export function sayBoth([left, right], ways, said) {
  // At its boldest.
  ruler.font = '650 12px system-ui, "DejaVu Sans", sans-serif';
  const wide = (text) => ruler.measureText(text).width;
  const room = right.getAttribute("x") - left.getAttribute("x") - GAP - wide(said);
  say(left, ways.find((way) => wide(way) <= room) ?? ways.at(-1));
  say(right, said);
}
