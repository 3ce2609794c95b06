"""The nftables connector between real network namespaces: the bad host is silenced, and only it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actions.connectors.base import select
from actions.connectors.nftables import NftablesConnector
from actions.connectors.registry import build
from actions.connectors.settings import ConnectorsSettings, NftablesHost
from schemas.action import ActionCommand, Operation
from schemas.envelope import Entity
from schemas.errors import PermanentError, TemporaryError
from schemas.incident import RootCause
from tests.actions.connectors.shipped import commands
from tests.parts.netns import HOSTS, Network

pytestmark = pytest.mark.integration

INVENTORY: list[dict[str, Any]] = [
    {"service": "web", "instance": "web-1", "addresses": [HOSTS["bad"]]},
    {"service": "web", "instance": "web-2", "addresses": ["10.77.1.3"]},
    {"service": "dns", "instance": "dns-1", "addresses": ["10.77.0.0/16"]},
]


@pytest.fixture(autouse=True)
def as_it_was(network: Network) -> Iterator[None]:
    """Every test finds all hosts reachable, and a table of somebody else that stays as it is."""
    network.run("router", "nft", "flush ruleset")
    network.run("router", "nft", "add table inet theirs; add chain inet theirs kept; add rule inet theirs kept drop")
    theirs = network.run("router", "nft", "list table inet theirs")
    yield
    assert network.run("router", "nft", "list table inet theirs") == theirs


@pytest.fixture
def connector(network: Network) -> NftablesConnector:
    return NftablesConnector(settings(network))


def settings(network: Network, **changes: Any) -> NftablesHost:
    plain = {"namespace": network.router, "enabled": True, "hosts": INVENTORY, "protected": [HOSTS["server"]]}
    return NftablesHost.model_validate(plain | changes)


def soon(holds: Callable[[], bool]) -> None:
    """Wait until it holds: the kernel brings it about and tells nobody."""
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def operation(instance: str | None = "web-1", *, service: str = "web", present: bool = True, **more: Any) -> Operation:
    params = {"service": service, "instance": instance, "direction": "from", "present": present, **more}
    return Operation(connector="nftables.router", operation="set_filter", params=params)


def shipped(name: str) -> ActionCommand:
    entity = Entity(environment="demo", service="web", instance="web-1")
    cause = RootCause(entity=entity, what="flood", signal_id="signal-1", score=0.9, because="it alone sends so much")
    (command,) = commands(name, service="web", root_causes=(cause,)).values()
    return command


def sent(network: Network) -> list[bool]:
    return [network.reaches(host, "server") for host in ("bad", "good")]


async def test_the_bad_host_is_silenced_and_only_it(network: Network, connector: NftablesConnector) -> None:
    command = shipped("traffic-filtering")
    assert command.redundancy is not None
    assert command.revert is not None
    before = await connector.observe(command.apply)
    assert select(before, command.redundancy.pointer) == ["reachable", "reachable"]
    assert connector.plan(command.apply, before, before).change == {"drop": ["10.77.1.2/32"]}
    # Observing makes nothing.
    assert "reflexarc" not in network.run("router", "nft", "list", "tables")
    assert sent(network) == [True, True]

    await connector.apply(command.apply, before, "key")
    await connector.apply(command.apply, before, "key")
    converged = await connector.verify(command.apply, before)
    assert converged.reached
    assert select(converged.state, command.redundancy.pointer) == ["filtered", "reachable"]
    assert sent(network) == [False, True]

    await connector.revert(command.apply, command.revert, before, "key-revert")
    assert (await connector.verify(command.revert, before)).reached
    assert sent(network) == [True, True]
    await connector.revert(command.apply, command.revert, before, "key-revert")


async def test_a_segment_is_cut_off_both_ways(network: Network, connector: NftablesConnector) -> None:
    command = shipped("network-segmentation")
    assert command.revert is not None
    before = await connector.observe(command.apply)
    await connector.apply(command.apply, before, "key")
    assert sent(network) == [False, True]
    # The router itself is cut off from it, too.
    assert not network.reaches("router", "bad")
    rules = network.run("router", "nft", "list", "set", "inet", "reflexarc", "both4")
    assert "10.77.1.2" in rules
    assert "10.77.1.3" in rules
    await connector.revert(command.apply, command.revert, before, "key")
    assert sent(network) == [True, True]
    assert network.reaches("router", "bad")


async def test_the_kernel_ends_it_by_itself(network: Network, connector: NftablesConnector) -> None:
    block, undo = operation(seconds=1), operation(present=False)
    before = await connector.observe(block)
    await connector.apply(block, before, "key")
    assert sent(network) == [False, True]
    soon(lambda: sent(network) == [True, True])
    # What has ended is taken back already.
    await connector.revert(block, undo, before, "key")
    assert connector.plan(undo, before, await connector.observe(undo)).satisfied


async def test_a_renewal_begins_its_time_anew(network: Network, connector: NftablesConnector) -> None:
    short, lasting = operation(seconds=2), operation(seconds=60)
    before = await connector.observe(short)
    await connector.apply(short, before, "key")
    await connector.apply(operation("web-2", seconds=60), before, "other")
    for _ in range(2):  # asked again it is the same
        await connector.renew(lasting, before)
    assert expiry(network, HOSTS["bad"]) > 50
    assert expiry(network, "10.77.1.3") > 50
    assert sent(network) == [False, True]
    await connector.revert(lasting, operation(present=False), before, "key")
    assert sent(network) == [True, True]


async def test_a_renewal_brings_back_what_the_kernel_has_just_ended(
    network: Network, connector: NftablesConnector
) -> None:
    block = operation(seconds=1)
    before = await connector.observe(block)
    await connector.apply(block, before, "key")
    soon(lambda: sent(network) == [True, True])
    await connector.renew(operation(seconds=60), before)
    assert sent(network) == [False, True]


async def test_nothing_is_renewed_while_read_only(network: Network) -> None:
    with pytest.raises(PermanentError, match="read-only"):
        await NftablesConnector(settings(network, enabled=False)).renew(operation(), {})


def expiry(network: Network, address: str) -> int:
    """Seconds after which the kernel lets an address through."""
    listed = json.loads(network.run("router", "nft", "-j", "list", "set", "inet", "reflexarc", "from4"))
    sets = [item["set"] for item in listed["nftables"] if "set" in item]
    found = [e["elem"] for one in sets for e in one["elem"] if e["elem"]["val"] == address]
    return int(found[0]["expires"])


async def test_others_stay_filtered(network: Network, connector: NftablesConnector) -> None:
    """Two actions at once: taking one back leaves the other."""
    first, second = operation(), operation("2001:db8::7")
    before = await connector.observe(first)
    await connector.apply(first, before, "one")
    await connector.apply(second, before, "two")
    await connector.revert(second, operation("2001:db8::7", present=False), before, "two")
    assert (await connector.observe(first))["from"] == ["10.77.1.2/32"]
    assert sent(network) == [False, True]


async def test_a_table_of_somebody_else_is_left_alone(network: Network, connector: NftablesConnector) -> None:
    block = operation()
    before = await connector.observe(block)
    network.run("router", "nft", "add table inet reflexarc; add chain inet reflexarc custom")
    for call in (connector.observe(block), connector.apply(block, before, "key")):
        with pytest.raises(PermanentError, match="left alone"):
            await call
    assert sent(network) == [True, True]


async def test_two_executors_make_the_table_once(network: Network, connector: NftablesConnector) -> None:
    """The other one made it after we had looked: our transaction fails as a whole, and looking again tells."""
    block = operation()
    before = await connector.observe(block)
    late = NftablesConnector(settings(network))
    looked = await late._filters()
    await connector.apply(block, before, "key")

    async def stale() -> dict[str, list[str]] | None:
        return looked

    late._filters = stale  # type: ignore[method-assign]
    with pytest.raises(TemporaryError, match="File exists"):
        await late.apply(block, before, "key")
    assert connector.plan(block, before, await connector.observe(block)).satisfied


@pytest.mark.parametrize(
    "name",
    ["10.0.0.0/8", "0.0.0.0/0", "web-1; flush ruleset", "@both4", "web-1 }", "$(id)", "", "web-1\n", "*", "nobody"],
)
async def test_a_hostile_name_is_no_address(connector: NftablesConnector, name: str) -> None:
    with pytest.raises(PermanentError, match=r"instance|no address is known"):
        await connector.observe(operation(name))
    with pytest.raises(PermanentError, match=r"service|no address is known"):
        await connector.observe(operation(None, service=name))


@pytest.mark.parametrize("instance", ["127.0.0.1", "::1", "224.0.0.1", "0.0.0.0", "169.254.1.1", HOSTS["server"]])
async def test_what_must_get_through_does(connector: NftablesConnector, instance: str) -> None:
    with pytest.raises(PermanentError, match="always gets through"):
        await connector.observe(operation(instance))


async def test_a_network_around_a_protected_one_is_protected(connector: NftablesConnector) -> None:
    with pytest.raises(PermanentError, match="always gets through"):
        await connector.observe(operation("dns-1", service="dns"))


async def test_it_is_read_only_until_enabled(network: Network) -> None:
    built = build(ConnectorsSettings(nftables={"router": settings(network, enabled=False)}))
    block = operation()
    before = await built["nftables.router"].observe(block)
    with pytest.raises(PermanentError, match="read-only"):
        await built["nftables.router"].apply(block, before, "key")


async def test_the_kernel_is_asked_whether_it_lets_us_in(network: Network, connector: NftablesConnector) -> None:
    (found,) = await connector.check()
    assert found.held
    with pytest.raises(PermanentError, match="nowhere"):
        await NftablesConnector(settings(network, namespace="nowhere")).check()


async def test_it_says_what_is_wrong(network: Network, tmp_path: Path) -> None:
    slow = tmp_path / "nft"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    cases = [
        (settings(network, namespace="nowhere"), PermanentError, "nowhere"),
        (settings(network, namespace=None, program="/nonexistent/nft"), PermanentError, "cannot be run"),
        (settings(network, program=slow, timeout_seconds=0.2), TemporaryError, "no answer in 0.2 s"),
    ]
    for wrong, kind, complaint in cases:
        with pytest.raises(kind, match=complaint):
            await NftablesConnector(wrong).observe(operation())
