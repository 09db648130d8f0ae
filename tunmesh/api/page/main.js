// Keeps the page live. A stream of server-sent events brings what there is; when it breaks, what was
// last known stays to be seen, marked as such, and a new one is tried until there is one.

import { duration, milliseconds, size } from "./figures.js";
import { draw } from "./picture.js";
import { addEvent, clearEvents, showNode, showPeers, showState } from "./tables.js";

const KEPT = 90; // samples of each row, as in tunmesh/observe/samples.py
const REMEMBERED = 120; // seconds for which a node that went is shown
const SILENCE = 7000; // milliseconds without an event, of which there is one every two seconds
const AGAIN = 1000; // milliseconds before the next attempt

let series = new Map(); // by node id: {rx, tx, rtt, pings}
let last = null; // the last status
let me = null, sequence = 0; // whose stream it is, and the last event of its log
let gone = new Map(); // by name: {id, name, address, since}
let watch = 0;

function connect() {
  const stream = new EventSource("/v1/stream");
  const lost = () => {
    stream.close();
    clearTimeout(watch);
    showState("disconnected", "off");
    setTimeout(connect, AGAIN);
  };
  const alive = () => {
    clearTimeout(watch);
    watch = setTimeout(lost, SILENCE);
  };
  stream.addEventListener("error", lost);
  for (const [kind, take] of [["hello", hello], ["log", log], ["status", status]]) {
    stream.addEventListener(kind, (event) => {
      alive();
      take(JSON.parse(event.data));
    });
  }
  alive();
}

function hello({ id, series: rows }) {
  if (me === null) clearEvents(); // those that came with the page
  if (me !== id) [me, sequence] = [id, 0];
  series = new Map(Object.entries(rows).map(([peer, row]) => [peer, { ...row, pings: [] }]));
}

function log(event) {
  if (event.sequence <= sequence) return;
  sequence = event.sequence;
  addEvent(event);
}

function status({ report, mesh }) {
  for (const peer of report.peers) sample(peer);
  remember(mesh, report.time);
  last = { report, mesh };
  document.getElementById("mesh").hidden = false;
  showNode(report);
  show(report, mesh);
}

function sample(peer) {
  const rows = series.get(peer.id) ?? { rx: [], tx: [], rtt: [], pings: [] };
  series.set(peer.id, rows);
  const newest = { rx: peer.rx.bytes_per_second, tx: peer.tx.bytes_per_second, rtt: peer.rtt,
    pings: [peer.pings, peer.pongs] };
  for (const [name, value] of Object.entries(newest)) {
    rows[name].push(value);
    if (rows[name].length > KEPT) rows[name].shift();
  }
}

// Over UDP the share of the datagrams sent that did not arrive. Over TCP that of pings without an
// answer, since this page knows; the newest may still get one.
function lossOf(peer) {
  if (peer.transport === "udp") return peer.udp.loss;
  const [first] = series.get(peer.id).pings;
  const since = peer.pings > first[0] ? first : [0, 0];
  const asked = peer.pings - since[0], answered = peer.pongs - since[1];
  return asked > 0 ? Math.max(0, asked - answered - 1) / asked : null;
}

function healthOf(peer) {
  const loss = lossOf(peer) ?? 0;
  if (loss > 0.2) return "bad";
  return loss > 0.01 || peer.rtt > 0.25 || peer.refuses.length ? "slow" : "good";
}

// A node is gone when it was there and is not; until one of its name is there again, or for a while.
function remember(mesh, now) {
  const names = new Set(mesh.nodes.map(({ name }) => name));
  const ids = new Set(mesh.nodes.map(({ id }) => id));
  for (const node of last?.mesh.nodes ?? []) {
    if (!ids.has(node.id) && node.name) {
      gone.set(node.name, { ...node, address: node.addresses[0] ?? "", since: now });
    }
  }
  for (const [name, node] of gone) {
    if (names.has(name) || now - node.since > REMEMBERED) gone.delete(name);
  }
}

function show(report, mesh) {
  const peers = new Map(report.peers.map((peer) => [peer.id, peer]));
  const dials = new Map(report.dials.map((dial) => [dial.name, dial]));
  const whys = (name) => dials.get(name)?.why || "being dialed";
  const nodes = mesh.nodes.map((node) => {
    const name = node.name || node.id.slice(0, 8), address = node.addresses[0] ?? "";
    const peer = peers.get(node.id);
    const kind = node.id === report.node.id ? "self" : peer ? healthOf(peer) : "heard";
    const text = kind === "self" ? "this node" : peer ? described(peer)
      : `not linked with this node: ${whys(node.name)}`;
    return { id: node.id, name, address, kind, text: `${name}, ${node.addresses.join(", ")}: ${text}` };
  });
  for (const { id, name, address, since } of gone.values()) {
    const text = `${name}, ${address}: gone ${duration(report.time - since)} ago`;
    nodes.push({ id, name, address, kind: "gone", text });
  }
  const [self, ...others] = nodes;
  others.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  draw([self, ...others], linksOf(report, mesh, nodes));
  showPeers(rowsOf(report, nodes, dials));
}

function linksOf(report, mesh, nodes) {
  const kinds = new Map(nodes.map(({ id, kind }) => [id, kind]));
  const relayed = new Set(mesh.relayed.map((ids) => ids.join()));
  const links = mesh.links.map((ids) => {
    const other = ids.find((id) => id !== report.node.id);
    const kind = ids.includes(report.node.id) ? kinds.get(other) ?? "heard" : "heard";
    return { ids, kind: relayed.has(ids.join()) ? `${kind} relayed` : kind };
  });
  return links.sort((a, b) => b.kind.startsWith("heard") - a.kind.startsWith("heard"));
}

function rowsOf(report, nodes, dials) {
  const up = report.peers.map((peer) => ({ id: peer.id, name: peer.name, peer,
    address: [...peer.addresses, ...peer.floating, ...peer.groups].join(", "), series: series.get(peer.id), loss: lossOf(peer) }));
  const down = nodes.filter(({ kind, name }) => kind === "gone" && !dials.has(name))
    .map(({ id, name, address, text }) => ({ id, name, address, why: text.split(": ").pop() }));
  const dialed = [...dials.values()].map(({ name, target, why, retry_in: left }) => ({
    id: name, name, address: target,
    why: (why || "being dialed") + (left === null ? "" : ` (again in ${duration(left)})`) }));
  return [...up, ...dialed, ...down];
}

function described(peer) {
  const why = peer.udp ? ` (${peer.udp.why})` : "";
  const way = peer.relay ? `through ${peer.relay.name}` : `over ${peer.transport.toUpperCase()}${why}`;
  return `${way}, round trip ${milliseconds(peer.rtt)}, received ${size(peer.rx.bytes_per_second)}/s, `
    + `sent ${size(peer.tx.bytes_per_second)}/s, linked for ${duration(peer.linked_for)}`
    + (peer.refuses.length ? `; does not route ${peer.refuses.join(", ")} here` : "");
}

connect();
