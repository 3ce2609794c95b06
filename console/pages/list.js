// The list of incidents: open before resolved, those that need a person first.

import { el } from "./dom.js";
import { ago, iso, percent, words } from "./format.js";

const SEVERITY = { critical: 0, high: 1, medium: 2, low: 3 };

const STANDING = { act: ["acting", "busy"], recommend: ["recommends", "plain"], observe: ["observing", "plain"] };

export const RESULT = {
  verified: "good", reverted: "ask", revert_failed: "bad", failed: "bad", unknown: "bad", expired: "plain", refused: "plain",
  not_served: "plain",
};

export function sorted(incidents) {
  const rank = (i) => [i.status === "open" ? 0 : 1, i.needs_person ? 0 : 1];
  return [...incidents].sort((a, b) => {
    const [x, y] = [rank(a), rank(b)];
    return x[0] - y[0] || x[1] - y[1] || (a.status === "open" ? SEVERITY[a.severity] - SEVERITY[b.severity] : 0)
      || b.opened_unix_nano - a.opened_unix_nano;
  });
}

export function row(incident, selected) {
  return el("li", {},
    el("a", {
      class: "row", href: `#/incidents/${incident.id}`, "data-key": `row-${incident.id}`,
      "data-severity": incident.severity, "data-status": incident.status,
      "aria-current": selected ? "true" : null,
    },
      el("span", { class: "row-top" },
        el("span", { class: "severity" }, incident.severity),
        el("span", { class: "where" }, `${incident.environment} / ${incident.service}`),
        el("time", { datetime: iso(incident.opened_unix_nano), title: iso(incident.opened_unix_nano) },
          ago(incident.opened_unix_nano))),
      el("span", { class: "row-title" }, incident.title),
      el("span", { class: "row-tags" },
        state(incident),
        el("span", { class: "class" }, `${words(incident.label)} · ${percent(incident.confidence)}`))));
}

// One word on where it stands, the most urgent first.
export function state(incident) {
  const waits = incident.proposal && !incident.proposal.answer
    && incident.proposal.valid_until_unix_nano / 1e6 > Date.now();
  if (incident.status === "open" && waits) return badge("approval needed", "ask");
  if (incident.status === "merged") return badge("merged", "plain");
  if (incident.needs_person) return badge("needs a person", "bad");
  if (incident.result && incident.result !== "verified") return badge(words(incident.result), RESULT[incident.result]);
  if (incident.status === "resolved") return badge(incident.result ? "mitigated" : "resolved", "good");
  if (incident.result) return badge("verified", "good");
  return badge(...(STANDING[incident.verdict] ?? ["open", "plain"]));
}

export const badge = (text, tone) => el("span", { class: "badge", "data-tone": tone }, text);
