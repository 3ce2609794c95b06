"""One incident rebuilt: its recorded signals through today's kernels, compared step by step with what was recorded.

Used by `reflexarc incident replay`. Every record names what made it: signals their detector and its version, decisions
the version of policy and playbooks. The settings are those of that day where they can be had: what a learnt model set
then is taken from the registry's topic. Pure: records in, steps out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from actions.catalog import load
from schemas.action import ActionCommand
from schemas.codec import encode
from schemas.control import Control
from schemas.decision import Check, Decision
from schemas.envelope import Model, Record, content_id
from schemas.errors import PermanentError
from schemas.incident import Incident
from schemas.model import ModelVersion
from schemas.outcome import Outcome
from schemas.signal import Signal
from schemas.topics import CONTROLS, LEARNING, SIGNALS
from streams.batch import Batch
from streams.course import Course
from streams.replay.arc import Arc, Heard, Made, play
from streams.replay.slices import Slices
from streams.replay.span import Place
from streams.settings import Settings
from streams.tail import Seen

Rebuilt = Literal["same", "other", "not rebuilt"]
_NANOS_PER_MILLI = 1_000_000
# Hashes chain a decision to all before it, back to where signals are no longer kept.
_CHAIN = frozenset({"hash", "previous_hash"})


class Step(Model):
    """One thing that happened, in the order in which it was published."""

    time_unix_nano: int
    what: Literal["signal", "revision", "decision", "command", "said", "outcome"]
    made_by: str
    """Which version of what made it."""
    told: tuple[str, ...]
    rebuilt: Rebuilt | None = None
    """What it is when made again; None for what is not made by the arc."""
    differs: tuple[str, ...] = ()


class Replay(Model):
    """An incident, step by step."""

    incident_id: str
    settings: str
    """Whether the policy and playbooks are those of that day."""
    steps: tuple[Step, ...]


def rebuild(beginning: str, seen: Sequence[Seen], settings: Settings, partitions: int) -> Replay:
    """Rebuild one incident.

    Args:
        beginning: of the incident's id.
        seen: records of the topics signals, incidents, decisions, actions, controls, learning and models.
        settings: of today, as people set them.
        partitions: how many the topics have that are kept by environment.

    Raises:
        PermanentError: there is none that begins so, or more than one.

    """
    identity, scope = _find(beginning, seen)
    decisions = [one.record for one in seen if isinstance(one.record, Decision) and one.record.incident_id == identity]
    mine = [one for one in seen if _belongs(one.record, identity)]
    course = _of_that_day([one.record for one in mine], seen, settings)
    made = _made_again(scope, seen, course, partitions)
    anew: dict[str, Record] = {_key(one): one for one in (*made.incidents, *made.decisions)}
    steps = [*_signals(identity, seen), *(_step(one, anew) for one in mine)]
    return Replay(
        incident_id=identity,
        settings=settings_of(decisions, course),
        steps=tuple(sorted(steps, key=lambda step: step.time_unix_nano)),
    )


def _find(beginning: str, seen: Iterable[Seen]) -> tuple[str, str]:
    found = {one.record.id: one.record.scope for one in seen if isinstance(one.record, Incident)}
    fitting = [(identity, scope) for identity, scope in found.items() if identity.startswith(beginning)]
    if len(fitting) != 1:
        raise PermanentError(f"{len(fitting) or 'no'} incidents begin with {beginning!r}; see `reflexarc incidents`")
    return fitting[0]


def _of_that_day(records: Sequence[Record], seen: Iterable[Seen], settings: Settings) -> Course:
    """Give the settings as the learnt models that the records name had made them, whatever people have set since."""
    named = {identity for one in records for identity in getattr(one, "models", ())}
    named |= {i for one in records if isinstance(one, Incident) for signal in one.signals for i in signal.models}
    versions = [one.record for one in seen if isinstance(one.record, ModelVersion) and one.record.id in named]
    return Course(settings, versions, over_all=True)


def settings_of(decisions: Sequence[Decision], course: Course) -> str:
    """Say whether the policy that decided is here."""
    if not decisions:
        return "nothing was decided"
    wanted, then = decisions[0].policy_version, course.at(decisions[0].time_unix_nano)
    found = _policy_version(then.settings)
    if found != wanted:
        return (
            f"decided by policy {wanted}, which is not here: rebuilt with today's, {found}. "
            "Check out the settings and playbooks of that day to rebuild with them"
        )
    models = then.models("policy")
    if not models:
        return f"policy and playbooks as today: {wanted}"
    return f"policy and playbooks of that day: {wanted}, with model {', '.join(models)}"


def _policy_version(settings: Settings) -> str:
    return content_id(settings.policy.version, load(connectors=settings.connectors.names).version)


def _made_again(scope: str, seen: Sequence[Seen], course: Course, partitions: int) -> Made:
    """Play the signals of the scope's environment, and all that was said and came of actions in its partition."""
    partition = next(s.partition for s in seen if isinstance(s.record, Incident) and s.record.scope == scope)
    of_signals = {s.partition for s in seen if isinstance(s.record, Signal) and s.record.entity.scope == scope}
    told = [one for one in seen if isinstance(one.record, (Control, Outcome)) and one.partition == partition]
    return again([s for s in seen if s.topic is SIGNALS and s.partition in of_signals], told, course, partitions)


def again(signals: Iterable[Seen], told: Sequence[Seen], course: Course, partitions: int) -> Made:
    """Play recorded signals in the order of their partitions, and between them what was said and came of actions."""
    slices = Slices(one.published_unix_nano // _NANOS_PER_MILLI for one in told)
    heard: dict[int, Heard] = {}
    came: dict[int, int] = {}
    for one in signals:
        # Clocks of writers may step back; the order of the partition stands.
        millis = came[one.partition] = max(came.get(one.partition, 0), one.published_unix_nano // _NANOS_PER_MILLI)
        heard.setdefault(slices.after(millis - 1), Heard()).recorded.append((one.partition, one.record))
    for one in told:
        slot = heard.setdefault(one.published_unix_nano // _NANOS_PER_MILLI, Heard())
        slot.told.append((Place(one.topic.name, one.partition), _batch(one)))
    arc = Arc(course, partitions, as_recorded=True)
    return play(sorted(heard.items(), key=lambda pair: pair[0]), arc, slices)


def _batch(seen: Seen) -> Batch:
    record = seen.record
    key = record.key.encode() if isinstance(record, Control) else record.target.environment.encode()
    topic = CONTROLS if isinstance(record, Control) else LEARNING
    millis = seen.published_unix_nano // _NANOS_PER_MILLI
    return Batch(topic.name, seen.partition, [encode(record)], [key], [seen.offset], [millis])


def _belongs(record: Any, identity: str) -> bool:
    return isinstance(record, (Incident, Decision, ActionCommand, Outcome, Control)) and identity == (
        record.id if isinstance(record, Incident) else record.incident_id
    )


def _signals(identity: str, seen: Iterable[Seen]) -> Iterator[Step]:
    """Give the signals that the incident's revisions carry, each once."""
    carried: dict[str, Signal] = {}
    for one in seen:
        if isinstance(one.record, Incident) and one.record.id == identity:
            carried |= {signal.id: signal for signal in one.record.signals}
    for signal in carried.values():
        where = "" if signal.origin is None else f", from {signal.origin.topic}/{signal.origin.partition}"
        where += "" if signal.origin is None else f" offset {signal.origin.offset}"
        yield Step(
            time_unix_nano=signal.time_unix_nano,
            what="signal",
            made_by=_with(f"{signal.detector} {signal.model_version}", signal.models),
            told=(f"{signal.kind} {signal.state}: {signal.entity} {signal.name}{where}", *signal.reasons),
        )


def _step(seen: Seen, anew: Mapping[str, Record]) -> Step:
    match seen.record:
        case Incident() as incident:
            return _compared(seen, "revision", _with("", incident.models), tuple(_of_revision(incident)), anew)
        case Decision() as decision:
            by = f"policy {decision.policy_version}"
            if decision.playbook is not None:
                by += f", {decision.playbook} {decision.playbook_version}"
            return _compared(seen, "decision", _with(by, decision.models), tuple(_of_decision(decision)), anew)
        case ActionCommand() as command:
            told = f"{command.playbook} {command.step} on {command.target}, tier {command.tier}"
            return _plain(seen, "command", f"{command.playbook} {command.playbook_version}", (told,))
        case Control() as control:
            told = f"{control.kind}{f': {control.note}' if control.note else ''}"
            return _plain(seen, "said", control.by, (told,))
    outcome: Outcome = seen.record
    told = f"{outcome.playbook} {outcome.step}: {outcome.result}, {outcome.reason}"
    states = (f"before {outcome.before}", f"after {outcome.after}")
    return _plain(seen, "outcome", outcome.executor, (told, *states))


def _with(by: str, models: Sequence[str]) -> str:
    return ", ".join([*([by] if by else []), *(f"model {identity}" for identity in models)])


def _plain(seen: Seen, what: Literal["command", "said", "outcome"], by: str, told: tuple[str, ...]) -> Step:
    return Step(time_unix_nano=seen.published_unix_nano, what=what, made_by=by, told=told)


def _compared(
    seen: Seen, what: Literal["revision", "decision"], by: str, told: tuple[str, ...], anew: Mapping[str, Record]
) -> Step:
    mine, other = seen.record, anew.get(_key(seen.record))
    differs = () if other is None else tuple(_differences(mine, other))
    rebuilt: Rebuilt = "not rebuilt" if other is None else "other" if differs else "same"
    return Step(
        time_unix_nano=seen.published_unix_nano, what=what, made_by=by, told=told, rebuilt=rebuilt, differs=differs
    )


def _key(record: Record) -> str:
    return f"{record.id}/{record.revision}" if isinstance(record, Incident) else str(getattr(record, "id", ""))


def _differences(mine: Record, other: Record) -> Iterator[str]:
    """Name the fields that are not the same, with both values where they are short."""
    if isinstance(mine, Decision) and isinstance(other, Decision):
        yield from _checked_otherwise(mine, other)
    theirs = other.model_dump(mode="json")
    for name, value in mine.model_dump(mode="json").items():
        if name not in _CHAIN and name != "checks" and value != theirs[name]:
            yield f"{name}: {_short(value)} then, {_short(theirs[name])} now"


def _checked_otherwise(mine: Decision, other: Decision) -> Iterator[str]:
    """Name the checks that are not the same, one by one."""
    then, now = ({check.name: _told(check) for check in one.checks} for one in (mine, other))
    for name in dict.fromkeys([*then, *now]):
        if then.get(name) != now.get(name):
            yield f"check {name}: {then.get(name, 'not made')} then, {now.get(name, 'not made')} now"


def _told(check: Check) -> str:
    return f"{'passed' if check.passed else 'FAILED'} ({check.detail})"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _of_revision(incident: Incident) -> Iterator[str]:
    found = incident.classification
    yield f"revision {incident.revision}, {incident.status}: {incident.title}"
    yield f"class {found.label}, confidence {found.confidence:.2f}, credibility {found.credibility:.2f} ({found.basis})"
    yield from (f"rule {hit.rule}: {'; '.join(hit.because)}" for hit in found.rules)
    yield from (f"like {near.incident_id}: {near.label}, distance {near.distance:.3g}" for near in found.neighbours)
    yield from (f"cause {one.score:.0%} {one.entity} {one.what}: {one.because}" for one in incident.root_causes)
    yield f"{len(incident.active_subjects)} subjects fire"


def _of_decision(decision: Decision) -> Iterator[str]:
    yield f"{decision.verdict} at tier {decision.tier}: {decision.reason}"
    yield from (f"{'passed' if one.passed else 'FAILED'} {one.name}: {one.detail}" for one in decision.checks)
    if decision.recomputed_hash() != decision.hash:
        yield "ALTERED: its hash does not fit its content"
