"""Packet filters of one machine or network namespace, in an nftables table of our own.

Called by the executor through `Connector`. `set_filter` puts addresses into a set whose members the table drops, each
with its own time to live: the kernel lets go of them even when no executor is left. Addresses come from the settings'
inventory by service and instance; telemetry itself can name a single address at most. Other tables are never touched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import Field

from actions.connectors.base import Connector, Convergence, Finding, Monotonic, Params, Permission, Plan, Sleep, State
from actions.connectors.nftables_table import TABLE, elements, foundation, members, same
from actions.connectors.settings import NftablesHost
from schemas.action import Operation
from schemas.errors import PermanentError, TemporaryError

Network = IPv4Network | IPv6Network
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.:-]{1,255}$")]

# 4096 elements of our sets are some 400 KB as JSON.
_MAX_OUTPUT_BYTES = 1024 * 1024


class SetFilter(Params):
    """Whether the addresses of an instance, or of a whole service without one, are filtered."""

    service: Name
    instance: Name | None = None
    direction: Literal["from", "both"]
    """`from`: what they send is dropped. `both`: what is sent to them as well."""
    present: bool
    seconds: Annotated[int, Field(ge=1, le=7 * 86400)] = 3600
    """After this the kernel lets them through again."""


class NftablesConnector(Connector):
    """One machine, or one network namespace on it."""

    permissions = (
        Permission("read", "CAP_NET_ADMIN in the network namespace", "list the table `inet reflexarc`"),
        Permission("enter", "CAP_SYS_ADMIN, only with `namespace`", "enter the network namespace"),
        Permission("set_filter", "CAP_NET_ADMIN in the network namespace", "change the table `inet reflexarc`"),
    )
    operations: ClassVar[Mapping[str, type[Params]]] = {"set_filter": SetFilter}

    def __init__(
        self, settings: NftablesHost, *, sleep: Sleep = asyncio.sleep, monotonic: Monotonic = time.monotonic
    ) -> None:
        super().__init__(enabled=settings.enabled, sleep=sleep, monotonic=monotonic)
        self._settings = settings

    async def observe(self, operation: Operation) -> State:
        params = self._filter(operation)
        self._networks(params)
        filters = await self._filters() or {"from": [], "both": []}
        dropped = {member for found in filters.values() for member in found}
        instances = [
            {"name": name, "state": "filtered" if any(str(network) in dropped for network in networks) else "reachable"}
            for name, networks in sorted(self._inventory(params.service).items())
        ]
        return {**filters, "instances": instances}

    def plan(self, operation: Operation, before: State, now: State) -> Plan:
        del before
        params = self._filter(operation)
        changing = self._changing(params, now)
        verb = "drop" if params.present else "let through"
        names = [str(network) for network in changing]
        summary = f"{verb} {params.direction} {', '.join(names)}" if names else "already as desired"
        # Members are there or not; a third state that someone else could have brought about does not exist.
        return Plan(satisfied=not names, drifted=False, summary=summary, change={verb: names} if names else {})

    async def apply(self, operation: Operation, before: State, key: str) -> None:  # noqa: ARG002 - what is missing is seen, and added at once
        self.require_enabled(operation)
        params = self._filter(operation)
        filters = await self._filters()
        changing = self._changing(params, filters or {"from": [], "both": []})
        if not changing:
            return
        verb, seconds = ("add", params.seconds) if params.present else ("delete", None)
        commands = [] if filters is not None else foundation()
        # One transaction: all of it or nothing.
        await self._nft("-f", "-", document=[*commands, *elements(verb, params.direction, changing, seconds)])

    async def verify(self, operation: Operation, before: State) -> Convergence:
        return await self.converge(operation, before, self._settings.timeout_seconds)

    async def renew(self, operation: Operation, before: State) -> None:
        del before
        self.require_enabled(operation)
        params = self._filter(operation)
        filters = await self._filters()
        if filters is None or not params.present:
            return
        networks = self._networks(params)
        kept = [network for network in networks if str(network) in filters[params.direction]]
        # The kernel keeps the time of a member that is added again: it has to go, and come back in the same moment.
        renewing = elements("delete", params.direction, kept, None)
        renewing += elements("add", params.direction, networks, params.seconds)
        await self._nft("-f", "-", document=renewing)

    async def check(self) -> list[Finding]:
        await self._filters()
        where = self._settings.namespace or "this network namespace"
        return [Finding(f"CAP_NET_ADMIN in {where}", "all", held=True)]

    def _filter(self, operation: Operation) -> SetFilter:
        params = self.params(operation)
        assert isinstance(params, SetFilter)  # noqa: S101 - the only operation there is
        return params

    def _changing(self, params: SetFilter, now: Mapping[str, Any]) -> list[Network]:
        dropped = set(now[params.direction])
        return [network for network in self._networks(params) if (str(network) in dropped) is not params.present]

    def _networks(self, params: SetFilter) -> list[Network]:
        """Look up the addresses that are meant.

        Raises:
            PermanentError: there are none, or one of them must always get through.

        """
        inventory = self._inventory(params.service)
        if params.instance is None:
            found = [network for networks in inventory.values() for network in networks]
        else:
            found = list(inventory.get(params.instance, ())) or _literal(params.instance)
        if not found:
            raise PermanentError(f"no address is known of {params.instance or params.service}; add it to `hosts`")
        for network in found:
            if _is_special(network) or any(_overlap(network, ip_network(kept)) for kept in self._settings.protected):
                raise PermanentError(f"{network} is protected and always gets through")
        return sorted(set(found), key=str)

    def _inventory(self, service: str) -> dict[str, list[Network]]:
        hosts = [host for host in self._settings.hosts if host.service == service]
        return {host.instance: [ip_network(text) for text in host.addresses] for host in hosts}

    async def _filters(self) -> dict[str, list[str]] | None:
        """Read who is filtered; None when the table is not there yet."""
        tables = await self._nft("list", "tables", "inet")
        if not any(item.get("table", {}).get("name") == TABLE for item in tables):
            return None
        table = await self._nft("list", "table", "inet", TABLE)
        if not same(table, foundation()):
            raise PermanentError(f"table inet {TABLE} is not as this connector makes it; it is left alone")
        return {direction: members(table, direction) for direction in ("from", "both")}

    async def _nft(self, *arguments: str, document: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        settings = self._settings
        enter = () if settings.namespace is None else ("nsenter", f"--net=/run/netns/{settings.namespace}")
        body = None if document is None else orjson.dumps({"nftables": document})
        try:
            process = await asyncio.create_subprocess_exec(
                *enter,
                str(settings.program),
                "-j",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL if body is None else asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise PermanentError(f"{settings.program} cannot be run: {error}") from None
        try:
            async with asyncio.timeout(settings.timeout_seconds):
                output, problem = await process.communicate(body)
        except TimeoutError:
            raise TemporaryError(f"nft gave no answer in {settings.timeout_seconds:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                # The kernel lets go of it at once; unwaited it would stay a zombie.
                await process.wait()
        if process.returncode != 0:
            said = " ".join(problem.decode(errors="replace").split())[:300]
            # A member that expired, or a table that another executor made, since we looked: looking again tells.
            passing = "does not exist" in said or "File exists" in said
            raise TemporaryError(f"nft: {said}") if passing else PermanentError(f"nft: {said}")
        if len(output) > _MAX_OUTPUT_BYTES:
            raise PermanentError(f"nft: over {_MAX_OUTPUT_BYTES} bytes of output")
        return orjson.loads(output)["nftables"] if output.strip() else []


def _literal(instance: str) -> list[Network]:
    try:
        return [ip_network(instance)] if "/" not in instance else []
    except ValueError:
        return []


def _is_special(network: Network) -> bool:
    return network.is_loopback or network.is_multicast or network.is_unspecified or network.is_link_local


def _overlap(one: Network, other: Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)
