from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas.codec import encode
from schemas.control import Control
from schemas.envelope import Record
from schemas.topics import CATALOGUE, CONTROLS, DECISIONS, INCIDENTS, Topic
from streams import cli
from streams.publisher import Message, Publisher
from streams.roles import partition_count
from streams.settings import load_settings
from streams.tail import Tail
from streams.up import Installation, installation
from tests.actions.builders import decision, incident
from tests.streams.test_decide import ASKING

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("REFLEXARC_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line as the shell would: `main`, with its error handling."""

    def invoke(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["reflexarc", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return invoke


def test_it_says_its_version_and_what_it_can_do() -> None:
    assert CliRunner().invoke(cli.app, ["--version"]).stdout.strip()[0].isdigit()
    told = CliRunner().invoke(cli.app, ["--help"]).stdout
    assert all(command in told for command in ("up", "worker", "executor", "console", "incidents", "stop", "topics"))


@pytest.mark.parametrize("command", [["topics"], ["incidents"], ["worker"], ["executor"], ["console"], ["stop"]])
def test_without_a_broker_a_command_says_what_to_do_in_a_few_words(run: Run, command: list[str]) -> None:
    code, _, error = run(*command)
    assert code == 2
    assert "is not set" in error
    assert "Traceback" not in error
    assert len(error.splitlines()) == 2


def test_a_wrong_setting_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "reflexarc.toml").write_text("[detect]\nwindoww = 3\nwarmup = 1\n")
    code, _, error = run("topics")
    assert code == 2
    assert "detect.windoww" in error
    assert "detect.warmup" in error


def test_an_unknown_stage_is_refused_with_those_there_are(run: Run) -> None:
    code, _, error = run("worker", "--stage", "detekt")
    assert code == 2
    assert "detekt" in error
    assert "detect, correlate, decide, act, learn" in error


def test_schemas_are_written_for_every_topic(run: Run, tmp_path: Path) -> None:
    assert run("schemas", "--out", str(tmp_path / "out"))[0] == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert "asyncapi.yaml" in written
    assert len(written) == len(CATALOGUE) + 1


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    with installation(load_settings()) as made:
        for name, value in made.variables.items():
            monkeypatch.setenv(name, value)
        yield made


def publish(ready: Installation, topic: Topic, key: str, record: Record) -> None:
    async def send() -> None:
        publisher = Publisher(ready.settings.kafka)
        await publisher.publish(
            [Message(topic.full_name(ready.settings.kafka.topic_prefix), key.encode(), encode(record))]
        )
        await publisher.close()

    asyncio.run(send())


def controls(ready: Installation) -> list[tuple[Control, int]]:
    with Tail(ready.settings.kafka, [CONTROLS]) as tail:
        return [(seen.record, seen.partition) for seen in tail.to_end()]


@pytest.mark.integration
def test_topics_incidents_and_controls_on_an_embedded_installation(ready: Installation, run: Run) -> None:
    assert "All topics are there" in run("topics")[1]
    assert "No incidents." in run("incidents")[1]
    asking = decision(settings=ASKING)
    publish(ready, INCIDENTS, "demo", incident())
    publish(ready, DECISIONS, "demo", asking)
    assert "demo/checkout" in run("incidents")[1]
    explained = run("incident", "explain", "incident")[1]
    assert "deployment_regression" in explained
    assert "rollback-deployment" in explained
    code, _, error = run("incident", "explain", "none-such")
    assert (code, "no incidents begin with" in error) == (2, True)
    assert run("approve", asking.id[:10], "--by", "ada")[0] == 0
    assert run("stop", "--note", "freeze")[0] == 0
    (approved, partition), (stopped, _), *again = sorted(controls(ready), key=lambda found: found[0].kind)
    said = {where for control, where in controls(ready) if control.id == stopped.id}
    assert said == set(range(partition_count(ready.settings.kafka, CONTROLS))), "every stage must hear it"
    assert {control for control, _ in again} == {stopped}
    assert (approved.kind, approved.by, approved.decision_id) == ("approve", "ada", asking.id)
    assert (stopped.kind, stopped.environment, stopped.service, stopped.note) == ("stop", None, None, "freeze")
    with Tail(ready.settings.kafka, [DECISIONS]) as tail:
        # The stage that acts reads a decision and its answer from the same partition number.
        assert [seen.partition for seen in tail.to_end()] == [partition]


@pytest.mark.integration
def test_only_what_asks_can_be_approved(ready: Installation, run: Run) -> None:
    acting = decision()
    publish(ready, DECISIONS, "demo", acting)
    code, _, error = run("approve", acting.id)
    assert (code, "does not ask for approval" in error) == (2, True)
    assert controls(ready) == []


@pytest.mark.integration
@pytest.mark.parametrize("role", ["worker", "executor", "console"])
def test_a_supervised_role_ends_with_its_supervisor(ready: Installation, role: str) -> None:
    environment = {**os.environ, "REFLEXARC_SUPERVISED": "1", "REFLEXARC_CONSOLE__PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "streams.cli", role],
        stdin=subprocess.PIPE,
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    try:
        time.sleep(6)
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.close()
        # A worker may take its `STOP_SECONDS` of 20 to leave its groups, and on a busy machine some more to notice.
        assert process.wait(60) in {0, -signal.SIGTERM}
    finally:
        process.kill()
        process.wait()


def test_the_command_line_starts_without_what_only_computing_needs() -> None:
    told = (
        "import sys, streams.cli; print(*({'numpy', 'scipy', 'pyod', 'faust', 'confluent_kafka'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout.split() == []
