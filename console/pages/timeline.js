// What was decided, said and done about an incident, in order, each with its evidence.

import { el } from "./dom.js";
import { clip, iso, number, place, size, span, time, value, words } from "./format.js";
import { RESULT, badge } from "./list.js";

const VERDICT = {
  act: ["acts", "busy"], ask: ["asks for approval", "ask"], recommend: ["recommends", "plain"],
  observe: ["observes only", "plain"], escalate: ["escalates to a person", "bad"],
};
const SAID = {
  approve: ["approved", "good"], reject: ["rejected", "bad"], stop: ["stopped", "bad"], resume: ["resumed", "good"],
  feedback: ["gave feedback", "plain"], acknowledge: ["looks after it", "good"], pin: ["pinned", "ask"], unpin: ["unpinned", "plain"], lift: ["forgave demotions", "good"],
  ratify: ["ratified", "good"], revert: ["took back", "bad"], renew: ["renewed", "plain"],
};
const MEANT = { true_positive: "a real incident", false_positive: "a false alarm" };

export function timeline(entries) {
  return el("ol", { class: "timeline" }, folded(entries).map((entry) =>
    el("li", { class: `event ${entry.kind}` },
      el("time", { datetime: iso(entry.time_unix_nano), title: iso(entry.time_unix_nano) }, time(entry.time_unix_nano)),
      el("div", { class: "event-body" }, SHOWN[entry.kind](entry.record, entry)))));
}

// Every revision of an incident is decided on. Where the answer did not change, one line says so for all of them.
function folded(entries) {
  const out = [];
  for (const entry of entries) {
    const last = out.at(-1);
    const same = last && last.kind === "decision" && entry.kind === "decision"
      && last.record.verdict === entry.record.verdict && last.record.reason === entry.record.reason;
    if (same) out[out.length - 1] = { ...entry, since: last.since ?? last.time_unix_nano, times: (last.times ?? 1) + 1 };
    else out.push(entry);
  }
  return out.map((entry) => (entry.since ? { ...entry, time_unix_nano: entry.since, until: entry.time_unix_nano } : entry));
}

const SHOWN = {
  decision: (record, entry) => {
    const [text, tone] = VERDICT[record.verdict];
    const repeated = entry.times > 1 ? ` · ${entry.times} times until ${time(entry.until)}` : "";
    return [
      el("h4", {}, "Decision ", badge(text, tone),
        record.playbook && el("span", { class: "quiet" }, `${record.playbook} v${record.playbook_version}, tier ${record.tier}`)),
      el("p", {}, record.reason, repeated && el("span", { class: "quiet" }, repeated)),
      checks(record),
    ];
  },
  control: (record) => {
    const [text, tone] = SAID[record.kind];
    const scope = [record.tier && `tier ${record.tier}`,
      [record.environment, record.service, record.playbook].filter(Boolean).join(" / ") || "everything"].filter(Boolean).join(", ");
    const about = record.kind === "feedback" ? [MEANT[record.verdict], record.label && `class ${words(record.label)}`].filter(Boolean).join(", ") : scope;
    return [
      el("h4", {}, `${record.by} `, badge(text, tone), el("span", { class: "quiet" }, about)),
      record.note && el("p", { class: "note" }, record.note),
    ];
  },
  action: (record) => [
    el("h4", {}, "Action issued ", el("code", {}, `${record.playbook} / ${record.step}`),
      record.replay && badge("replay", "plain")),
    el("p", {}, "on ", el("strong", {}, place(record.target)),
      record.approved_by && el("span", { class: "quiet" }, `approved by ${record.approved_by}`),
      !record.revert && badge("irreversible", "bad")),
    operation(record),
  ],
  outcome: (record) => [
    el("h4", {}, "Outcome ", badge(words(record.result), RESULT[record.result]),
      el("span", { class: "quiet" }, `${record.playbook} / ${record.step} on ${place(record.target)}`)),
    el("p", {}, record.reason),
    evidence(record.before.forensics),
    changes(record),
    el("p", { class: "quiet" }, timing(record.timing), ` · verification: ${words(record.verification)} · by ${record.executor}`),
  ],
};

function checks(record) {
  const failed = record.checks.filter((check) => !check.passed);
  const passed = record.checks.length - failed.length;
  const summary = failed.length ? `${failed.length} of ${record.checks.length} checks failed: ${failed.map((c) => words(c.name)).join(", ")}`
    : `all ${passed} checks passed`;
  return el("details", { "data-key": `checks-${record.id}` },
    el("summary", { "data-key": `checks-summary-${record.id}` }, summary),
    el("ul", { class: "checks" }, [...failed, ...record.checks.filter((check) => check.passed)].map((check) =>
      el("li", { "data-passed": String(check.passed) },
        el("span", { class: "mark", "aria-hidden": "true" }, check.passed ? "✓" : "✕"),
        el("span", { class: "check-name" }, words(check.name),
          el("span", { class: "visually-hidden" }, check.passed ? " passed" : " failed")),
        el("span", { class: "check-detail" }, check.detail)))));
}

export function operation(action) {
  return el("details", { "data-key": `operation-${action.id}-${action.decision_id}` },
    el("summary", { "data-key": `operation-summary-${action.id}-${action.decision_id}` },
      `${action.apply.connector}: ${action.apply.operation}`),
    el("pre", {}, JSON.stringify(action.apply.params, null, 2)),
    action.revert ? [el("p", { class: "quiet" }, `to take it back: ${action.revert.connector}: ${action.revert.operation}`),
      el("pre", {}, JSON.stringify(action.revert.params, null, 2))] : el("p", { class: "quiet" }, "cannot be taken back"));
}

// What was kept of the target before it was changed (see docs/connectors.md). The state of a target is the connector's
// to tell, so that nothing here is taken for granted.
const isPackage = (told) => typeof told?.package === "string" || typeof told?.problem === "string";

function evidence(told) {
  if (!isPackage(told)) return null;
  const facts = [
    typeof told.files === "number" && `${number(told.files)} ${told.files === 1 ? "file" : "files"}`,
    typeof told.bytes === "number" && size(told.bytes),
  ].filter(Boolean).join(", ");
  const cut = Array.isArray(told.incomplete) ? told.incomplete : [];
  return el("div", { class: "evidence" },
    typeof told.package === "string" && el("p", {}, "Evidence was kept before the change: ", el("code", {}, clip(told.package)), facts && ` (${facts})`),
    typeof told.manifest_sha256 === "string" && el("p", { class: "quiet" }, "SHA-256 of its manifest ", el("code", {}, clip(told.manifest_sha256, 64))),
    cut.length > 0 && el("p", {}, badge("incomplete", "ask"), clip(cut.map(value).join(", "))),
    typeof told.problem === "string" && el("p", {}, badge("problem", "bad"), clip(told.problem)));
}

function changes(outcome) {
  const names = [...new Set([...Object.keys(outcome.before), ...Object.keys(outcome.after)])].sort()
    .filter((name) => name !== "forensics" || !isPackage(outcome.before.forensics));
  if (!names.length) return null;
  return el("table", { class: "states" },
    el("caption", { class: "visually-hidden" }, "State of the target before and after"),
    el("thead", {}, el("tr", {}, ["", "before", "after"].map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, names.map((name) => {
      const [before, after] = [value(outcome.before[name]), value(outcome.after[name])];
      return el("tr", { "data-changed": String(before !== after) },
        el("th", { scope: "row" }, name), el("td", {}, before), el("td", {}, after));
    })));
}

function timing(t) {
  const step = (label, from, to) => (from && to ? `${label} in ${span((to - from) / 1e6)}` : null);
  return [
    step("applied", t.received_unix_nano, t.applied_unix_nano),
    step("judged", t.applied_unix_nano, t.judged_unix_nano),
    step("finished", t.received_unix_nano, t.finished_unix_nano),
  ].filter(Boolean).join(", ");
}
