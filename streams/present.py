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
MINUTE_SECONDS = 60
# Signals of which each has a line: with what else there is to say, they fit a screen.
MAX_SIGNALS = 12
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
    """Everything about one incident on one screen: how it is now, why, and what happened."""
    incident, found = case.incident, case.incident.classification
    head = Text.assemble((incident.title, "bold"), f"\n{incident.id}  {status(incident)}, severity {incident.severity}")
    why = [
        f"class {found.label}, confidence {found.confidence:.2f}, credibility {found.credibility:.2f} ({found.basis})"
    ]
    why += [f"severity because {'; '.join(incident.severity_because)}"] * bool(incident.severity_because)
    why += [f"what speaks for it: {', '.join(incident.support)}"] * bool(incident.support)
    why += [f"rule {hit.rule}: {'; '.join(hit.because)}" for hit in found.rules]
    why += [f"cause {cause.score:.0%} {cause.entity} {cause.what}: {cause.because}" for cause in incident.root_causes]
    why += _resemblance(case)
    return Group(head, _lines("Now", _now(case)), Text(), _lines("Why", why), Text(), _timeline(case))


def _now(case: Case) -> list[str]:
    """Tell what a person needs first: since when, who feels it, who looks after it, what is done and what is asked."""
    incident = case.incident
    ended = incident.resolved_unix_nano
    lasted = f", lasted {_span(ended - incident.onset_unix_nano)}" if ended is not None else ""
    opened = _span(incident.opened_unix_nano - incident.onset_unix_nano)
    told = [f"began {moment(incident.onset_unix_nano)} UTC, opened {opened} later{lasted}"]
    felt = [*incident.services_because, *incident.services[1:]][: max(0, len(incident.services) - 1)]
    told += [f"felt by {len(felt)} other{'s' * (len(felt) > 1)}: {'; '.join(felt[:4])}"] * bool(felt)
    told += [f"acknowledged by {', '.join(incident.acknowledged_by)}"] * bool(incident.acknowledged_by)
    muted = sorted({signal.name for signal in incident.signals if signal.muted})
    told += [f"silenced or inhibited, so of no weight: {', '.join(muted[:4])}"] * bool(muted)
    if incident.recurrence_of is not None:
        told.append(f"came back ({incident.recurrence} in a row): before, it was {incident.recurrence_of[:ID_LENGTH]}")
    if incident.split_from is not None:
        told.append(f"its signals outlasted the cause that they were held for: {incident.split_from[:ID_LENGTH]}")
    return [*told, *_done(case)]


def _done(case: Case) -> Iterator[str]:
    """Tell the last decision, what stood in its way, and what came of it."""
    if not case.decisions:
        yield "nothing decided yet"
        return
    decision: Decision = list(case.decisions.values())[-1].record
    yield f"decided: {decision.verdict}{f' {decision.playbook}' if decision.playbook else ''}. {decision.reason}"
    failed = [f"{check.name} ({check.detail})" for check in decision.checks if not check.passed]
    if failed and decision.verdict != "act" and case.incident.status == "open":
        yield f"in the way: {'; '.join(failed[:4])}"
    if decision.verdict == "ask":
        answered = decision.id[:ID_LENGTH]
        yield f"waits for you: `reflexarc approve {answered}` or `reflexarc reject {answered}`"
    for seen in list(case.outcomes.values())[-1:]:
        yield f"came of it: {seen.record.playbook} {seen.record.step} {seen.record.result}. {seen.record.reason}"


def _span(nanos: int) -> str:
    seconds = nanos / NANOS
    if seconds < MINUTE_SECONDS:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), MINUTE_SECONDS)
    return f"{minutes} min {rest} s"


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
    signals = case.incident.signals
    for signal in signals[:MAX_SIGNALS]:
        yield signal.time_unix_nano, describe(signal)
    if len(signals) > MAX_SIGNALS:
        more = len(signals) - MAX_SIGNALS
        yield (
            signals[-1].time_unix_nano,
            Text(f"{more} more signals that it carries, the last of them now, are not shown"),
        )
    yield from _turns(case)
    for kind in (case.decisions, case.commands, case.outcomes, case.controls):
        for seen in kind.values():
            yield seen.published_unix_nano, describe(seen.record)
    for seen in case.outcomes.values():
        yield from _steps(seen.record)


def _turns(case: Case) -> Iterator[tuple[int, Text]]:
    """Revisions that say more than how many signals fire: that is what their lines are for."""
    before: tuple[object, ...] = ()
    for number in sorted(case.revisions):
        one: Incident = case.revisions[number].record
        now = one.status, one.severity, one.classification.label, one.services, bool(one.active_subjects)
        if now != before:
            what = f"incident {status(one)}: {one.classification.label.replace('_', ' ')}, severity {one.severity}"
            felt = f", felt by {', '.join(one.services[1:])}" if len(one.services) > 1 else ""
            yield case.revisions[number].published_unix_nano, Text(what + felt)
        before = now


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
