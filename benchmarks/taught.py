"""`python -m benchmarks.taught --data DIR --part A`: causes that people have taught, named live.

Row 6 again, by what a worker runs. The runs of DBSherlock go through the kernels of the live stages as they come by
default: detect, correlate, decide. When a run is over, somebody says by the control `feedback` what the incident in it
was; that is all that teaches. Each run is then decided about by a decide stage that has heard what was said of the
others (of part A, as in row 6), and by one that has never heard of its cause.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from actions.catalog import load
from actions.settings import PolicySettings
from benchmarks.familiarity import wilson
from benchmarks.scoreboard import telemetry
from benchmarks.scoreboard.live import Fault, LivePartition, Telemetry
from benchmarks.scoreboard.rows.dbsherlock import LEARN_FROM, read_runs
from schemas.control import Control
from schemas.decision import Decision
from schemas.envelope import NANOS
from schemas.incident import Incident
from schemas.topics import CONTROLS, INCIDENTS
from streams.incident_to_decision import Decide
from streams.kernel.base import Emit

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run, and the incidents that were made of it."""

    cause: str
    fault: Fault
    revisions: tuple[Incident, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """When a run was first said to be one thing, by the decisions about it: seconds from its onset; None: never.

    `last` is what the last decision before the end of the fault said: `unknown` also where it left more than one class.
    """

    cause: str
    first: str | None = None
    seconds: float | None = None
    last: str = UNKNOWN


def recorded(folders: Sequence[Path]) -> Iterator[Recorded]:
    """Play the runs of some folders."""
    runs = [run for folder in folders for run in read_runs(folder)]
    for number, (run, told) in enumerate(zip(runs, telemetry.dbsherlock(folders), strict=True)):
        # An incident is known by its service and onset: two runs at the same time would be one and the same.
        later, (fault,) = number * telemetry.WEEK, told.faults
        fault = Fault(fault.start + later, fault.end + later, fault.calm_from + later)
        moved = Telemetry(told.subjects, told.subject, told.time + later, told.value, [fault])
        yield Recorded(run.cause, fault, tuple(LivePartition().revisions(moved)))


def taught(run: Recorded) -> Control | None:
    """Say what a run was; returns what the decide stage makes of that for all partitions."""
    kernel, during = Decide(load(), PolicySettings(), 0, partitions=2), None
    for revision in run.revisions:
        kernel.one(INCIDENTS, revision)
        if run.fault.start <= revision.updated_unix_nano <= run.fault.end:
            during = revision
    if during is None:
        return None
    said = Control(
        id=f"said-{during.id}",
        kind="feedback",
        by="whoever labelled it",
        time_unix_nano=run.fault.end,
        environment=during.environment,
        incident_id=during.id,
        label=run.cause,
    )
    told = [one.record for one in kernel.one(CONTROLS, said) if isinstance(one, Emit)]
    return next((one for one in told if isinstance(one, Control)), None)


def named(run: Recorded, lessons: Iterable[Control]) -> Named:
    """Decide about a run after these lessons."""
    kernel = Decide(load(), PolicySettings(), 0)
    for lesson in lessons:
        kernel.one(CONTROLS, lesson)
    found = Named(run.cause)
    for revision in run.revisions:
        if revision.updated_unix_nano > run.fault.end:
            break
        for output in kernel.one(INCIDENTS, revision):
            if isinstance(output, Emit) and isinstance(output.record, Decision):
                found = _with(found, output.record, run.fault)
    return found


def _with(found: Named, decision: Decision, fault: Fault) -> Named:
    said = decision.classification
    # What may be one thing or another is for people to say.
    label = said.label if said.prediction_set == (said.label,) else UNKNOWN
    if label == UNKNOWN or found.first is not None:
        return Named(found.cause, found.first, found.seconds, label)
    return Named(found.cause, label, (decision.time_unix_nano - fault.start) / NANOS, label)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled data")
    parser.add_argument("--part", default="A")
    asked = parser.parse_args(arguments)
    source = asked.data / "dbsherlock" / LEARN_FROM
    folder = asked.data / "dbsherlock" / asked.part
    teachers = list(recorded([source]))
    said = [(run, taught(run)) for run in teachers]
    judged = teachers if folder == source else list(recorded([folder]))
    others = [
        (run, [(by.cause, lesson) for by, lesson in said if by is not run and lesson is not None]) for run in judged
    ]
    _print("cause taught", [named(run, [lesson for _, lesson in lessons]) for run, lessons in others])
    never = [named(run, [lesson for cause, lesson in lessons if cause != run.cause]) for run, lessons in others]
    _print_share("cause never taught: no class named at the end", [one.last == UNKNOWN for one in never])
    return 0


def _print(name: str, found: Sequence[Named]) -> None:
    late = [one for one in found if one.seconds is not None and one.seconds >= 0]
    _print_share(f"{name}: named, the first name right", [one in late and one.first == one.cause for one in found])
    _print_share(f"{name}: named before the onset", [one.seconds is not None and one.seconds < 0 for one in found])
    _print_share(f"{name}: right at the end", [one.last == one.cause for one in found])
    _print_share(f"{name}: wrong at the end", [one.last not in {one.cause, UNKNOWN} for one in found])
    print(f"{f'{name}: onset to the first name, median':<52}{median([one.seconds or 0.0 for one in late]):7.1f} s")


def _print_share(name: str, of: Sequence[bool]) -> None:
    print(f"{name:<52}{wilson(sum(of), len(of))}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
