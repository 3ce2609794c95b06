"""The table that the nftables connector keeps: its sets, chains and rules, as libnftables' JSON.

Called by `actions.connectors.nftables`. Pure. Made once, whole; later only members of its sets come and go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any

TABLE = "reflexarc"
_HERE = {"family": "inet", "table": TABLE}
_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_PROTOCOLS = {4: "ip", 6: "ip6"}
# Before other filters accept anything for good: theirs are at 0 by convention.
_PRIORITY = -10
# Beyond this many a person has to look; each costs the kernel some 100 bytes.
_MAX_MEMBERS = 4096
# Which set is looked up with which address of a packet, where.
_RULES = (
    ("input", "from", "saddr"),
    ("input", "both", "saddr"),
    ("forward", "from", "saddr"),
    ("forward", "both", "saddr"),
    ("forward", "both", "daddr"),
    ("output", "both", "daddr"),
)


def foundation() -> list[dict[str, Any]]:
    """Give the commands that make the table; `create` refuses one that is there."""
    sets = [
        {"name": f"{direction}{version}", "type": kind, "flags": ["interval", "timeout"], "size": _MAX_MEMBERS}
        for direction in ("from", "both")
        for version, kind in _TYPES.items()
    ]
    chains = [
        {"name": hook, "type": "filter", "hook": hook, "prio": _PRIORITY, "policy": "accept"}
        for hook in ("input", "forward", "output")
    ]
    rules = [
        {"chain": hook, "expr": _drop(version, direction, field)}
        for hook, direction, field in _RULES
        for version in _TYPES
    ]
    parts: list[tuple[str, list[dict[str, Any]]]] = [("set", sets), ("chain", chains), ("rule", rules)]
    return [
        {"create": {"table": {"family": "inet", "name": TABLE}}},
        *({"add": {kind: {**_HERE, **item}}} for kind, items in parts for item in items),
    ]


def elements(
    verb: str, direction: str, networks: Iterable[IPv4Network | IPv6Network], seconds: int | None
) -> list[dict[str, Any]]:
    """Give the commands that add members, to stay for `seconds`, or delete them."""

    def member(network: IPv4Network | IPv6Network) -> Any:
        value = {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
        return value if seconds is None else {"elem": {"val": value, "timeout": seconds}}

    return [
        {verb: {"element": {**_HERE, "name": f"{direction}{network.version}", "elem": [member(network)]}}}
        for network in networks
    ]


def members(table: Sequence[dict[str, Any]], direction: str) -> list[str]:
    """Read who is in the sets of a direction."""
    names = {f"{direction}{version}" for version in _TYPES}
    sets = [item["set"] for item in table if item.get("set", {}).get("name") in names]
    return sorted(_member(item) for found in sets for item in found.get("elem", []))


def same(table: Sequence[dict[str, Any]], made: Sequence[dict[str, Any]]) -> bool:
    """Whether a listed table has the sets, chains and rules that we make, and no others."""
    ours = [command["add"] for command in made if "add" in command]
    return sorted(filter(None, map(_shape, table))) == sorted(map(_shape, ours))


def _shape(item: dict[str, Any]) -> str:
    """Give what identifies a part of the table, without handles, counters and members."""
    for kind, keys in (
        ("set", ("name", "type")),
        ("chain", ("name", "hook", "prio", "policy")),
        ("rule", ("chain", "expr")),
    ):
        if kind in item:
            return f"{kind} {[item[kind].get(key) for key in keys]}"
    return ""


def _drop(version: int, direction: str, field: str) -> list[dict[str, Any]]:
    address = {"payload": {"protocol": _PROTOCOLS[version], "field": field}}
    return [{"match": {"op": "==", "left": address, "right": f"@{direction}{version}"}}, {"drop": None}]


def _member(item: Any) -> str:
    value = item["elem"]["val"] if isinstance(item, dict) and "elem" in item else item
    if isinstance(value, dict) and "prefix" in value:
        value = f"{value['prefix']['addr']}/{value['prefix']['len']}"
    # A range that is no network was put there by someone else; it is shown as it is.
    return str(ipaddress.ip_network(value)) if isinstance(value, str) else str(value)
