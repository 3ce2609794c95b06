"""What alerts of other systems did before: said in words when one fires, so that nobody has to look it up.

Called by `streams.kernel.detect_alerts` for every alert that begins to fire. Three things are told: that it flaps,
that many alerts of its service fire at once, and that none of its name was heard of this service before. They are
evidence for people; nothing is held back for them, and an alert that is resolved is resolved.

Time is event time and the caller's; state is bounded whatever is sent.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from schemas.envelope import NANOS

# As often as makes `detectors.rules` speak of alert noise, within the time in which a person still remembers the first.
FLAPS = 3
FLAP_WINDOW = 3600 * NANOS
# Firings of one alert that are remembered: more of them say no more.
MAX_FIRINGS = 16
# One alert every half minute is more than a person can read.
STORM = 10
STORM_WINDOW = 300 * NANOS
# Before a service has fired this often, every name is new.
WARM_FIRINGS = 10
FIRST = "first alert of this name on this service"

_Value = TypeVar("_Value")


class _Service(msgspec.Struct):
    fired: int = 0  # up to WARM_FIRINGS
    latest: dict[str, int] = {}  # alert -> when it fired, the oldest first


class _Saved(msgspec.Struct):
    firings: dict[str, list[int]]
    services: dict[str, _Service]
    kinds: dict[str, bool]


class AlertHistory:
    """Alerts of some services, up to `max_alerts` of each kind of memory; what was longest not heard of goes first.

    >>> history = AlertHistory(max_alerts=1000)
    >>> for minute in range(3):
    ...     said = history.fired("fingerprint", "DiskFull", "prod/shop", minute * 60 * NANOS)
    >>> said
    ('flapping: fired 3 times within 120 s',)
    """

    def __init__(self, max_alerts: int, state: bytes | None = None) -> None:
        self._max_alerts = max_alerts
        saved = _Saved({}, {}, {}) if state is None else msgspec.msgpack.decode(state, type=_Saved)
        self._firings, self._services, self._kinds = saved.firings, saved.services, saved.kinds

    def fired(self, alert: str, name: str, scope: str, now: int) -> tuple[str, ...]:
        """Remember that an alert began to fire; say what is remarkable about it given what came before."""
        service = self._services.pop(scope, None) or _Service()
        said = (self._first(service, name, scope), self._storm(service, alert, now), self._flapping(alert, now))
        service.fired = min(WARM_FIRINGS, service.fired + 1)
        self._keep(self._services, scope, service)
        return tuple(filter(None, said))

    def freeze(self) -> bytes:
        """Everything it knows, as bytes that hold no code."""
        return msgspec.msgpack.encode(_Saved(self._firings, self._services, self._kinds))

    def _first(self, service: _Service, name: str, scope: str) -> str:
        kind = f"{scope}\0{name}"
        known = self._kinds.pop(kind, False)
        self._keep(self._kinds, kind, value=True)
        return "" if known or service.fired < WARM_FIRINGS else FIRST

    def _storm(self, service: _Service, alert: str, now: int) -> str:
        service.latest.pop(alert, None)
        service.latest = {a: t for a, t in service.latest.items() if t > now - STORM_WINDOW} | {alert: now}
        if len(service.latest) > STORM:
            del service.latest[next(iter(service.latest))]
        if len(service.latest) < STORM:
            return ""
        return f"storm: {STORM} or more alerts of this service fired within {STORM_WINDOW // NANOS} s"

    def _flapping(self, alert: str, now: int) -> str:
        before = [time for time in self._firings.pop(alert, ()) if time > now - FLAP_WINDOW]
        times = [*before[1 - MAX_FIRINGS :], now]
        self._keep(self._firings, alert, times)
        if len(times) < FLAPS:
            return ""
        more = " or more" if len(before) >= MAX_FIRINGS else ""
        return f"flapping: fired {len(times)} times{more} within {(now - times[0]) / NANOS:.0f} s"

    def _keep(self, memory: dict[str, _Value], key: str, value: _Value) -> None:
        memory[key] = value
        if len(memory) > self._max_alerts:
            del memory[next(iter(memory))]
