// One incident on one screen: what was seen, what it is and why, what was done, and what a person is asked.

import { el } from "./dom.js";
import { clip, iso, number, percent, place, span, time, words } from "./format.js";
import { badge, state } from "./list.js";
import { operation, timeline } from "./timeline.js";
import { why } from "./why.js";

export function detail({ summary, incident, timeline: entries }, actions) {
  const decision = newestDecision(entries);
  return [
    head(summary, incident, actions),
    proposal(summary, entries, actions),
    section("Why", why(incident, decision, actions.holds)),
    summary.status === "open" && decision?.playbook && decision.actions.length > 0 && section("Autonomy", autonomy(decision, actions)),
    section("What was seen", seen(incident)),
    section("What happened", entries.length ? timeline(entries) : el("p", { class: "quiet" }, "Nothing was decided yet.")),
  ];
}

// As the console's list has it: of the latest revision, whichever partition it came over first.
const newestDecision = (entries) => entries.filter((entry) => entry.kind === "decision").map((entry) => entry.record)
  .reduce((newest, next) => (newest && newest.incident_revision > next.incident_revision ? newest : next), null);

const section = (title, ...body) => el("section", { "aria-label": title }, el("h3", {}, title), body);

function head(summary, incident, actions) {
  const facts = [
    ["Class", words(incident.classification.label)],
    ["Confidence", percent(incident.classification.confidence)],
    ["Began", time(incident.onset_unix_nano), iso(incident.onset_unix_nano)],
    ["Found after", span((incident.opened_unix_nano - incident.onset_unix_nano) / 1e6)],
    incident.status !== "open"
      ? ["Over after", span(((incident.resolved_unix_nano ?? incident.updated_unix_nano) - incident.onset_unix_nano) / 1e6)]
      : ["Lasts", span(Date.now() - incident.onset_unix_nano / 1e6)],
    ["Still firing", `${incident.active_subjects.length} of ${incident.signal_count} signals`],
  ];
  return el("header", { class: "head", "data-severity": incident.severity },
    el("p", { class: "crumbs" }, el("span", { class: "severity", title: (incident.severity_because ?? []).join("; ") }, incident.severity),
      `${incident.environment} / ${incident.service}`, state(summary)),
    el("h2", {}, incident.title),
    incident.merged_into ? el("p", { class: "quiet" }, "An effect of another incident, which holds its signals now: ",
      el("a", { href: `#/incidents/${incident.merged_into}` }, el("code", {}, incident.merged_into))) : null,
    incident.split_from ? el("p", { class: "quiet" }, "Outlasted the cause that its signals were held for: ",
      el("a", { href: `#/incidents/${incident.split_from}` }, el("code", {}, incident.split_from))) : null,
    summary.acknowledged_by.length > 0 && el("p", { class: "quiet" }, clip(`Looked after by ${summary.acknowledged_by.join(", ")}`)),
    (incident.services ?? []).length > 1 ? el("p", { class: "quiet" }, `Felt by ${incident.services.slice(1).join(", ")}`) : null,
    incident.recurrence_of ? el("p", { class: "quiet" }, `Came back (${incident.recurrence} in a row): before, it was `,
      el("code", {}, incident.recurrence_of)) : null,
    el("dl", { class: "facts" }, facts.map(([name, text, title]) =>
      el("div", {}, el("dt", {}, name), el("dd", { title }, text)))),
    el("p", { class: "quiet head-foot" }, el("code", {}, incident.id), ` revision ${incident.revision}`,
      el("span", { class: "feedback" },
        incident.status === "open" && button("Acknowledge…", "acknowledge", () => actions.acknowledge(incident)), " Was it real? ",
        button("Yes", "feedback-yes", () => actions.feedback(incident, "true_positive")),
        button("No, false alarm", "feedback-no", () => actions.feedback(incident, "false_positive")))));
}

function proposal(summary, entries, actions) {
  if (!summary.proposal) return null;
  const decision = entries.find((entry) => entry.record.id === summary.proposal.decision_id)?.record;
  if (!decision) return null;
  const left = summary.proposal.valid_until_unix_nano / 1e6 - Date.now();
  const given = summary.proposal.answer;
  if (!given && left <= 0) return null;
  const closed = given ? `${given.by} ${given.kind === "approve" ? "approved" : "rejected"} this at ${time(given.time_unix_nano)}.` : null;
  return el("section", { class: "proposal", "data-closed": String(Boolean(closed)), "aria-label": "Approval" },
    el("h3", {}, closed ? "Proposed" : "Your approval is needed"),
    el("p", {}, closed || decision.reason),
    proposed(decision),
    !closed && el("div", { class: "buttons" },
      button("Approve…", "approve", () => actions.answer("approve", decision, summary), "primary"),
      button("Reject…", "reject", () => actions.answer("reject", decision, summary)),
      el("span", { class: "quiet" }, `open for ${span(left)} more`)),
    // A decision is answered once; a later revision's decision, on the same action, may still be approved.
    given?.kind === "reject" && given.decision_id !== decision.id && left > 0 && el("div", { class: "buttons" },
      button("Approve after all…", "approve", () => actions.answer("approve", decision, summary))));
}

export function proposed(decision) {
  return el("ul", { class: "proposed" }, decision.actions.map((action) =>
    el("li", {}, el("strong", {}, `${action.playbook} / ${action.step}`), " on ", el("strong", {}, place(action.target)),
      action.revert ? null : badge("irreversible", "bad"), operation(action))));
}

// Up to `approve` every action still has its person, so that one's word suffices. Beyond, the command looks at the
// whole record of verified successes first; this console holds only what is recent.
const RATIFIES = { observe: "recommend", recommend: "approve" };

// Where the playbook stands here, in the words of the policy's own check, and a way to let it rise.
function autonomy(decision, actions) {
  const next = RATIFIES[decision.tier];
  const because = decision.checks.find((check) => check.name === "tier")?.detail;
  return [
    el("p", {}, el("strong", {}, clip(decision.playbook)), ` has tier ${decision.tier} on ${clip(place(decision))}`),
    because && el("p", { class: "quiet" }, clip(because)),
    next && el("div", { class: "buttons" }, button(`Ratify tier ${next}…`, "ratify", () => actions.ratify(decision, next))),
    decision.tier === "approve" && el("p", { class: "quiet" }, "Tier autonomous is ratified with ",
      el("code", {}, "reflexarc ratify autonomous"), ", which looks at the record first."),
  ];
}

const TONE = { firing: "bad", cleared: "good", adapted: "ask", noted: "plain" };

function seen(incident) {
  const heads = ["Time", "State", "What", "Where", "Observed", "Expected", "p-value"];
  return [
    incident.signals.length < incident.signal_count
      && el("p", { class: "quiet" }, `The strongest ${incident.signals.length} of ${incident.signal_count} signals.`),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Signals" },
      el("table", { class: "signals" },
        el("thead", {}, el("tr", {}, heads.map((head, i) => el("th", { scope: "col", class: i > 3 ? "num" : null }, head)))),
        el("tbody", {}, incident.signals.map(signalRow)))),
  ];
}

function signalRow(signal) {
  return el("tr", {},
    el("td", { title: iso(signal.time_unix_nano) }, time(signal.time_unix_nano)),
    el("td", {}, badge(signal.state, TONE[signal.state])),
    el("td", { class: "what" }, el("span", {}, signal.name),
      signal.reasons.length > 0 && el("span", { class: "quiet" }, signal.reasons.join("; "))),
    el("td", {}, signal.entity.instance || signal.entity.service),
    el("td", { class: "num" }, number(signal.observed, signal.unit)),
    el("td", { class: "num" }, number(signal.expected, signal.unit)),
    el("td", { class: "num" }, signal.p_value === null ? "–" : number(signal.p_value)));
}

const button = (text, key, onclick, tone = null) => el("button", { type: "button", class: tone, "data-key": key, onclick }, text);
