// The mesh as a picture: nodes on a circle, this one on top, and who is linked with whom.

import { drawn, keep, put } from "./figures.js";

const CROWDED = 40; // nodes; more, and there is room for dots only (and see tunmesh/page)
const RADIUS = 8;
const svg = document.getElementById("picture");
const details = document.getElementById("details");
const links = drawn("g"), dots = drawn("g");
svg.append(links, dots);
let shown = { nodes: [], links: [] };
let looked = null; // id of the node that somebody points at

// nodes: {id, name, address, kind, text}; links: {ids, kind}
export function draw(nodes, pairs) {
  shown = { nodes, links: pairs };
  redraw();
}

function redraw() {
  const width = svg.clientWidth, height = svg.clientHeight;
  if (!width || !shown.nodes.length) return;
  const crowded = shown.nodes.length > CROWDED;
  const places = placed(shown.nodes, width, height, crowded ? 16 : width < 500 ? 84 : 130);
  keep(links, shown.links.filter(({ ids }) => ids.every((id) => places.has(id))),
    ({ ids }) => ids.join(" "), () => drawn("line"), (line, { ids, kind }) => {
      const [one, other] = ids.map((id) => places.get(id));
      line.setAttribute("class", `link ${kind}${ids.includes(looked) ? " lit" : ""}`);
      set(line, { x1: one.x, y1: one.y, x2: other.x, y2: other.y });
    });
  keep(dots, shown.nodes, (node) => node.id, makeNode, (group, node) => {
    const place = places.get(node.id);
    group.setAttribute("class", `node ${node.kind}`);
    group.setAttribute("transform", `translate(${place.x} ${place.y})`);
    group.setAttribute("aria-label", node.text);
    const [, cross, name, sub] = group.children;
    cross.setAttribute("visibility", node.kind === "gone" ? "visible" : "hidden");
    put(name, crowded ? "" : shortened(node.name));
    put(sub, crowded ? "" : node.address);
    label(name, place, 0);
    label(sub, place, 15);
  });
  const node = shown.nodes.find(({ id }) => id === looked);
  put(details, node ? node.text : "Point at a node, or tab to it, for more.");
}

function placed(nodes, width, height, margin) {
  const count = nodes.length, places = new Map();
  const across = Math.max(40, width / 2 - margin), up = height / 2 - 46;
  const round = Math.min(across, up * 1.5);
  nodes.forEach((node, i) => {
    const angle = (i / count) * 2 * Math.PI - Math.PI / 2;
    const x = Math.cos(angle), y = Math.sin(angle);
    places.set(node.id, { x: width / 2 + round * x, y: height / 2 + up * y, left: x, top: y });
  });
  return places;
}

function makeNode(node) {
  const cross = drawn("path", { d: "M-3.5-3.5 3.5 3.5M-3.5 3.5 3.5-3.5", class: "cross" });
  const group = drawn("g", { tabindex: 0, role: "img" },
    drawn("circle", { r: RADIUS }), cross, drawn("text"), drawn("text", { class: "sub" }));
  // Not at once: a node that goes while it has the focus says so in the middle of a redraw.
  const look = () => { looked = node.id; queueMicrotask(redraw); };
  const away = () => { if (looked === node.id) looked = null; queueMicrotask(redraw); };
  for (const kind of ["mouseenter", "focus"]) group.addEventListener(kind, look);
  for (const kind of ["mouseleave", "blur"]) group.addEventListener(kind, away);
  return group;
}

// Beside its dot, on the outer side; above or below it where the circle has its top and bottom.
function label(text, { left, top }, down) {
  const middle = Math.abs(left) < 0.3;
  const anchor = middle ? "middle" : left > 0 ? "start" : "end";
  const x = middle ? 0 : Math.sign(left) * (RADIUS + 7);
  const y = !middle ? 0 : top < 0 ? -RADIUS - 20 : RADIUS + 16;
  set(text, { "text-anchor": anchor, x, y: y + down });
}

function set(target, attributes) {
  for (const [key, value] of Object.entries(attributes)) target.setAttribute(key, value);
}

function shortened(name) {
  return name.length > 18 ? name.slice(0, 17) + "…" : name;
}

new ResizeObserver(redraw).observe(svg);
