"""The HTTP connector against a real server: reads, changes once, converges, reverts only what is still ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from actions.connectors.base import select, unmet
from actions.connectors.http import ATTEMPTS, MAX_RESPONSE_BYTES, HttpConnector
from actions.connectors.registry import build, close
from actions.connectors.settings import ConnectorsSettings, HttpEndpoint
from schemas.action import Operation, Precondition
from schemas.errors import PermanentError, RefusedError, TemporaryError
from tests.actions.builders import command
from tests.actions.target import TOKEN, DeploymentTarget

COMMAND = command()
APPLY = COMMAND.apply
REVERT = COMMAND.revert or pytest.fail("the shipped rollback states its revert")


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def endpoint(url: str, **changes: Any) -> HttpEndpoint:
    return HttpEndpoint.model_validate({"base_url": url, "token": SecretStr(TOKEN), "enabled": True, **changes})


@pytest.fixture
async def connector(target: DeploymentTarget, clock: Clock) -> AsyncIterator[HttpConnector]:
    connector = HttpConnector(endpoint(target.url), sleep=clock.sleep, monotonic=lambda: clock.now)
    yield connector
    await connector.close()


@pytest.fixture
async def scripted(clock: Clock) -> AsyncIterator[Callable[..., HttpConnector]]:
    """A connector whose answers the test gives."""
    made: list[HttpConnector] = []

    def make(answer: Callable[[httpx.Request], httpx.Response], **changes: Any) -> HttpConnector:
        settings = endpoint("http://api.example/base", **changes)
        transport = httpx.MockTransport(answer)
        made.append(HttpConnector(settings, transport=transport, sleep=clock.sleep, monotonic=lambda: clock.now))
        return made[-1]

    yield make
    for connector in made:
        await connector.close()


async def test_it_sets_the_known_good_version_once(connector: HttpConnector, target: DeploymentTarget) -> None:
    before = await connector.observe(APPLY)
    plan = connector.plan(APPLY, before, before)
    assert not plan.satisfied
    assert plan.change == {
        "method": "PUT",
        "path": "v1/services/checkout/version",
        "body": {"version": "1", "kind": "rollback"},
    }
    for _ in range(2):
        await connector.apply(APPLY, before, "key")
    assert target.effects == ["1"]
    converged = await connector.verify(APPLY, before)
    assert converged.reached
    assert connector.plan(APPLY, before, converged.state).satisfied


async def test_it_puts_back_what_was_there_before(connector: HttpConnector, target: DeploymentTarget) -> None:
    before = await connector.observe(APPLY)
    await connector.apply(APPLY, before, "key")
    for _ in range(2):
        await connector.revert(APPLY, REVERT, before, "key-revert")
    assert target.effects == ["1", "2"]
    assert (await connector.verify(REVERT, before)).reached


async def test_it_does_not_revert_over_someone_elses_change(connector: HttpConnector, target: DeploymentTarget) -> None:
    before = await connector.observe(APPLY)
    await connector.apply(APPLY, before, "key")
    target.version = "3"
    with pytest.raises(RefusedError, match="someone else"):
        await connector.revert(APPLY, REVERT, before, "key-revert")
    assert connector.plan(APPLY, before, await connector.observe(APPLY)).drifted


async def test_it_waits_for_convergence_but_not_for_ever(
    connector: HttpConnector, target: DeploymentTarget, clock: Clock
) -> None:
    before = await connector.observe(APPLY)
    target.converges = False
    await connector.apply(APPLY, before, "key")
    found = await connector.verify(APPLY, before)
    assert not found.reached
    assert "/instances/*/version is not '1'" in found.detail
    assert clock.now == pytest.approx(30, abs=1)


async def test_a_lost_answer_is_asked_again_with_the_same_key(
    connector: HttpConnector, target: DeploymentTarget
) -> None:
    before = await connector.observe(APPLY)
    target.faults = ["lost"]
    await connector.apply(APPLY, before, "key")
    assert (target.puts, target.effects) == (2, ["1"])


async def test_temporary_errors_are_tried_again_with_back_off(
    connector: HttpConnector, target: DeploymentTarget, clock: Clock
) -> None:
    before = await connector.observe(APPLY)
    target.faults = [503, 429, 500]
    await connector.apply(APPLY, before, "key")
    assert clock.slept == [0.25, 0.5, 1.0]
    target.faults = [503] * ATTEMPTS
    with pytest.raises(TemporaryError, match="503"):
        await connector.apply(APPLY, before, "key-2")


async def test_a_refusal_is_permanent(connector: HttpConnector, target: DeploymentTarget) -> None:
    before = await connector.observe(APPLY)
    target.faults = [409]
    with pytest.raises(PermanentError, match="409"):
        await connector.apply(APPLY, before, "key")
    assert target.puts == 1


async def test_it_is_read_only_until_enabled(target: DeploymentTarget) -> None:
    settings = endpoint(target.url, enabled=False)
    connectors = build(ConnectorsSettings(http={"deployments": settings}))
    connector = connectors["http.deployments"]
    before = await connector.observe(APPLY)
    with pytest.raises(PermanentError, match="read-only"):
        await connector.apply(APPLY, before, "key")
    await close(connectors)
    assert target.puts == 0


def read(*segments: str) -> Operation:
    params = {**APPLY.params, "read": list(segments)}
    return APPLY.model_copy(update={"params": params})


async def test_names_stay_names_in_paths(scripted: Callable[..., HttpConnector]) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(200, json={})

    await scripted(answer).observe(read("v1", "a/../b?c=d#e", "ü"))
    assert asked == ["/base/v1/a%2F..%2Fb%3Fc%3Dd%23e/%C3%BC"]
    with pytest.raises(PermanentError, match="path segment"):
        await scripted(answer).observe(read("v1", ".."))


async def test_redirects_are_not_followed(scripted: Callable[..., HttpConnector]) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(307, headers={"Location": "http://evil.example/"})

    with pytest.raises(PermanentError, match="307"):
        await scripted(answer).observe(APPLY)
    assert asked == ["api.example"]


async def test_an_endless_answer_is_cut(scripted: Callable[..., HttpConnector]) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 65536
        pytest.fail(f"more than {MAX_RESPONSE_BYTES} bytes were read")

    with pytest.raises(PermanentError, match="exceeds"):
        await scripted(lambda _: httpx.Response(200, content=endless())).observe(APPLY)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [(b"<html>", "not JSON"), (b"[1]", "expected an object"), (orjson.dumps({"version": "x" * 200_000}), "narrow it")],
)
async def test_a_useless_state_is_refused(scripted: Callable[..., HttpConnector], body: bytes, complaint: str) -> None:
    with pytest.raises(PermanentError, match=complaint):
        await scripted(lambda _: httpx.Response(200, content=body)).observe(APPLY)


async def test_an_unreachable_api_is_a_temporary_error(scripted: Callable[..., HttpConnector], clock: Clock) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(TemporaryError, match="refused"):
        await scripted(refuse).observe(APPLY)
    found = await scripted(refuse).verify(APPLY, {"known_good_version": "1"})
    assert (found.reached, found.state) == (False, {})


async def test_a_server_may_ask_for_patience_within_reason(
    scripted: Callable[..., HttpConnector], clock: Clock
) -> None:
    answers = iter(["1", "3600", "soon"])

    def answer(_: httpx.Request) -> httpx.Response:
        wait = next(answers, None)
        return httpx.Response(200, json={}) if wait is None else httpx.Response(503, headers={"Retry-After": wait})

    await scripted(answer).observe(APPLY)
    assert clock.slept == [1.0, 2.0, 1.0]


async def test_a_state_without_the_part_referred_to_is_refused(connector: HttpConnector) -> None:
    with pytest.raises(PermanentError, match="/known_good_version names 0 parts"):
        connector.plan(APPLY, {}, {})


async def test_the_token_is_not_in_any_repr(target: DeploymentTarget) -> None:
    assert TOKEN not in repr(endpoint(target.url))


STATE = {"a": {"b/c": [1, 2]}, "list": [{"v": 1}, {"v": 1}, {"w": 2}], "none": None}


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("/a/b~1c/1", [2]),
        ("/list/*/v", [1, 1]),
        ("/list/7", []),
        ("/list/v", []),
        ("/a/x", []),
        ("/none", [None]),
        ("", [STATE]),
    ],
)
def test_pointers(pointer: str, found: list[Any]) -> None:
    assert select(STATE, pointer) == found


@pytest.mark.parametrize(
    ("pointer", "relation", "operand", "holds"),
    [
        ("/a", "present", None, True),
        ("/none", "present", None, False),
        ("/list/*/v", "equals", 1, True),
        ("/list/*/v", "equals", {"$state": "/list/0/v"}, True),
        ("/list/*/v", "differs", 1, False),
        ("/list/*/v", "differs", 2, True),
        ("/missing", "differs", 1, False),
    ],
)
def test_preconditions(pointer: str, relation: Any, operand: Any, *, holds: bool) -> None:
    problem = unmet(Precondition(pointer=pointer, relation=relation, operand=operand), STATE)
    assert (problem is None) is holds
