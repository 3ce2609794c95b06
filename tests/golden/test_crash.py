"""kill -9 of the worker in the middle of an incident: it is still found once and acted on once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from examples.fleet import Fleet
from schemas.incident import Incident
from schemas.outcome import Outcome, Result
from schemas.raw import LogRecord
from schemas.signal import Progress, Signal
from schemas.topics import ACTIONS, DEAD_LETTERS, INCIDENTS, LEARNING, RAW_LOGS, SIGNALS, Topic
from streams.settings import Settings, load_settings
from streams.tail import Tail
from streams.up import Installation, Supervisor, installation

CONFIG = Path(__file__).parents[2] / "examples" / "demo" / "reflexarc.toml"
WARM_SECONDS = 40.0
# A killed worker is missed after two session timeouts of 6 s; the rest is the demo's own time,
# several times as long on a machine that runs other tests beside it.
LIMIT_SECONDS = 180.0

pytestmark = [pytest.mark.golden, pytest.mark.timeout(600)]


def firing(record: Any) -> bool:
    return isinstance(record, Signal) and record.state == "firing" and record.entity.service == "checkout"


def opened(record: Any) -> bool:
    return isinstance(record, Incident) and record.service == "checkout"


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("REFLEXARC_CONFIG", str(CONFIG))
    with installation(load_settings()) as made:
        yield made


@pytest.mark.parametrize(("topic", "moment"), [(SIGNALS, firing), (INCIDENTS, opened)], ids=["signal", "incident"])
async def test_a_killed_worker_finds_the_incident_once_and_acts_once(
    ready: Installation, topic: Topic, moment: Callable[[Any], bool], tmp_path: Path
) -> None:
    settings, stop = ready.settings, asyncio.Event()
    with Fleet(settings.kafka.bootstrap_servers) as fleet, (tmp_path / "roles.log").open("w") as output:
        supervisor = Supervisor(_variables(ready, fleet), output=output, say=lambda _: None)
        running = asyncio.create_task(supervisor.run(stop, ready.check))
        try:
            await _until(settings, SIGNALS, _warm())
            await asyncio.to_thread(fleet.deploy, "checkout", "v2")
            await _until(settings, topic, moment)
            first = supervisor.pids["worker"]
            os.kill(first, signal.SIGKILL)
            await _until(settings, LEARNING, lambda record: isinstance(record, Outcome))
            assert supervisor.pids["worker"] != first
            assert fleet.state("checkout")["version"] == "v1"
        finally:
            stop.set()
            await running
        _assert_once(settings)


def _assert_once(settings: Settings) -> None:
    # A busy machine may give cause for others, before.
    found = [record for record in _read(settings, INCIDENTS) if opened(record)]
    incidents = {record.id for record in found if record.classification.label == "deployment_regression"}
    assert len(incidents) == 1
    assert len({command.id for command in _read(settings, ACTIONS)}) == 1
    outcomes: list[Outcome] = _read(settings, LEARNING)
    assert [(outcome.result, outcome.incident_id) for outcome in outcomes] == [(Result.VERIFIED, *incidents)]
    rollbacks = [record for record in _read(settings, RAW_LOGS) if _is_rollback(record)]
    assert len(rollbacks) == 1
    assert _read(settings, DEAD_LETTERS) == []


def _is_rollback(record: LogRecord) -> bool:
    return record.event_name == "deployment.started" and record.attributes.get("deployment.kind") == "rollback"


def _warm() -> Callable[[Any], bool]:
    """Whether the detectors have seen enough of the first source of metrics that spoke."""
    began: dict[str, int] = {}

    def warm(record: Any) -> bool:
        if not isinstance(record, Progress) or not record.source.startswith("raw.metrics"):
            return False
        since = began.setdefault(record.source, record.time_unix_nano)
        return record.time_unix_nano - since >= WARM_SECONDS * 1e9

    return warm


def _variables(ready: Installation, fleet: Fleet) -> dict[str, str]:
    return {
        **ready.variables,
        "REFLEXARC_CONNECTORS__HTTP__DEPLOYMENTS__BASE_URL": fleet.control_url,
        "REFLEXARC_CONNECTORS__HTTP__DEPLOYMENTS__TOKEN": fleet.token,
        "REFLEXARC_CONSOLE__PORT": "0",
    }


async def _until(settings: Settings, topic: Topic, reached: Callable[[Any], bool]) -> None:
    with Tail(settings.kafka, [topic]) as tail:
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                seen = await asyncio.to_thread(tail.poll, 0.1)
                if seen is not None and reached(seen.record):
                    return


def _read(settings: Settings, topic: Topic) -> list[Any]:
    with Tail(settings.kafka, [topic]) as tail:
        return [seen.record for seen in tail.to_end()]
