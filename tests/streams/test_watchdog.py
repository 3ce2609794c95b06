from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from streams.transport import Partition, Progress
from streams.watchdog import StallDetector, Watchdog

P0, P1 = ("raw.metrics", 0), ("raw.metrics", 1)


def test_work_without_progress_for_the_limit_is_a_stall() -> None:
    detector = StallDetector(10)
    assert detector.look({P0: Progress(5, 9)}, now=100) == []
    assert detector.look({P0: Progress(5, 9)}, now=109.9) == []
    assert detector.look({P0: Progress(5, 12)}, now=110) == [P0]


def test_progress_of_any_size_starts_the_count_anew() -> None:
    detector = StallDetector(10)
    detector.look({P0: Progress(5, 9)}, now=100)
    detector.look({P0: Progress(6, 9000)}, now=109)
    assert detector.look({P0: Progress(6, 9000)}, now=118) == []
    assert detector.look({P0: Progress(6, 9000)}, now=119) == [P0]


def test_a_partition_that_is_done_may_stand_still_for_ever() -> None:
    detector = StallDetector(10)
    for now in range(0, 1000, 100):
        assert detector.look({P0: Progress(9, 9), P1: Progress(None, 0)}, now=now) == []


def test_the_count_starts_when_work_arrives() -> None:
    detector = StallDetector(10)
    detector.look({P0: Progress(9, 9)}, now=0)
    assert detector.look({P0: Progress(9, 10)}, now=50) == []
    assert detector.look({P0: Progress(9, 10)}, now=60) == [P0]


def test_a_partition_that_never_began_stalls_as_well() -> None:
    detector = StallDetector(10)
    detector.look({P0: Progress(None, 3)}, now=0)
    assert detector.look({P0: Progress(None, 3)}, now=10) == [P0]


def test_a_partition_that_left_is_forgotten() -> None:
    detector = StallDetector(10)
    detector.look({P0: Progress(5, 9)}, now=0)
    detector.look({}, now=9)
    assert detector.look({P0: Progress(5, 9)}, now=10) == []


def test_what_the_brokers_have_is_unknown_before_the_first_fetch() -> None:
    detector = StallDetector(10)
    detector.look({P0: Progress(5, None)}, now=0)
    assert detector.look({P0: Progress(5, None)}, now=10) == []


@dataclass
class App:
    at: Progress
    name: str = "reflexarc-detect"
    deaths: list[int] = field(default_factory=list)

    def progress(self) -> Mapping[Partition, Progress]:
        return {P0: self.at}

    def watchdog(self) -> Watchdog:
        return Watchdog([self], stall_seconds=0.1, look_seconds=0.01, die=self.deaths.append)


@pytest.fixture
def expected_errors() -> list[str]:
    return ["no progress in"]


async def test_a_stalled_app_ends_the_process_once(caplog: pytest.LogCaptureFixture) -> None:
    app = App(Progress(5, 9))
    with app.watchdog():
        await asyncio.sleep(0.4)
    assert app.deaths == [1]
    assert "reflexarc-detect raw.metrics/0" in caplog.text


async def test_a_blocked_event_loop_ends_the_process(caplog: pytest.LogCaptureFixture) -> None:
    app = App(Progress(9, 9))
    with app.watchdog():
        time.sleep(0.4)  # noqa: ASYNC251  # the fault
    assert app.deaths == [1]
    assert "event loop is blocked" in caplog.text


async def test_an_app_that_gets_on_is_left_alone() -> None:
    app = App(Progress(9, 9))
    with app.watchdog():
        for done in range(30):
            app.at = Progress(done, 1000)
            await asyncio.sleep(0.01)
    assert app.deaths == []
