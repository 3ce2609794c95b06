"""A backtest: recorded telemetry through the arc as it is configured, or as it might be.

Called by `reflexarc backtest`; what comes next is `streams.replay.figures`. Reads an archive, keeps everything in
memory, publishes nothing and executes nothing: there is no producer and no connector in reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.codec import decode
from schemas.errors import RecordError
from schemas.model import ModelVersion
from schemas.signal import Signal
from schemas.topics import BY_NAME, INCIDENT_PARTITIONS, SIGNALS
from streams.batch import Batch
from streams.course import Course
from streams.replay.arc import TOLD, Made, run
from streams.replay.archive import Archive
from streams.replay.detection import Detected, detect, part
from streams.replay.slices import Slices
from streams.replay.span import Place
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the arc made of a recording, and what was recorded of people and executors."""

    made: Made
    signals: tuple[Signal, ...]
    told: tuple[Any, ...]
    """Controls and outcomes, as they were recorded."""
    raw_records: int
    first_millis: int
    last_millis: int


class Backtest:
    """One recording, to be played with any number of configurations."""

    def __init__(self, archive: Archive, *, workers: int = 1, moved: Callable[[int], None] = lambda _: None) -> None:
        self._archive = archive
        self._workers = workers
        self._moved = moved
        self._told = tuple(_one_by_one(archive))
        self._slices = Slices(batch.timestamps[0] for _, batch in self._told)
        self._partitions = archive.partitions().get(SIGNALS.name, INCIDENT_PARTITIONS)
        # Detection takes nearly all of the time, and is the same where its settings are.
        self._detected: dict[tuple[object, ...], list[Detected]] = {}

    def play(self, settings: Settings, versions: Iterable[ModelVersion] = ()) -> Replayed:
        """Play the recording with these settings, and over them what learnt versions set while they were live."""
        course = Course(settings, versions)
        detected = self._detect(course)
        made = run(detected, self._told, course, self._slices, self._partitions)
        for one in detected:
            made.dead_letters.update(one.dead_letters)
        return Replayed(
            made=made,
            signals=tuple(signal for one in detected for _, signal in one.signals),
            told=tuple(_readable(self._told)),
            raw_records=sum(one.records for one in detected),
            first_millis=self._archive.since_millis,
            last_millis=self._archive.until_millis,
        )

    def _detect(self, course: Course) -> list[Detected]:
        key = course.base.detect.model_dump_json(), course.held
        if key not in self._detected:
            self._detected[key] = detect(
                self._archive,
                course,
                self._slices,
                self._partitions,
                workers=self._workers,
                moved=self._moved,
            )
        return self._detected[key]


def _one_by_one(archive: Archive) -> Iterator[tuple[Place, Batch]]:
    """Read what people and executors said, each record as a batch of its own."""
    places = {file.place for file in archive.manifest.files if file.topic in TOLD}
    for place, batch in archive.batches(places):
        for i in range(len(batch)):
            yield place, part(batch, i, i + 1)


def _readable(told: Sequence[tuple[Place, Batch]]) -> Iterator[Any]:
    for place, batch in told:
        try:
            yield decode(BY_NAME[place.topic], batch.keys[0], batch.values[0])
        except RecordError:
            continue  # counted as a dead letter by the kernel that refused it
