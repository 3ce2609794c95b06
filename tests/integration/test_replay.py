"""What was live and its replay: the same incidents and decisions, byte for byte, on a real broker."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from schemas.codec import encode
from schemas.signal import Progress, Signal
from schemas.topics import ACTIONS, DECISIONS, INCIDENTS, MODELS, RAW_LOGS, RAW_METRICS, SIGNALS
from streams.cli import app
from streams.course import Course
from streams.replay.archive import Archive, write_archive
from streams.replay.backtest import Backtest
from streams.replay.incident import again
from streams.replay.kafka_log import KafkaLog, known_topics
from streams.replay.span import Span
from streams.settings import CorrelateSettings, Settings
from tests.integration.test_arc import CALM, FAULTY, ROLLOUT, break_the_service, publish, read, settings, until, worker
from tests.streams.arc import log, metric
from tests.streams.test_course import version

__all__ = ["settings"]  # the fixture


async def test_a_live_run_and_its_replay_are_the_same_byte_for_byte(settings: Settings, tmp_path: Path) -> None:
    # Nobody is given up by the wall clock, which a replay does not know.
    unhurried = settings.model_copy(update={"correlate": CorrelateSettings(max_hold_seconds=3600)})
    async with worker(unhurried):
        await break_the_service(unhurried)
        await until(unhurried, [ACTIONS], lambda found: len(found) >= 1)
    recorded = KafkaLog(unhurried.kafka, known_topics(()), Span())
    write_archive(recorded, tmp_path / "archive", Span(), 1, lambda _: None)
    archive = Archive(tmp_path / "archive", Span())
    live = list(archive.seen())
    replayed = Backtest(archive).play(unhurried)
    assert {s.record.id for s in live if isinstance(s.record, Signal)} == {signal.id for signal in replayed.signals}
    for topic, made in ((INCIDENTS, replayed.made.incidents), (DECISIONS, replayed.made.decisions)):
        published = [encode(one.record) for one in live if one.topic is topic]
        assert published
        # A worker that is stopped may not have come to its last revision.
        assert [encode(record) for record in made][: len(published)] == published
    commands = [encode(one.record) for one in live if one.topic is ACTIONS]
    assert commands == [encode(command) for command in replayed.made.commands]


async def test_what_the_clock_and_a_new_model_brought_about_is_made_again_byte_for_byte(
    settings: Settings, tmp_path: Path
) -> None:
    """A source falls silent and is given up by the clock, and a version goes live, while the worker runs."""
    hurried = settings.model_copy(update={"correlate": CorrelateSettings(max_hold_seconds=0.3)})
    learnt = version("m1", 41, policy__min_confidence=0.85)
    async with worker(hurried):
        publish(hurried, RAW_METRICS, [metric(1, 1.0)], partition=1)
        publish(hurried, MODELS, [learnt])
        await break_the_service(hurried)
        await until(hurried, [ACTIONS], lambda found: len(found) >= 1)
    write_archive(KafkaLog(hurried.kafka, known_topics(()), Span()), tmp_path / "archive", Span(), 1, lambda _: None)
    archive = Archive(tmp_path / "archive", Span())
    live = list(archive.seen())
    signals = [one for one in live if one.topic is SIGNALS]
    assert [one.record.excuses for one in signals if isinstance(one.record, Progress)].count(True) > 0
    made = again(signals, [], Course(hurried, [learnt]), archive.partitions()[SIGNALS.name])
    for topic, records in ((INCIDENTS, made.incidents), (DECISIONS, made.decisions)):
        published = [encode(one.record) for one in live if one.topic is topic]
        assert published
        assert [encode(record) for record in records] == published
    assert {one.record.models for one in live if one.topic is DECISIONS} == {("m1",)}


def test_the_command_plays_the_topics_themselves_and_leaves_them_as_they_are(settings: Settings) -> None:
    publish(settings, RAW_LOGS, [log(1), ROLLOUT])
    publish(settings, RAW_METRICS, [*CALM, *FAULTY])
    variables = {
        "REFLEXARC_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "REFLEXARC_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
    }
    told = CliRunner().invoke(app, ["backtest", "--json"], env=variables, catch_exceptions=False).stdout
    assert json.loads(told)["records"] == 2 + len(CALM) + len(FAULTY)
    assert len(json.loads(told)["incidents"]) == 1
    assert read(settings, SIGNALS, INCIDENTS, DECISIONS, ACTIONS) == []
