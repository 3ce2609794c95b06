"""Incidents as a person wants to read them in a terminal. Pure: records in, rich renderables out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.control import Control
from schemas.decision import Decision
from schemas.envelope import NANOS
from schemas.incident import Incident
from schemas.outcome import Outcome, Result
from schemas.signal import Signal
from streams.cases import Case

ID_LENGTH = 8
WIDE = 200
_VERDICT_STYLES = {"act": "bold green", "ask": "bold yellow", "escalate": "bold red"}
_GOOD = {Result.VERIFIED: "bold green"}


def clock(time_unix_nano: int) -> str:
    """Time of day in UTC, to the millisecond."""
    return datetime.fromtimestamp(time_unix_nano / NANOS, UTC).strftime("%H:%M:%S.%f")[:-3]


def moment(time_unix_nano: int) -> str:
    """Day and time of day in UTC."""
    return datetime.fromtimestamp(time_unix_nano / NANOS, UTC).strftime("%m-%d %H:%M:%S")


def screen() -> Console:
    """Make the console to print to; what is piped on is not cut to a terminal's width."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def incident_table(cases: Iterable[Case]) -> Table:
    """One line an incident."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("id", "opened (UTC)", "status", "severity", "scope", "class", "decision", "outcome"):
        table.add_column(column, no_wrap=column in {"id", "opened (UTC)", "scope"})
    for case in cases:
        incident = case.incident
        table.add_row(
            incident.id[:ID_LENGTH],
            moment(incident.opened_unix_nano),
            status(incident),
            incident.severity,
            Text(incident.scope),
            Text(f"{incident.classification.label} {incident.classification.confidence:.2f}"),
            _last_decision(case),
            _last_outcome(case),
        )
    return table


def status(incident: Incident) -> str:
    if incident.status == "merged":
        return f"merged into {(incident.merged_into or '')[:ID_LENGTH]}"
    if incident.status == "resolved":
        return "resolved"
    return f"open, {len(incident.active_subjects)} firing" if incident.active_subjects else "open, calm"


def explanation(case: Case) -> RenderableType:
    """Everything about one incident on one screen: what was seen, why it was called that, what was done about it."""
    incident, found = case.incident, case.incident.classification
    head = Text.assemble((incident.title, "bold"), f"\n{incident.id}  {status(incident)}, severity {incident.severity}")
    why = [
        f"class {found.label}, confidence {found.confidence:.2f}, credibility {found.credibility:.2f} ({found.basis})"
    ]
    why += [f"severity {incident.severity}: {'; '.join(incident.severity_because)}"] * bool(incident.severity_because)
    why += [f"what speaks for it: {', '.join(incident.support)}"] * bool(incident.support)
    if incident.recurrence_of is not None:
        why.append(f"came back ({incident.recurrence} in a row): before, it was {incident.recurrence_of[:ID_LENGTH]}")
    if incident.split_from is not None:
        why.append(f"its signals outlasted the cause that they were held for: {incident.split_from[:ID_LENGTH]}")
    why += [f"felt by {', '.join(incident.services[1:])}"] * (len(incident.services) > 1)
    why += [f"rule {hit.rule}: {'; '.join(hit.because)}" for hit in found.rules]
    why += [f"cause {cause.score:.0%} {cause.entity} {cause.what}: {cause.because}" for cause in incident.root_causes]
    why += _resemblance(case)
    return Group(head, Text(), _lines("Why", why), Text(), _timeline(case))


def _resemblance(case: Case) -> Iterator[str]:
    """Tell what the last decision knew beyond the rules: past incidents like it, and what would change its mind."""
    if not case.decisions:
        return
    found = list(case.decisions.values())[-1].record.classification
    if found.basis != case.incident.classification.basis:
        yield f"decided as {found.label}: {found.basis}"
    if found.prediction_set != (found.label,):
        yield f"it may be: {', '.join(found.prediction_set) or 'nothing known'}"
    for near in found.neighbours:
        yield f"resembles {near.incident_id[:ID_LENGTH]} ({near.label}), distance {near.distance:.2f}"
    if not found.neighbours:
        yield "resembles no incident that feedback has labelled here"
    for told in found.counterfactuals:
        yield f"without {' and '.join(told.without)} it would be {told.label}"


def describe(record: Any) -> Text:
    """One line about one record."""
    match record:
        case Signal():
            return Text(f"{record.kind} {record.state}: {record.entity} {record.name}. {'; '.join(record.reasons[:1])}")
        case Incident():
            return Text(
                f"incident {record.id[:ID_LENGTH]} revision {record.revision}, {status(record)}: {record.title}"
            )
        case Decision():
            what = f" {record.playbook}" if record.playbook else ""
            style = _VERDICT_STYLES.get(record.verdict, "")
            return Text.assemble("decision: ", (f"{record.verdict}{what}", style), f". {record.reason}")
        case Outcome():
            style = _GOOD.get(record.result, "bold red")
            return Text.assemble(
                f"outcome of {record.playbook} {record.step}: ", (record.result, style), f". {record.reason}"
            )
        case Control():
            return Text(f"{record.by} said {record.kind}{f': {record.note}' if record.note else ''}")
    return Text(f"command: {record.playbook} {record.step} on {record.target}, tier {record.tier}")


def _timeline(case: Case) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, title="What happened (UTC)", title_justify="left")
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for at, line in sorted(_moments(case), key=lambda moment: moment[0]):
        table.add_row(clock(at), line)
    return table


def _moments(case: Case) -> Iterator[tuple[int, Text]]:
    for signal in case.incident.signals:
        yield signal.time_unix_nano, describe(signal)
    for kind in (case.revisions, case.decisions, case.commands, case.outcomes, case.controls):
        for seen in kind.values():
            yield seen.published_unix_nano, describe(seen.record)
    for seen in case.outcomes.values():
        yield from _steps(seen.record)


def _steps(outcome: Outcome) -> Iterator[tuple[int, Text]]:
    timing = outcome.timing
    for at, what in (
        (timing.applied_unix_nano, "applied"),
        (timing.judged_unix_nano, f"judged {outcome.verification}"),
    ):
        if at is not None:
            yield at, Text(f"{outcome.playbook} {outcome.step} {what} by {outcome.executor}")


def _lines(title: str, lines: list[str]) -> Text:
    return Text("\n").join([Text(title, style="italic"), *(Text(f"  {line}") for line in lines)])


def _last_decision(case: Case) -> Text:
    if not case.decisions:
        return Text("-")
    decision: Decision = list(case.decisions.values())[-1].record
    return Text(decision.verdict, style=_VERDICT_STYLES.get(decision.verdict, ""))


def _last_outcome(case: Case) -> Text:
    if not case.outcomes:
        return Text("-")
    outcome: Outcome = list(case.outcomes.values())[-1].record
    return Text(outcome.result, style=_GOOD.get(outcome.result, "bold red"))
