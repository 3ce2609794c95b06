"""The rails' memory on a real Valkey: what is noted counts once, and only within its window."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actions.ledger import connect
from actions.rails import RailsSettings, RailsSnapshot
from actions.rails_store import RailsStore
from schemas.envelope import Entity
from schemas.incident import Incident
from schemas.outcome import Outcome, Result, Timing
from streams.embedded import EmbeddedValkey
from tests.actions.builders import SERVICE, T0, command, incident, seconds
from tests.actions.test_autonomy import outcome

pytestmark = pytest.mark.integration

SETTINGS = RailsSettings(storm_incidents=3)


@pytest.fixture
async def rails(valkey: EmbeddedValkey, topic_prefix: str) -> AsyncIterator[RailsStore]:
    redis = connect(valkey.url)
    yield RailsStore(redis, SETTINGS, prefix=topic_prefix)
    await redis.aclose()


async def snapshot(rails: RailsStore, now: int = T0, target: Entity = SERVICE) -> RailsSnapshot:
    return await rails.snapshot(target, "rollback-deployment", "incident-1", now)


def finished(result: Result, number: int, at: int) -> Outcome:
    timing = Timing(received_unix_nano=T0, finished_unix_nano=at)
    return outcome(result, number).model_copy(update={"timing": timing})


def opened(number: int, at: int, **changes: Any) -> Incident:
    plain = {"id": f"incident-{number}", "service": f"service-{number}"}
    return incident(opened_unix_nano=at, updated_unix_nano=at, **(plain | changes))


async def test_at_first_nothing_is_remembered(rails: RailsStore) -> None:
    assert await snapshot(rails) == RailsSnapshot()


async def test_failures_spend_the_budget_within_its_window(rails: RailsStore) -> None:
    for number, result in enumerate((Result.REVERTED, Result.FAILED, Result.UNKNOWN, Result.UNDONE_FAILED)):
        await rails.note_outcome(finished(result, number, T0 + seconds(number)))
    found = await snapshot(rails, T0 + seconds(10))
    assert (found.failures_in_window, found.consecutive_failures, found.playbook_failures_in_window) == (4, 4, 4)
    assert found.last_failure_unix_nano == T0 + seconds(3)
    later = await snapshot(rails, T0 + seconds(3601))
    assert (later.failures_in_window, later.consecutive_failures) == (2, 4)


async def test_a_success_ends_a_row_of_failures(rails: RailsStore) -> None:
    for number, result in enumerate((Result.REVERTED, Result.VERIFIED, Result.FAILED)):
        await rails.note_outcome(finished(result, number, T0 + seconds(number)))
    found = await snapshot(rails, T0 + seconds(10))
    assert (found.consecutive_failures, found.successes_in_window) == (1, 1)
    assert found.last_success_unix_nano == T0 + seconds(1)


async def test_what_was_not_tried_spends_nothing(rails: RailsStore) -> None:
    for number, result in enumerate((Result.EXPIRED, Result.REFUSED)):
        await rails.note_outcome(finished(result, number, T0))
    found = await snapshot(rails)
    assert (found.failures_in_window, found.consecutive_failures) == (0, 0)


async def test_an_outcome_counts_once_and_its_last_word_counts(rails: RailsStore) -> None:
    for result in (Result.REVERTED, Result.REVERTED, Result.UNDONE_FAILED):
        await rails.note_outcome(finished(result, 1, T0))
    found = await snapshot(rails, T0 + 1)
    assert (found.failures_in_window, found.playbook_failures_in_window) == (1, 1)


async def test_other_targets_share_only_the_playbook(rails: RailsStore) -> None:
    await rails.note_outcome(finished(Result.REVERTED, 1, T0))
    found = await snapshot(rails, T0 + 1, Entity(environment="demo", service="payment"))
    assert (found.failures_in_window, found.playbook_failures_in_window) == (0, 1)


async def test_rates_are_reserved_once_an_action_and_never_beyond_the_limit(rails: RailsStore) -> None:
    wanted = [command(incident(id=f"incident-{number}")) for number in range(10)]
    answers = await asyncio.gather(*(rails.reserve(item, T0) for item in [*wanted, *wanted]))
    assert answers.count(None) == 2 * SETTINGS.max_target_actions_per_hour
    assert set(answers) == {None, "target_rate"}
    found = await snapshot(rails, T0 + 1)
    assert (found.actions_last_hour, found.target_actions_last_hour) == (3, 3)
    assert await rails.reserve(wanted[9], T0 + seconds(3600)) is None, "an hour later there is room again"


async def test_the_global_rate_counts_every_target(rails: RailsStore) -> None:
    answers = []
    for number in range(SETTINGS.max_actions_per_hour + 1):
        target = Entity(environment="demo", service=f"service-{number}")
        wanted = command(incident(id=f"incident-{number}"), {"target": target})
        answers.append(await rails.reserve(wanted, T0))
    assert answers == [None] * SETTINGS.max_actions_per_hour + ["global_rate"]


@pytest.mark.parametrize("status", ["resolved", "merged"])
async def test_open_incidents_are_broken_services_until_they_end(rails: RailsStore, status: str) -> None:
    await rails.note_services("demo", [f"service-{number}" for number in range(6)], T0)
    for number in range(2):
        await rails.note_incident(opened(number, T0))
        await rails.note_incident(opened(number, T0))
    found = await snapshot(rails, T0 + 1)
    assert (found.broken_services, found.known_services) == (2, 6)
    await rails.note_incident(opened(0, T0, status=status))
    assert (await snapshot(rails, T0 + 1)).broken_services == 1
    elsewhere = Entity(environment="production", service="checkout")
    assert (await snapshot(rails, T0 + 1, elsewhere)).broken_services == 0
    assert (await snapshot(rails, T0 + seconds(24 * 3600 + 1))).broken_services == 0, "nobody heard of it for a day"


async def test_a_storm_begins_and_ends_by_event_time(rails: RailsStore) -> None:
    for number in range(3):
        await rails.note_incident(opened(number, T0 + seconds(number * 40)))
    assert (await snapshot(rails)).storm_until_unix_nano is None, "three incidents, but not within a minute"
    await rails.note_incident(opened(9, T0 + seconds(81)))
    assert (await snapshot(rails)).storm_until_unix_nano == T0 + seconds(81 + 300)
    await rails.note_incident(opened(1, T0 + seconds(40)))
    assert (await snapshot(rails)).storm_until_unix_nano == T0 + seconds(81 + 300), "an old one does not shorten it"


async def test_attempts_of_an_incident_are_remembered_with_their_results(rails: RailsStore) -> None:
    wanted = command()
    await rails.note_issued(wanted)
    await rails.note_issued(wanted)
    (attempt,) = (await snapshot(rails)).attempts
    assert (attempt.action_id, attempt.step, attempt.result) == (wanted.id, "rollback", None)
    assert attempt.until_unix_nano > wanted.expires_unix_nano
    told = outcome(Result.EXPIRED).model_copy(
        update={"action_id": wanted.id, "decision_id": wanted.decision_id, "incident_id": wanted.incident_id}
    )
    await rails.note_outcome(told)
    await rails.note_issued(wanted)
    assert [item.result for item in (await snapshot(rails)).attempts] == [Result.EXPIRED], "said again after a crash"
    await rails.note_issued(wanted.model_copy(update={"decision_id": "another"}))
    assert [item.result for item in (await snapshot(rails)).attempts] == [None], "asked for again"
