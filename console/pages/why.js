// Why it is called that: the class as the newest decision had it, what else it may be, and what would change its mind.

import { el } from "./dom.js";
import { clip, number, percent, place, words } from "./format.js";

// A decision cites five neighbours and eight counterfactuals; what is longer is not ours, or not for reading.
const MOST = 8;

// `holds` tells whether an incident is on this console, so that it can be gone to.
export function why(incident, decision, holds) {
  const c = (decision ?? incident).classification;
  return [
    decision && decision.incident_revision < incident.revision
      && el("p", { class: "quiet" }, `As decided about revision ${decision.incident_revision}; the incident is at revision ${incident.revision}.`),
    verdict(c),
    mayBe(c),
    told(incident.classification) !== told(c)
      && el("p", { class: "quiet" }, `At revision ${incident.revision} the rules alone say ${told(incident.classification)}.`),
    titled("Rules that hold", listed(c.rules, (hit) => rule(hit, incident.signals))),
    titled("What would change this", listed(c.counterfactuals, (other) =>
      ["Without ", joined(other.without), " it would be ", el("strong", {}, name(other.label)), "."])),
    incident.root_causes.length > 0 && titled("Likely cause", causes(incident.root_causes)),
    titled("It resembles", listed(c.neighbours, (near) => neighbour(near, holds)),
      "distance 0: the same mix of signals, 1: nothing in common"),
    decision && c.neighbours.length === 0
      && el("p", { class: "quiet" }, "It resembles no incident that feedback has labelled here."),
  ];
}

const told = (c) => `${name(c.label)} with ${percent(c.confidence)} confidence`;

function verdict(c) {
  const basis = c.basis && ` (${clip(c.basis)})`;
  if (c.label === "unknown") return el("p", {}, "It could not be told what this is", basis, ".");
  return el("p", {}, "This is ", el("strong", {}, name(c.label)), ` with ${percent(c.confidence)} confidence`,
    c.credibility ? `, ${percent(c.credibility)} familiar` : "", basis, ".");
}

function mayBe(c) {
  const others = c.prediction_set.filter((label) => label !== c.label);
  const ruledOut = others.length > 0 && c.label !== "unknown" && !c.prediction_set.includes(c.label);
  return [
    ruledOut && el("p", {}, `Yet it is unlike what ${name(c.label)} was here so far.`),
    others.length > 0
      ? el("p", {}, c.label === "unknown" || ruledOut ? "It may be " : "It may also be ", few(others).map((label, i) =>
        [i > 0 && ", ", el("strong", {}, name(label))]), rest(others), ".")
      : c.prediction_set.length === 0 && el("p", {}, "It is like nothing known here."),
  ];
}

function rule(hit, signals) {
  const held = new Set(hit.signals);
  const names = [...new Set(signals.filter((signal) => held.has(signal.id)).map((signal) => signal.name))];
  return [
    el("code", {}, clip(hit.rule)), ` says ${name(hit.label)}: `, few(hit.because).map((reason) => clip(reason)).join("; "), rest(hit.because),
    names.length > 0 && el("span", { class: "quiet held" }, "holds on ", joined(names)),
  ];
}

function neighbour(near, holds) {
  const id = near.incident_id.slice(0, 8);
  return [
    holds(near.incident_id) ? el("a", { href: `#/incidents/${near.incident_id}` }, el("code", {}, id)) : el("code", {}, id),
    " ", el("strong", {}, name(near.label)), `, distance ${number(near.distance)}`,
  ];
}

const causes = (found) => el("ol", { class: "causes" }, found.map((cause) =>
  el("li", {},
    el("meter", { min: 0, max: 1, value: cause.score, "aria-label": `share ${percent(cause.score)}` }),
    el("span", {}, el("strong", {}, clip(cause.what)), ` on ${clip(place(cause.entity))}`, el("br"),
      el("span", { class: "quiet" }, clip(cause.because))))));

const titled = (title, body, legend = null) =>
  body && [el("h4", {}, title, legend && el("span", { class: "quiet" }, ` (${legend})`)), body];

const listed = (items, line) => items.length > 0 && el("ul", { class: "reasons" },
  few(items).map((item) => el("li", {}, line(item))),
  items.length > MOST && el("li", { class: "quiet" }, rest(items).trim()));

const joined = (names) => [few(names).map((text, i) => [i > 0 && " and ", el("code", {}, clip(text))]), rest(names)];

const few = (items) => items.slice(0, MOST);
const rest = (items) => (items.length > MOST ? ` and ${items.length - MOST} more` : "");
const name = (label) => clip(words(label), 80);
