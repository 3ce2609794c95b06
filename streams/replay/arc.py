"""The arc after detection, in recorded time: signals to incidents to decisions to commands, in memory.

The kernels are those of the live stages, each partition its own. What a kernel would publish goes to the kernels that
would read it, at once; nothing leaves this process. What people and executors said is taken from the recording.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from aiokafka.partitioner import murmur2

from schemas.action import ActionCommand
from schemas.codec import encode
from schemas.decision import Decision
from schemas.envelope import Record
from schemas.incident import Incident
from schemas.signal import Progress, Signal
from schemas.topics import ACTIONS, CONTROLS, DEAD_LETTERS, DECISIONS, INCIDENTS, LEARNING, SIGNALS, Topic
from streams.batch import Batch
from streams.course import Course
from streams.decision_to_action import Act
from streams.decision_to_action import maker as act_maker
from streams.incident_to_decision import Decide
from streams.incident_to_decision import maker as decide_maker
from streams.kernel.base import Emit, Kernel, Output
from streams.replay.detection import Detected
from streams.replay.slices import Slices
from streams.replay.span import Place
from streams.signal_to_incident import Correlate
from streams.signal_to_incident import maker as correlate_maker

# What the arc is told from outside while it runs.
TOLD = frozenset({CONTROLS.name, LEARNING.name})


@dataclass(slots=True)
class Made:
    """Everything that would have been published, in that order."""

    incidents: list[Incident] = field(default_factory=list)
    """Every revision."""
    decisions: list[Decision] = field(default_factory=list)
    commands: list[ActionCommand] = field(default_factory=list)
    """Those that an executor would not refuse as expired."""
    dead_letters: Counter[str] = field(default_factory=Counter)

    @property
    def digest(self) -> str:
        """Hash of all incidents and decisions: equal exactly when every byte of them is."""
        found = blake2b(digest_size=16)
        for record in (*self.incidents, *self.decisions):
            found.update(encode(record))
        return found.hexdigest()


@dataclass(slots=True)
class Heard:
    """What the arc hears in one slice of time."""

    signals: list[Signal] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    told: list[tuple[Place, Batch]] = field(default_factory=list)
    recorded: list[tuple[int, Signal | Progress]] = field(default_factory=list)
    """Instead of signals and progress: what a partition of the topic held, in its order."""


class Arc:
    """All partitions of the stages after detection.

    With `as_recorded` the signals are those of the topic, which hold what was not waited for, too: no clock is asked.
    """

    def __init__(self, course: Course, partitions: int, *, as_recorded: bool = False) -> None:
        self.made = Made()
        self._seconds = 0.0  # by the broker's clock
        self._reached = 0  # by event time
        self._heard: dict[int, float] = {}  # when each kernel last heard something
        correlate, decide = correlate_maker(course, self._now), decide_maker(course)
        act = act_maker(course.base)
        self._correlate: list[Correlate] = [correlate(i, None) for i in range(partitions)]
        self._decide: list[Decide] = [decide(i, None) for i in range(partitions)]
        self._act: list[Act] = [act(i, None) for i in range(partitions)]
        self._clocked: list[Correlate | Decide | Act] = [
            *([] if as_recorded else self._correlate),
            *self._decide,
            *self._act,
        ]
        self._readers: dict[str, Sequence[Kernel]] = {
            SIGNALS.name: self._correlate,
            INCIDENTS.name: self._decide,
            DECISIONS.name: self._act,
            ACTIONS.name: self._decide,
        }

    @property
    def waits(self) -> bool:
        """Whether the passing of time alone may bring something about."""
        return any(kernel.waits for kernel in self._clocked)

    def play(self, heard: Heard, end_millis: int) -> None:
        """Play one slice. Signals first: one that is early waits for its time, one that is late is late for good."""
        self._seconds = end_millis / 1000
        self._reached = max([self._reached, *(progress.time_unix_nano for progress in heard.progress)])
        for partition, record in heard.recorded:
            self._carry_out(self._correlate[partition].one(SIGNALS, record))
        for signal in heard.signals:
            self._publish(SIGNALS, signal.key, signal)
        for kernel in self._correlate:
            for progress in heard.progress:
                self._carry_out(kernel.one(SIGNALS, progress))
        self.wake(end_millis)
        for place, batch in heard.told:
            self._tell(place, batch)

    def wake(self, end_millis: int) -> None:
        """Let time pass."""
        self._seconds = end_millis / 1000
        for kernel in self._clocked:
            quiet = self._seconds - self._heard.get(id(kernel), self._seconds)
            self._carry_out(kernel.wake(quiet))

    def _tell(self, place: Place, batch: Batch) -> None:
        topic = CONTROLS if place.topic == CONTROLS.name else LEARNING
        self._carry_out(self._take(self._decide[place.partition], topic, batch))
        if topic is CONTROLS:
            # Decide has answered for what cannot be read; act would say it again.
            said = self._take(self._act[place.partition], topic, batch)
            self._carry_out([output for output in said if not _is_letter(output)])

    def _take(self, kernel: Kernel, topic: Topic, batch: Batch) -> list[Output]:
        self._heard[id(kernel)] = self._seconds
        return kernel.take(topic, batch)

    def _carry_out(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            # What it tells its other partitions is among what was said: it comes when it came.
            if not isinstance(output, Emit) or output.topic is CONTROLS:
                continue
            match output.record:
                case Incident() as incident:
                    self.made.incidents.append(incident)
                case Decision() as decision:
                    self.made.decisions.append(decision)
                case ActionCommand() as command if command.expires_unix_nano > self._reached:
                    self.made.commands.append(command)
            if _is_letter(output):
                self.made.dead_letters[getattr(output.record, "reason", "")] += 1
            else:
                self._publish(output.topic, output.key, output.record, output.partition)

    def _publish(self, topic: Topic, key: bytes, record: Record, partition: int | None = None) -> None:
        """Hand a record to whoever reads its topic, in the partition where Kafka would put it."""
        at = (murmur2(key) & 0x7FFFFFFF) % len(self._decide) if partition is None else partition
        # Through the bytes, as it would be: what a reader refuses live it refuses here.
        batch = Batch(topic.name, at, [encode(record)], [key], [0], [int(self._seconds * 1000)])
        self._carry_out(self._take(self._readers[topic.name][at], topic, batch))

    def _now(self) -> float:
        return self._seconds


def run(
    detected: Sequence[Detected],
    told: Iterable[tuple[Place, Batch]],
    course: Course,
    slices: Slices,
    partitions: int,
) -> Made:
    """Play what detection found and what was said, in order of time."""
    return play(_in_order(detected, told), Arc(course, partitions), slices)


def play(heard_by_end: Iterable[tuple[int, Heard]], arc: Arc, slices: Slices) -> Made:
    """Play slice after slice."""
    last: int | None = None
    for end, heard in heard_by_end:
        # With nothing to hear, time still passes for those who wait for it.
        while last is not None and arc.waits and (last := slices.after(last)) < end:
            arc.wake(last)
        arc.play(heard, end)
        last = end
    return arc.made


def _in_order(detected: Sequence[Detected], told: Iterable[tuple[Place, Batch]]) -> Iterator[tuple[int, Heard]]:
    """Gather what lies in each slice; within one, by topic and partition."""
    found: dict[int, Heard] = {}
    for one in sorted(detected, key=lambda one: one.place):
        source = f"{one.place.topic}/{one.place.partition}"
        for end, signal in one.signals:
            found.setdefault(end, Heard()).signals.append(signal)
        for at in range(0, len(one.progress), 3):
            end, reached, idle = one.progress[at : at + 3]
            told_of = Progress(source=source, time_unix_nano=reached, idle=bool(idle))
            found.setdefault(end, Heard()).progress.append(told_of)
    for place, batch in sorted(told, key=lambda pair: (pair[0], pair[1].offsets[0])):
        # A slice ends with what is said.
        found.setdefault(max(batch.timestamps[0], 0), Heard()).told.append((place, batch))
    for end in sorted(found):
        yield end, found.pop(end)


def _is_letter(output: Output) -> bool:
    return isinstance(output, Emit) and output.topic is DEAD_LETTERS
