"""Which service calls which: how far the cause of a trouble may lie from where it shows.

A fault moves against the calls: what calls a broken service is slow or fails, too, seldom the other way round. Used by
`streams.kernel.correlate` to join the incidents of one cause, and to rank causes by their distance.

Calls are told by the people who run the services (a YAML file, `parse`), or learnt: from traces, and from telemetry
that names its peer (`peer.service` of OpenTelemetry's semantic conventions). What people told goes before that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, repeat

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.codec import describe
from schemas.envelope import NANOS, AttributeValue
from schemas.errors import ConfigurationError

# A fault that has crossed more calls than this is seldom one any more; it also bounds what is looked at for a signal.
MAX_HOPS = 4
# Calls learnt from telemetry, which is hostile: more are not.
MAX_LEARNT = 10_000
# A call that was not seen for so long is none any more: what runs once a week still is.
KEPT_NANOS = 8 * 86_400 * NANOS
# Of what a service depends on, as many of the nearest are told with its incidents.
MAX_UPSTREAM = 64

# The other end of a call and who is asked, by OpenTelemetry's semantic conventions; span metrics write the kind of span
# as `SPAN_KIND_SERVER`.
PEER, SPAN_KIND = "peer.service", "span.kind"
# What newer conventions call it.
NEW_PEER = "service.peer.name"
_ASKED = frozenset({"server", "consumer"})
# A name of a service is no longer than any other.
MAX_NAME = 1024

Calls = Mapping[str, Iterable[str]]


class Topology:
    """A directed graph of services."""

    def __init__(
        self, told: Calls | None = None, learnt: Iterable[tuple[str, str]] = (), at: Iterable[int] = ()
    ) -> None:
        """Begin with what people told, and with what was `learnt` before.

        Args:
            told: services that each service calls.
            learnt: pairs of caller and called.
            at: event time at which each of them was last seen.

        """
        self.learnt: dict[tuple[str, str], int] = {}  # in the order in which they were learnt; when last seen
        self._told = frozenset((caller, one) for caller, called in (told or {}).items() for one in called)
        self._called: dict[str, set[str]] = {}
        self._callers: dict[str, set[str]] = {}
        self._reach: dict[str, Mapping[str, int]] = {}
        self._upstream: dict[str, tuple[str, ...]] = {}
        for call in sorted(self._told):
            self._add(*call)
        for (caller, one), time in zip(learnt, chain(at, repeat(0)), strict=False):
            self.learn(caller, one, time)

    def learn(self, caller: str, called: str, at: int = 0) -> None:
        """Note a call that telemetry tells of at this event time, unless people told of it, or of its opposite."""
        call = (caller, called)
        if call in self.learnt:
            self.learnt[call] = max(at, self.learnt[call])
        elif not (caller == called or call in self._told or (called, caller) in self._told or self._is_full):
            self.learnt[call] = at
            self._add(*call)

    def forget(self, before: int) -> None:
        """Forget the calls that were learnt and not seen since."""
        for caller, called in [call for call, seen in self.learnt.items() if seen < before]:
            del self.learnt[caller, called]
            _drop(self._called, caller, called)
            _drop(self._callers, called, caller)
            self._reach.clear()
            self._upstream.clear()

    def reach(self, service: str) -> Mapping[str, int]:
        """Return what a service depends on, each with the number of calls between, at most `MAX_HOPS`.

        >>> dict(Topology({"shop": ["cart"], "cart": ["db"]}).reach("shop"))
        {'cart': 1, 'db': 2}

        """
        if service not in self._called:  # whatever telemetry names: only what calls is worth remembering
            return {}
        known = self._reach.get(service)
        if known is None:
            known = self._reach[service] = _walk(service, self._called)
        return known

    def knows(self, service: str) -> bool:
        """Whether anything is known of whom a service calls, or of who calls it."""
        return service in self._called or service in self._callers

    def dependants(self, service: str) -> Mapping[str, int]:
        """Return what depends on a service, each with the number of calls between, at most `MAX_HOPS`."""
        return _walk(service, self._callers)

    def upstream(self, service: str) -> tuple[str, ...]:
        """Return what a service depends on and what does not depend on it, the nearest first, at most `MAX_UPSTREAM`.

        Between services that reach each other, by however many calls, there is no order.

        >>> Topology({"shop": ["cart"], "cart": ["db"], "db": ["cart"]}).upstream("shop")
        ('cart', 'db')
        >>> Topology({"shop": ["cart"], "cart": ["db"], "db": ["cart"]}).upstream("cart")
        ()

        """
        if service not in self._called:
            return ()
        known = self._upstream.get(service)
        if known is None:
            above = _walk(service, self._callers, hops=len(self._callers))
            below = sorted((hops, one) for one, hops in self.reach(service).items() if one not in above)
            known = self._upstream[service] = tuple(one for _, one in below[:MAX_UPSTREAM])
        return known

    @property
    def _is_full(self) -> bool:
        return len(self.learnt) >= MAX_LEARNT

    def _add(self, caller: str, called: str) -> None:
        self._called.setdefault(caller, set()).add(called)
        self._callers.setdefault(called, set()).add(caller)
        self._reach.clear()
        self._upstream.clear()


def peer_of(attributes: Mapping[str, AttributeValue]) -> str:
    """Return the service at the other end, as telemetry names it; empty where it names none.

    >>> peer_of({"peer.service": "cart"}), peer_of({"service.peer.name": "cart"}), peer_of({"peer.service": 7})
    ('cart', 'cart', '')

    """
    return next((named for one in (PEER, NEW_PEER) if isinstance(named := attributes.get(one), str) and named), "")[
        :MAX_NAME
    ]


def called_by(service: str, attributes: Mapping[str, AttributeValue]) -> tuple[str, str] | None:
    """Tell caller and called of a call that telemetry of a service is about, where it is about one.

    >>> called_by("shop", {"peer.service": "cart"}), called_by("cart", {"peer.service": "shop", "span.kind": "server"})
    (('shop', 'cart'), ('shop', 'cart'))

    """
    peer, kind = attributes.get(PEER), attributes.get(SPAN_KIND)
    if not isinstance(peer, str) or not 0 < len(peer) <= MAX_NAME or peer == service:
        return None
    asked = isinstance(kind, str) and kind.lower().removeprefix("span_kind_") in _ASKED
    return (peer, service) if asked else (service, peer)


def _drop(edges: dict[str, set[str]], one: str, other: str) -> None:
    edges[one].discard(other)
    if not edges[one]:
        del edges[one]


def _walk(start: str, edges: Mapping[str, set[str]], hops: int = MAX_HOPS) -> Mapping[str, int]:
    found: dict[str, int] = {}
    edge = {start}
    for far in range(1, hops + 1):
        edge = {to for one in edge for to in edges.get(one, ()) if to not in found and to != start}
        if not edge:
            break
        found |= dict.fromkeys(sorted(edge), far)
    return found


class _Service(BaseModel):
    model_config = ConfigDict(extra="forbid")

    depends_on: tuple[str, ...] = ()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    services: dict[str, _Service]


def parse(text: str, file: str) -> dict[str, tuple[str, ...]]:
    """Read a file of calls.

    >>> parse("services: {checkout: {depends_on: [orders-db]}}", "topology.yaml")
    {'checkout': ('orders-db',)}

    Raises:
        ConfigurationError: naming the file, and where it is wrong.

    """
    try:
        found = _File.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    except ValidationError as error:
        raise ConfigurationError(f"{file}: {describe(error)}") from None
    return {name: service.depends_on for name, service in found.services.items()}
