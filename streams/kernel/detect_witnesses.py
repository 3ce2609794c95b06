"""What the other witnesses found, in words: signals of entities, of peers and of objectives.

Called by `streams.kernel.detect_metrics` with verdicts of `detectors.witnesses`. Each witness speaks of a subject of
its own, so that what one of them takes back the others can still hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from detectors import entity_watch, evidence, objectives, peers, profile
from detectors.bank import Change, Verdict
from detectors.witnesses import Witnesses
from schemas.envelope import content_id
from schemas.signal import Origin, Signal, Support, signal_id
from streams.decoding.series import Series, SeriesTable

ENTITY = "reflexarc.entity"
PROFILE = "reflexarc.profile"
# A profile is told by its largest departures: the others are near nothing.
MAX_PROFILE = 64
VERSION = "1"
_SUPPORT: dict[str, Support] = {peers.BY: "peers", objectives.BY: "objective"}
_STATES = {Change.FIRING: "firing", Change.CLEARED: "cleared", Change.ADAPTED: "adapted"}


def signal(verdict: Verdict, table: SeriesTable, origin: Origin) -> Signal:
    """Make the signal of a verdict."""
    if verdict.by == profile.BY:
        return _profile(verdict, table, origin)
    series = table.describe(verdict.series)
    of_entity = verdict.by == entity_watch.BY
    raised = verdict.change is Change.FIRING and verdict.by != objectives.BY
    reasons = {
        entity_watch.BY: lambda: _of_entity(verdict, table),
        peers.BY: lambda: _of_peers(verdict, series),
        objectives.BY: lambda: _of_objective(verdict, series),
    }[verdict.by]()
    made = _bare(
        verdict.by,
        series,
        verdict.change,
        onset=verdict.onset_unix_nano,
        time=verdict.time_unix_nano,
        origin=origin,
    )
    return made.model_copy(
        update={
            "p_value": evidence.excursion_p_value(verdict.height) if raised else None,
            "observed": verdict.observed,
            "expected": verdict.expected,
            "unit": "1" if of_entity else series.unit,
            "models": verdict.models,
            "reasons": reasons,
        }
    )


def _profile(verdict: Verdict, table: SeriesTable, origin: Origin) -> Signal:
    """Say what an instance looks like: of series with the same name the one that is farthest out counts."""
    entity, far = table.describe(verdict.series).entity, dict[str, float]()
    for row, departure in verdict.parts:
        name = table.describe(row).name
        far[name] = max(far.get(name, 0.0), round(departure, 3), key=abs)
    largest = sorted(far, key=lambda name: (-abs(far[name]), name))[:MAX_PROFILE]
    subject = content_id(profile.BY, str(entity))
    return Signal(
        id=content_id(subject, verdict.onset_unix_nano, verdict.time_unix_nano),
        kind="metric",
        state="noted",
        entity=entity,
        subject=subject,
        name=PROFILE,
        attributes={name: far[name] for name in largest},
        time_unix_nano=verdict.time_unix_nano,
        onset_unix_nano=verdict.onset_unix_nano,
        observed=verdict.observed,
        unit="1",
        detector=profile.BY,
        model_version=VERSION,
        reasons=(f"how far {len(far)} metrics are from their levels before, as the asinh of robust spreads",),
        origin=origin,
    )


def gone(
    witnesses: Witnesses, table: SeriesTable, rows: list[int], *, now: int, silent: float, origin: Origin
) -> Iterator[Signal]:
    """Say of what fired when its series fell silent that it is no longer abnormal; nor has it recovered."""
    reason = (f"no samples for {silent:g} s: forgotten, recovered or not",)
    lost: list[tuple[str, int, int | None]] = [
        (entity_watch.BY, row, witnesses.entities.firing(entity)) for entity, row in witnesses.last_of(rows)
    ]
    firing: tuple[tuple[str, Callable[[int], int | None]], ...] = (
        (peers.BY, witnesses.peers.firing),
        (objectives.BY, witnesses.objectives.firing),
    )
    lost += [(by, row, onset(row)) for row in rows for by, onset in firing]
    for by, row, began in lost:
        if began is not None:
            made = _bare(by, table.describe(row), Change.ADAPTED, onset=began, time=now + 1, origin=origin)
            yield made.model_copy(update={"reasons": reason})


def _bare(by: str, series: Series, change: Change, *, onset: int, time: int, origin: Origin) -> Signal:
    of_entity, state = by == entity_watch.BY, _STATES[change]
    subject = content_id(by, str(series.entity) if of_entity else series.id)
    return Signal(
        id=signal_id(subject, state, onset),
        kind="metric",
        state=state,
        entity=series.entity,
        subject=subject,
        name=ENTITY if of_entity else series.name,
        attributes={} if of_entity else series.attributes,
        time_unix_nano=time,
        onset_unix_nano=onset,
        unit="" if of_entity else series.unit,
        detector=by,
        support=_SUPPORT.get(by, "own history"),
        model_version=VERSION,
        reasons=(),
        origin=origin,
    )


def _of_entity(verdict: Verdict, table: SeriesTable) -> tuple[str, ...]:
    energy = f"energy {verdict.observed:.3g}, usually {verdict.expected:.2g}"
    if verdict.change is not Change.FIRING:
        return (_over(verdict, energy),)
    loudest = ", ".join(f"{_named(table.describe(row))} ({far:.0f})" for row, far in verdict.parts)
    return (
        f"as a whole unlike itself: {energy}, the root mean square of what its metrics are out by in usual spreads",
        f"most of all, in spreads: {loudest}",
        f"{_odds(verdict)}, against its own record of excursions",
    )


def _of_peers(verdict: Verdict, series: Series) -> tuple[str, ...]:
    unit = _unit(series)
    others = f"{verdict.observed:.4g}{unit}, its {verdict.peers} peers {verdict.expected:.4g}{unit}"
    if verdict.change is not Change.FIRING:
        return (_over(verdict, others),)
    far = abs(verdict.observed - verdict.expected) / verdict.scale
    where = "above" if verdict.observed > verdict.expected else "below"
    return (
        f"unlike its peers: {others} ± {verdict.scale:.2g}: {far:.1f} robust deviations {where} them",
        f"and unlike its usual difference from them: evidence of {verdict.height:.1f} decades",
        _odds(verdict),
    )


def _of_objective(verdict: Verdict, series: Series) -> tuple[str, ...]:
    unit = _unit(series)
    where = "above" if verdict.observed > verdict.expected else "below"
    values = f"{verdict.observed:.4g}{unit}, {where} the objective of {verdict.expected:.4g}{unit}"
    if verdict.change is not Change.FIRING:
        return (_over(verdict, f"{verdict.observed:.4g}{unit}, objective {verdict.expected:.4g}{unit}"),)
    return (f"{values} at {objectives.LOOKS} looks in a row",)


def _over(verdict: Verdict, values: str) -> str:
    if verdict.change is Change.CLEARED:
        return f"back to normal: {values}"
    seconds = (verdict.time_unix_nano - verdict.onset_unix_nano) / 1e9
    return f"{values}: stayed there for {seconds:.0f} s, so this is its normal now"


def _odds(verdict: Verdict) -> str:
    return f"p = {evidence.excursion_p_value(verdict.height):.1g}, raised below {verdict.level:.1g}"


def _unit(series: Series) -> str:
    # UCUM writes what is counted in braces: {request}/s.
    return "" if series.unit in {"", "1"} else f" {series.unit.replace('{', '').replace('}', '')}"


def _named(series: Series) -> str:
    shown = ", ".join(f"{name}={value}" for name, value in series.attributes.items())
    return f"{series.name}{{{shown}}}"[:120] if shown else series.name[:120]
