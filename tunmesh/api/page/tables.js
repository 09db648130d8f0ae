// Everything but the picture: head, problems, figures, peers, what was not carried, events.

import { drawn, duration, element, keep, milliseconds, percent, put, size } from "./figures.js";

const MOST_EVENTS = 500;
const at = (id) => document.getElementById(id);
const columns = [...document.querySelectorAll("#peers thead th")].slice(1).map((th) => th.className);

export function showState(text, kind) {
  put(at("state"), text);
  at("state").className = `badge ${kind}`;
}

// What the node has, and how far it has come with what it does not have yet.
function addressesOf(node) {
  const missing = node.automatic.filter((own) => !own.usable);
  const claimed = missing.map((own) => `${own.state} ${own.address}`.trim());
  const floating = node.floating.map((own) => own.usable ? own.address : `${own.state} for ${own.address}`);
  return [...node.addresses, ...claimed, ...floating].join(", ");
}

export function showNode(report) {
  const { node, peers } = report;
  document.title = `${node.name} · tunmesh`;
  put(at("name"), node.name);
  put(at("addresses"), addressesOf(node));
  const target = new URL(node.url).host;
  put(at("about"), `up ${duration(node.uptime)} · tunmesh ${node.version} · dialed at ${target}`);
  showState(report.ready ? "ready" : "not ready", report.ready ? "good" : "bad");
  keep(at("problems").firstElementChild, report.problems.map((text, i) => [String(i), text]),
    ([i]) => i, () => element("li"), (item, [, text]) => put(item, text));
  const total = (way) => peers.reduce((sum, peer) => sum + peer[way].bytes_per_second, 0);
  const dropped = Object.values(report.dropped_packets).reduce((sum, n) => sum + n, 0);
  const figures = [`${peers.length} of ${report.others}`, `${size(total("rx"))}/s`,
    `${size(total("tx"))}/s`, `${dropped} packets`];
  document.querySelectorAll("#figures dd").forEach((dd, i) => put(dd, figures[i]));
  showDrops(report);
  showNames(report);
  showRoutes(report.routes);
  showGroups(report.multicast);
}

function showGroups(multicast) {
  const member = ({ name, sources }) => sources === "all" ? name : `${name} (from ${sources})`;
  const rows = (multicast ? multicast.groups : []).map(({ group, here, nodes }) => {
    const all = here ? [{ name: "this node", sources: here }, ...nodes] : nodes;
    return [group, all.map(member).join(", ")];
  });
  at("multicast").hidden = !rows.length;
  count("#multicast tbody", rows);
}

function showRoutes({ advertised, accepted }) {
  const rows = advertised.map((network) => [network, "this node"]);
  accepted.forEach(({ network, gateways }) => {
    gateways.forEach((each) => rows.push([each.network, each.nodes.join(", ")]));
    if (!gateways.length) rows.push([network, "nobody"]);
  });
  at("routes").hidden = !rows.length;
  count("#routes tbody", rows);
}

function showNames({ node, names }) {
  at("names").hidden = !names;
  if (!names) return;
  const ours = node.groups.length ? `; groups of this node: ${node.groups.join(", ")}` : "";
  put(at("domain"), `below ${names.domain}, at ${names.addresses.join(", ")}${ours}`);
  count("#names tbody", Object.entries(names.queries).filter(([, count]) => count));
}

function showDrops(report) {
  count("#drops tbody", [["packets", report.dropped_packets], ["connections", report.handshake_failures]]
    .flatMap(([what, counts]) => Object.entries(counts).sort()
      .map(([reason, count]) => [`${what}: ${reason}`, count])));
}

function count(body, rows) {
  keep(document.querySelector(body), rows, ([reason]) => reason,
    ([reason]) => element("tr", {}, element("th", { scope: "row" }, reason), element("td")),
    (row, [, count]) => put(row.lastChild, String(count)));
}

// rows: {id, name, address, peer, series, loss} of a linked node, {id, name, address, why} of another
export function showPeers(rows) {
  keep(document.querySelector("#peers tbody"), rows, (row) => (row.peer ? "up " : "down ") + row.id,
    makeRow, (tr, row) => (row.peer ? fill(tr, row) : put(tr.lastChild, row.why)));
}

function makeRow({ name, address, peer }) {
  const head = element("th", { scope: "row" }, name, element("small", {}, address));
  if (!peer) return element("tr", { class: "gone" }, head, element("td", { colspan: 9 }));
  const cells = columns.map((kind) => element("td", { class: kind }, element("span", { class: "value" })));
  for (const [i, kind] of [[2, "rtt"], [4, "rx"], [5, "tx"]]) cells[i].prepend(spark(kind));
  return element("tr", {}, head, ...cells);
}

function fill(tr, { peer, series, loss }) {
  const texts = [
    `${peer.direction === "dialed" ? "out" : "in"}, ${duration(peer.linked_for)}`,
    peer.relay ? `via ${peer.relay.name}` : peer.transport.toUpperCase(), milliseconds(peer.rtt), loss === null ? "–" : percent(loss),
    `${size(peer.rx.bytes_per_second)}/s`, `${size(peer.tx.bytes_per_second)}/s`,
    size(peer.queued_bytes), String(peer.dropped_packets), peer.version,
  ];
  [...tr.cells].slice(1).forEach((cell, i) => put(cell.lastChild, texts[i]));
  const most = Math.max(...series.rx, ...series.tx, 1);
  tr.cells[2].title = peer.relay ? `no direct link: ${peer.relay.why || "being dialed"}` : peer.udp ? peer.udp.why : "this node uses no UDP";
  plot(tr.cells[3], series.rtt, Math.max(...series.rtt, 0.0001));
  plot(tr.cells[5], series.rx, most);
  plot(tr.cells[6], series.tx, most);
}

function spark(kind) {
  return drawn("svg", { class: `spark ${kind}`, viewBox: "0 0 90 20", preserveAspectRatio: "none",
    "aria-hidden": "true" }, drawn("polyline"));
}

// The newest sample is at the right edge, and the highest value one unit below the upper one.
function plot(cell, row, most) {
  const first = 90 - row.length;
  const points = row.map((value, i) => value === null ? ""
    : `${first + i + 1},${(19 - (18 * value) / most).toFixed(1)}`);
  cell.querySelector("polyline").setAttribute("points", points.join(" "));
}

export function clearEvents() {
  at("log").replaceChildren();
}

export function addEvent({ time, level, text }) {
  const item = element("li", { class: level }, element("time", { datetime: time },
    new Date(time).toLocaleTimeString([], { hourCycle: "h23" })), text);
  at("log").prepend(item);
  if (at("log").children.length > MOST_EVENTS) at("log").lastChild.remove();
}
