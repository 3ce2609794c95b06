"""One incident made again from what its topics hold, beside what was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actions.settings import PolicySettings
from benchmarks.adversary.arc import Sent
from benchmarks.adversary.world import T0
from schemas.codec import encode
from schemas.decision import Decision
from schemas.envelope import Record
from schemas.errors import PermanentError
from schemas.incident import Incident
from schemas.model import DataRange, Held, ModelVersion
from schemas.signal import Progress
from schemas.topics import DECISIONS, INCIDENTS, MODELS, SIGNALS, Topic
from streams.cli import app
from streams.course import Course
from streams.replay.backtest import Backtest
from streams.replay.detection import detect
from streams.replay.incident import Replay, rebuild
from streams.replay.slices import Slices
from streams.settings import Settings
from streams.tail import Seen
from tests.streams.replay.recorded import bad_rollout, kept

BOLD = Settings(policy=PolicySettings.model_validate({"grants": ({"tier": "autonomous"},)}))


def published(folder: Path) -> Iterator[Seen]:
    """Give what an installation with one partition of each topic would have published, and when."""
    archive = kept(folder, bad_rollout(), signal_partitions=1)
    signals: list[Seen] = []
    for one in detect(archive, Course(BOLD), Slices([]), 1, workers=1, moved=lambda _: None):
        for end, signal in one.signals:
            signals.append(seen(SIGNALS, signal, end))
        for i in range(0, len(one.progress), 3):
            end, reached, idle = one.progress[i : i + 3]
            source = f"{one.place.topic}/{one.place.partition}"
            signals.append(seen(SIGNALS, Progress(source=source, time_unix_nano=reached, idle=bool(idle)), end))
    # A source says how far it has come after what it has found.
    yield from sorted(signals, key=lambda one: (one.published_unix_nano, isinstance(one.record, Progress)))
    made = Backtest(archive).play(BOLD).made
    for incident in made.incidents:
        yield seen(INCIDENTS, incident, incident.updated_unix_nano // 1_000_000 + 500)
    for decision in made.decisions:
        yield seen(DECISIONS, decision, decision.time_unix_nano // 1_000_000 + 501)


def seen(topic: Topic, record: Record, millis: int) -> Seen:
    return Seen(topic, 0, 0, millis * 1_000_000, record)


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    return list(published(tmp_path_factory.mktemp("recorded") / "archive"))


def compared(found: Replay) -> list[tuple[str, str | None]]:
    return [(step.what, step.rebuilt) for step in found.steps if step.what in {"revision", "decision"}]


def test_every_revision_and_decision_is_made_again_the_same(topics: list[Seen]) -> None:
    found = rebuild("", topics, BOLD, 1)
    # It opens, is decided about, has its profile taken twice, and nothing of it fires any more.
    assert compared(found) == [("revision", "same"), ("decision", "same"), *[("revision", "same")] * 3]
    assert found.settings.startswith("policy and playbooks as today")
    times = [step.time_unix_nano for step in found.steps]
    assert times == sorted(times)


def test_every_step_names_what_made_it(topics: list[Seen]) -> None:
    steps = rebuild("", topics, BOLD, 1).steps
    assert {step.made_by for step in steps if step.what == "signal"} == {"robust-cusum 3", "entity 1", "events 2"}
    (decision,) = (step for step in steps if step.what == "decision")
    assert "rollback-deployment 2" in decision.made_by
    assert any(line.startswith("passed confident: ") for line in decision.told)


def test_what_other_settings_would_decide_is_named_as_another_policy(topics: list[Seen]) -> None:
    found = rebuild("", topics, Settings(), 1)
    assert "which is not here" in found.settings
    assert compared(found)[1] == ("decision", "other")
    (decision,) = (step for step in found.steps if step.what == "decision")
    assert "verdict: act then, observe now" in decision.differs
    assert [line.partition(":")[0] for line in decision.differs if line.startswith("check")] == ["check tier"]
    assert any(line.startswith("check tier: passed (autonomous: granted") for line in decision.differs)


def test_what_a_model_had_set_that_day_holds_again(topics: list[Seen]) -> None:
    today = BOLD.model_copy(update={"policy": BOLD.policy.model_copy(update={"min_confidence": 0.95})})
    assert compared(rebuild("", topics, today, 1))[1] == ("decision", "other")
    then = ModelVersion(
        id="m1",
        kind="policy-thresholds",
        status="retired",
        reason="another took its place",
        parameters={"policy.min_confidence": BOLD.policy.min_confidence},
        data=DataRange(first_unix_nano=1, last_unix_nano=2, records=1, hash="h"),
        code_version="1",
        built_unix_nano=T0 - 1,
        changed_unix_nano=2 * T0,
        held=(Held(from_unix_nano=T0, until_unix_nano=2 * T0),),
    )
    assert compared(rebuild("", [*topics, seen(MODELS, then, T0 // 1_000_000)], today, 1))[1] == ("decision", "other")
    named = [one._replace(record=_by(one.record, then)) for one in topics]
    found = rebuild("", [*named, seen(MODELS, then, T0 // 1_000_000)], today, 1)
    assert compared(found)[1] == ("decision", "same")
    assert found.settings.endswith("with model m1")


def _by(record: Record, model: ModelVersion) -> Record:
    """Let a decision say that the model had a part in it."""
    if not isinstance(record, Decision):
        return record
    named = record.model_copy(update={"models": (model.id,)})
    return named.model_copy(update={"hash": named.recomputed_hash()})


def test_an_altered_decision_shows(topics: list[Seen]) -> None:
    def altered(one: Seen) -> Seen:
        if not isinstance(one.record, Decision):
            return one
        return one._replace(record=one.record.model_copy(update={"reason": "because"}))

    (decision,) = (s for s in rebuild("", list(map(altered, topics)), BOLD, 1).steps if s.what == "decision")
    assert decision.told[-1].startswith("ALTERED")
    assert decision.rebuilt == "other"


def test_without_signals_it_is_said_that_nothing_was_made_again(topics: list[Seen]) -> None:
    found = rebuild("", [one for one in topics if one.topic is not SIGNALS], BOLD, 1)
    assert {rebuilt for _, rebuilt in compared(found)} == {"not rebuilt"}
    assert any(step.what == "signal" for step in found.steps), "the record itself carries them"


def test_an_incident_that_is_not_there_is_refused(topics: list[Seen]) -> None:
    with pytest.raises(PermanentError, match="no incidents begin with 'xyz'"):
        rebuild("xyz", topics, BOLD, 1)


def test_the_command_reads_an_archive(topics: list[Seen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        Sent(one.topic, b"prod/checkout", encode(one.record), one.published_unix_nano // 1_000_000) for one in topics
    ]
    kept(tmp_path / "kept", records, signal_partitions=1)
    (tmp_path / "bold.toml").write_text('[[policy.grants]]\ntier = "autonomous"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFLEXARC_CONFIG", "bold.toml")
    identity = next(one.record.id for one in topics if isinstance(one.record, Incident))
    arguments = ["incident", "replay", identity[:6], "--archive", "kept"]
    told = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert told.count("made again: the same") == 5
    document = json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert document["incident_id"] == identity
