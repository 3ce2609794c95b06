"""The arc from raw records to action commands in one process, on the real kernels, without Kafka or a clock.

What one kernel emits the next one takes, encoded and decoded as on a topic. Every service is granted autonomy, so that
what the policy holds back it holds back for its own reasons.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from actions.catalog import load
from actions.settings import Grant, PolicySettings
from schemas.action import ActionCommand
from schemas.codec import encode
from schemas.dead_letter import DeadLetter
from schemas.decision import Decision
from schemas.incident import Incident
from schemas.topics import ACTIONS, DECISIONS, INCIDENTS, SIGNALS, Topic
from streams import raw_to_signal
from streams.batch import Batch
from streams.course import Course
from streams.decision_to_action import Act
from streams.incident_to_decision import Decide
from streams.kernel.base import Emit, Kernel, Output
from streams.settings import Settings
from streams.signal_to_incident import Correlate, rules_of

_SECOND_MILLIS = 1000
AUTONOMOUS = PolicySettings(grants=(Grant(tier="autonomous"),))


class Sent(NamedTuple):
    """One raw record as a producer sends it, and when the broker got it."""

    topic: Topic
    key: bytes
    value: bytes
    broker_millis: int


@dataclass
class Seen:
    """What came out."""

    incidents: dict[str, list[Incident]] = field(default_factory=lambda: defaultdict(list))
    decisions: list[Decision] = field(default_factory=list)
    commands: list[ActionCommand] = field(default_factory=list)
    dead_letters: Counter[str] = field(default_factory=Counter)


class Arc:
    """One partition of everything."""

    def __init__(self, policy: PolicySettings = AUTONOMOUS) -> None:
        settings = Settings()
        lanes = raw_to_signal.stage(Course(settings), 1).lanes
        correlate = Correlate(
            rules_of(settings.correlate),
            max_hold_seconds=settings.correlate.max_hold_seconds,
            clock=lambda: 0.0,
        )
        self._detect: dict[Topic, Kernel] = {lane.inputs[0]: lane.make(0, None) for lane in lanes}
        decide, act = Decide(load(), policy, 0), Act(policy, 0)
        self._next: dict[Topic, tuple[Kernel, ...]] = {
            SIGNALS: (correlate,),
            INCIDENTS: (decide,),
            DECISIONS: (act,),
            ACTIONS: (decide,),
        }
        self._offsets: Counter[Topic] = Counter()
        self.seen = Seen()

    def run(self, sent: Iterable[Sent]) -> Seen:
        """Take records in the order in which the broker got them, a batch a second."""
        ordered = sorted(sent, key=lambda one: one.broker_millis)
        for _, second in groupby(ordered, key=lambda one: one.broker_millis // _SECOND_MILLIS):
            by_topic: dict[Topic, list[Sent]] = defaultdict(list)
            for one in second:
                by_topic[one.topic].append(one)
            for topic, records in by_topic.items():
                self._pass_on(self._detect[topic].take(topic, self._batch(topic, records)))
        return self.seen

    def _batch(self, topic: Topic, records: Sequence[Sent]) -> Batch:
        first = self._offsets[topic]
        self._offsets[topic] += len(records)
        return Batch(
            topic.full_name("adversary"),
            0,
            [one.value for one in records],
            [one.key for one in records],
            range(first, first + len(records)),
            [one.broker_millis for one in records],
        )

    def _pass_on(self, outputs: Iterable[Output]) -> None:
        """Hand what came out to whoever reads its topic, in order."""
        waiting = [output for output in outputs if isinstance(output, Emit)]
        while waiting:
            emit = waiting.pop(0)
            self._note(emit)
            for kernel in self._next.get(emit.topic, ()):
                record = Sent(emit.topic, emit.key, encode(emit.record), 0)
                outcome = kernel.take(emit.topic, self._batch(emit.topic, [record]))
                waiting += [output for output in outcome if isinstance(output, Emit)]

    def _note(self, emit: Emit) -> None:
        match emit.record:
            case Incident():
                self.seen.incidents[emit.record.id].append(emit.record)
            case Decision():
                self.seen.decisions.append(emit.record)
            case ActionCommand():
                self.seen.commands.append(emit.record)
            case DeadLetter():
                self.seen.dead_letters[emit.record.reason] += 1
