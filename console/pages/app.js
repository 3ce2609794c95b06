// The page: keeps the present state from the event stream, draws it, and carries what people say to the console.

import { follow, get, keepToken, say } from "./api.js";
import { ask, rememberWho, who } from "./ask.js";
import { detail, proposed } from "./detail.js";
import { byId, el, replace } from "./dom.js";
import { clip, time, words } from "./format.js";
import { row, sorted } from "./list.js";

const incidents = new Map();
let overrides = null;
let feed = null;
let online = false;
let status = "";
let opened = null; // what /api/incidents/{id} said last
let saying = false;

// --- the stream

async function live() {
  for (let wait = 500; ; wait = Math.min(wait * 2, 10_000)) {
    try {
      const begun = Date.now();
      await follow("/api/events", () => { incidents.clear(); online = true; }, onEvent);
      if (Date.now() - begun > 10_000) wait = 500;
    } catch (failure) {
      if (failure.status === 401 && (await askToken())) { wait = 250; continue; }
    } finally {
      online = false;
      draw();
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

const changed = new Set();

function onEvent(name, data) {
  if (name === "feed") feed = data;
  if (name === "overrides") { overrides = data; changed.add(selected()); }
  if (name === "incident") { incidents.set(data.id, data); changed.add(data.id); }
  if (name === "removed") incidents.delete(data);
  if (name !== "current") return;
  draw();
  if (changed.has(selected())) refresh();
  changed.clear();
}

async function askToken() {
  const given = await ask({ title: "This console asks for a token", ok: "Continue", name: false, token: true });
  if (given) keepToken(given.token);
  return given !== null;
}

// --- drawing

const selected = () => location.hash.match(/^#\/incidents\/([0-9a-f]{32})$/)?.[1] ?? null;

function draw() {
  drawFeed();
  drawStop();
  const shown = sorted([...incidents.values()].filter((incident) => !status || (incident.status === "open") === (status === "open")));
  replace(byId("list"), shown.map((incident) => row(incident, incident.id === selected())));
  byId("empty").hidden = shown.length > 0;
  byId("empty").textContent = !feed ? "Waiting for the first news…" : `No ${status ? `${status} ` : ""}incidents. All quiet.`;
  const waiting = shown.filter((incident) => incident.needs_person).length;
  document.title = waiting ? `(${waiting}) ReflexArc` : "ReflexArc";
}

function drawFeed() {
  const node = byId("feed");
  const [text, tone] = !online || !feed ? ["Not connected: what you see may be old", "off"]
    : !feed.connected ? [`Kafka does not answer: what you see may be old`, "off"]
    : !feed.caught_up ? ["Reading history…", "busy"] : ["Live", "on"];
  if (node.textContent !== text) node.textContent = text;
  node.dataset.state = tone;
  node.title = feed?.detail || "";
}

const known = () => online && feed?.connected && feed.caught_up && overrides !== null;

function drawStop() {
  const button = byId("stop");
  const stopped = Boolean(known() && overrides.stopped);
  button.dataset.state = stopped ? "stopped" : known() ? "running" : "unknown";
  button.textContent = stopped ? "All actions stopped. Resume…" : known() ? "Stop all actions" : "Stop all actions (state unknown)";
  button.disabled = saying;
  const stops = [...(overrides?.stops ?? [])].sort((a, b) => scopeOf(a).length - scopeOf(b).length);
  byId("stops").hidden = stops.length === 0;
  replace(byId("stops"), stops.map(stopLine));
}

function stopLine(stop) {
  const scope = scopeOf(stop);
  return el("p", {},
    el("strong", {}, scope.length ? "Stopped" : "Everything is stopped"),
    ` ${scope.map(([name, text]) => `${words(name)} ${text}`).join(", ")} by ${stop.by} at ${time(stop.time_unix_nano)}`,
    stop.note && `: ${stop.note}`,
    scope.length > 0 && el("button", { type: "button", "data-key": `resume-${stop.id}`, onclick: () => resume(stop) }, "Resume…"));
}

const scopeOf = (control) =>
  ["environment", "service", "playbook", "incident_id"].map((name) => [name, control[name]]).filter(([, text]) => text !== null);

// --- one incident

let asked = 0;

async function refresh() {
  const id = selected();
  if (!id) { opened = null; drawDetail(); return; }
  const turn = ++asked;
  try {
    const answer = await get(`/api/incidents/${id}`);
    if (turn === asked) { opened = answer; drawDetail(); }
  } catch (failure) {
    if (turn !== asked) return;
    opened = null;
    replace(byId("detail"), el("p", { class: "empty" }, failure.message));
  }
}

function drawDetail() {
  const node = byId("detail");
  if (opened) replace(node, detail(opened, { answer, acknowledge, feedback, ratify, holds: (id) => incidents.has(id) }));
  else replace(node, el("p", { class: "empty" }, "Choose an incident to see what was seen, decided and done."));
}

// --- saying things

async function send(control) {
  saying = true;
  byId("error").hidden = true;
  drawStop();
  try {
    await say(control);
  } catch (failure) {
    if (failure.status === 401 && (await askToken())) return send(control);
    const reason = failure.name === "TimeoutError" ? "the console did not answer" : failure.message;
    byId("error").textContent = `Could not ${control.kind}: ${reason}`;
    byId("error").hidden = false;
  } finally {
    saying = false;
    drawStop();
  }
}

// Stopping is one press, because it may be urgent and harms nothing; resuming is asked about.
async function pressStop() {
  if (known() && overrides.stopped) return resume(overrides.stops.find((stop) => scopeOf(stop).length === 0));
  const by = who() || (await ask({ title: "Stop all actions", ok: "Stop", danger: true }))?.who;
  if (by) await send({ kind: "stop", by });
}

async function resume(stop) {
  const scope = scopeOf(stop);
  const what = scope.map(([name, text]) => `${words(name)} ${text}`).join(", ") || "everything";
  const narrower = scope.length ? 0 : overrides.stops.filter((other) => scopeOf(other).length > 0).length;
  const given = await ask({
    title: "Resume actions", ok: "Resume", note: true,
    body: [
      el("p", {}, `Actions for ${what} may run again. ${stop.by} stopped them at ${time(stop.time_unix_nano)}${stop.note ? `: ${stop.note}` : "."}`),
      narrower > 0 ? el("p", {}, `This lifts ${narrower === 1 ? "the narrower stop" : `the ${narrower} narrower stops`} as well.`) : "",
    ],
  });
  if (given) await send({ kind: "resume", by: given.who, note: given.note, ...Object.fromEntries(scope) });
}

async function answer(kind, decision, summary) {
  const given = await ask({
    title: kind === "approve" ? "Approve this action" : "Reject this action", ok: kind === "approve" ? "Approve" : "Reject",
    danger: kind === "reject", note: true,
    body: [el("p", {}, `For: ${summary.title}`), proposed(decision)],
  });
  if (given) await send({ kind, by: given.who, note: given.note, decision_id: decision.id });
}

async function acknowledge(incident) {
  const given = await ask({
    title: "I look after this", ok: "Acknowledge", note: true,
    body: [el("p", {}, incident.title), el("p", { class: "quiet" }, "Nobody is called or asked again about it as it looks now.")],
  });
  if (given) await send({ kind: "acknowledge", by: given.who, note: given.note, incident_id: incident.id });
}

async function feedback(incident, verdict) {
  const given = await ask({
    title: verdict === "true_positive" ? "This was a real incident" : "This was a false alarm", ok: "Send", note: true,
    body: [el("p", {}, incident.title)],
  });
  if (given) await send({ kind: "feedback", by: given.who, note: given.note, incident_id: incident.id, verdict });
}

async function ratify({ environment, service, playbook }, tier) {
  const given = await ask({
    title: `Ratify tier ${tier}`, ok: "Ratify", note: true,
    body: [
      el("p", {}, "From now on ", el("strong", {}, clip(playbook)), " may rise to tier ", el("strong", {}, tier), " on ",
        el("strong", {}, clip(`${environment} / ${service}`)), ", for this incident and all later ones."),
      el("p", { class: "quiet" }, "Nothing is done without a person yet."),
    ],
  });
  if (given) await send({ kind: "ratify", by: given.who, note: given.note, environment, service, playbook, tier });
}

// --- start

rememberWho();
byId("stop").addEventListener("click", pressStop);
byId("filter").addEventListener("click", (event) => {
  const chosen = event.target.closest("button");
  if (!chosen) return;
  status = chosen.dataset.status;
  for (const other of byId("filter").children) other.setAttribute("aria-pressed", String(other === chosen));
  draw();
});
addEventListener("hashchange", () => { draw(); byId("detail").scrollTop = 0; refresh(); });
// Ages, and proposals whose time is up.
setInterval(() => { draw(); if (opened?.summary.proposal) drawDetail(); }, 5_000);
draw();
refresh();
live();
