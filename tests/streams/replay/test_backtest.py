"""The same recording gives the same incidents and decisions, byte for byte, however it is read; nothing leaves."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from actions.settings import Grant, PolicySettings
from benchmarks.adversary.arc import Sent
from benchmarks.adversary.world import T0, Weather, sent, telemetry
from schemas.control import Control, ControlKind
from schemas.envelope import NANOS
from schemas.topics import CONTROLS, RAW_METRICS
from streams.batch import Batch
from streams.replay import json_lines as archived_lines
from streams.replay.archive import Archive
from streams.replay.backtest import Backtest, Replayed
from streams.replay.span import Place, Span
from streams.settings import CorrelateSettings, Settings
from tests.streams.replay.recorded import bad_rollout, kept

AUTONOMOUS = Settings(policy=PolicySettings(grants=(Grant(tier="autonomous"),)))
ASKING = Settings(policy=PolicySettings(grants=(Grant(tier="approve"),)))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return kept(tmp_path_factory.mktemp("recorded") / "archive", bad_rollout())


def written(replayed: Replayed) -> list[str]:
    return [one.model_dump_json() for one in (*replayed.made.incidents, *replayed.made.decisions)]


@pytest.fixture(scope="module")
def once(recording: Archive) -> Replayed:
    return Backtest(recording).play(AUTONOMOUS)


def test_what_was_recorded_is_found_and_acted_upon(once: Replayed) -> None:
    assert {incident.classification.label for incident in once.made.incidents} == {"deployment_regression"}
    assert [(one.verdict, one.playbook) for one in once.made.decisions] == [("act", "rollback-deployment")]
    assert [command.playbook for command in once.made.commands] == ["rollback-deployment"]
    assert not once.made.dead_letters


def test_two_runs_say_the_same(recording: Archive, once: Replayed) -> None:
    again = Backtest(recording).play(AUTONOMOUS)
    assert written(again) == written(once)
    assert again.made.digest == once.made.digest


def test_more_processes_say_the_same(recording: Archive, once: Replayed) -> None:
    moved: list[int] = []
    beside = Backtest(recording, workers=2, moved=moved.append).play(AUTONOMOUS)
    assert written(beside) == written(once)
    assert sum(moved) == beside.raw_records == once.raw_records


class _Shuffled(Archive):
    """An archive whose partitions come in any interleaving, in pieces of any size."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, Span())
        self._random = random.Random(seed)

    def batches(self, places: object) -> Iterator[tuple[Place, Batch]]:
        waiting = {file.place: list(super(_Shuffled, self).batches({file.place})) for file in self.manifest.files}
        wanted = [place for place in waiting if place in places and waiting[place]]  # type: ignore[operator]  # any
        while wanted:
            place = self._random.choice(wanted)
            yield waiting[place].pop(0)
            if not waiting[place]:
                wanted.remove(place)


@pytest.mark.parametrize(("seed", "lines"), [(1, 1), (2, 7), (3, 50)])
def test_any_interleaving_and_any_batches_say_the_same(
    tmp_path: Path, once: Replayed, monkeypatch: pytest.MonkeyPatch, seed: int, lines: int
) -> None:
    kept(tmp_path / "archive", bad_rollout())
    monkeypatch.setattr(archived_lines, "BATCH_LINES", lines)
    assert written(Backtest(_Shuffled(tmp_path / "archive", seed)).play(AUTONOMOUS)) == written(once)


def test_another_recording_says_something_else(tmp_path: Path, once: Replayed) -> None:
    """The digest can tell."""
    other = kept(tmp_path / "archive", telemetry(Weather(fault=False), 1))
    assert Backtest(other).play(AUTONOMOUS).made.digest != once.made.digest


def test_what_people_said_then_counts_now(tmp_path: Path) -> None:
    """An approval lets the commands go, and only after the decision; a stop before it holds them."""
    asked = Backtest(kept(tmp_path / "asked", bad_rollout())).play(ASKING)
    (decision,) = asked.made.decisions
    assert (decision.verdict, asked.made.commands) == ("ask", [])
    seconds = (decision.time_unix_nano - T0) / NANOS

    def said(kind: ControlKind, at: float, decision_id: str | None = None) -> Sent:
        control = Control(
            id=f"{kind}-{at}",
            kind=kind,
            by="someone",
            time_unix_nano=T0 + int(at * NANOS),
            decision_id=decision_id,
        )
        # Where the decision is: one partition of each topic here.
        return sent(CONTROLS, control, at)

    approval = said("approve", seconds + 20, decision.id)
    one = kept(tmp_path / "approved", [*bad_rollout(), approval], signal_partitions=1)
    assert [command.decision_id for command in Backtest(one).play(ASKING).made.commands] == [decision.id]
    stopped = kept(tmp_path / "stopped", [*bad_rollout(), said("stop", 10), approval], signal_partitions=1)
    assert Backtest(stopped).play(ASKING).made.commands == []


def test_detection_is_played_once_for_configurations_that_share_it(recording: Archive) -> None:
    moved: list[int] = []
    backtest = Backtest(recording, moved=moved.append)
    backtest.play(AUTONOMOUS)
    assert sum(moved) == recording.raw_records
    waiting = AUTONOMOUS.model_copy(update={"correlate": CorrelateSettings(resolve_after_seconds=60)})
    backtest.play(waiting)
    assert sum(moved) == recording.raw_records
    detect = AUTONOMOUS.detect.model_copy(update={"max_false_share": 0.5})
    backtest.play(AUTONOMOUS.model_copy(update={"detect": detect}))
    assert sum(moved) == 2 * recording.raw_records


def test_unusable_records_are_counted_as_dead_letters(tmp_path: Path) -> None:
    broken = Sent(RAW_METRICS, b"key", b"{", T0 // 1_000_000 + 500)
    replayed = Backtest(kept(tmp_path / "archive", [*bad_rollout(), broken])).play(AUTONOMOUS)
    assert dict(replayed.made.dead_letters) == {"invalid_json": 1}


def test_nothing_can_be_published_while_it_runs(recording: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a backtest has made a producer")

    monkeypatch.setattr("streams.publisher.Producer", refuse)
    monkeypatch.setattr("streams.publisher.Publisher.publish", refuse)
    Backtest(recording).play(AUTONOMOUS)
