"""Which alerts are news: unheard of from whoever reports them, and reported by nobody else at the same time.

Feeds `detectors.alert_memory`. What an entity has not reported for a day and a half is new there: a day is how long
most systems take to repeat themselves, and the half keeps a daily job usual that is late. What several entities begin
to report at once has one cause that they share (a rotation of logs, a new version of the sensor), so it is news of none
of them, and tells nothing about when one of them reports it on its own. To know that, an alert is held for a minute.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from schemas.envelope import NANOS

# An alert is judged this long after it: of entities that report the same at once, the last is some seconds late.
HOLD = 60 * NANOS
# Repeats within this long of each other are one burst, and what holds of its first holds of all.
BURST = 600 * NANOS
FRESH = 36 * 3600 * NANOS
# Nothing is new to those who were listened to for less than a day.
LISTENED = 24 * 3600 * NANOS
# Pairs of name and entity remembered, 300 bytes each, and alerts held.
MAX_PAIRS = 50_000
MAX_HELD = 100_000


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert of another system, by what can be said of any."""

    time_unix_nano: int
    name: str
    entity: str
    """Who reports it: a host or service."""
    key: int = 0
    """What the caller knows it by."""


@dataclass(slots=True)
class _Burst:
    start: int
    last: int
    new: bool


class AlertNews:
    """Alerts of one network, in the order of time.

    >>> news = AlertNews()
    >>> day = 24 * 3600 * NANOS
    >>> times = [0, 2 * day, 2 * day + HOLD + 1]
    >>> held = [news.hear(Alert(at, name, "web")) for at, name in zip(times, ("login", "shell", "login"))]
    >>> [(alert.name, new) for told in (*held, news.rest()) for alert, new in told]
    [('login', False), ('shell', True), ('login', True)]
    """

    def __init__(self) -> None:
        self._since: int | None = None
        self._held: deque[tuple[Alert, _Burst]] = deque()
        self._bursts: OrderedDict[tuple[str, str], _Burst] = OrderedDict()
        # When an entity last reported something of its own accord.
        self._own: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._begun: dict[str, deque[tuple[int, str]]] = {}  # name -> new bursts: start, entity

    def hear(self, alert: Alert) -> list[tuple[Alert, bool]]:
        """Take an alert; return those that have been held long enough, each with whether it is news."""
        if self._since is None:
            self._since = alert.time_unix_nano
        # First what is due, because the newest alert is judged by what came of it.
        released = self._release(alert.time_unix_nano - HOLD)
        self._held.append((alert, self._burst(alert, self._since)))
        return released

    def rest(self) -> list[tuple[Alert, bool]]:
        """Return what is still held."""
        return self._release(None)

    def _burst(self, alert: Alert, since: int) -> _Burst:
        pair, now = (alert.name, alert.entity), alert.time_unix_nano
        burst = self._bursts.get(pair)
        if burst is None or now - burst.last > BURST:
            own = self._own.get(pair)
            burst = _Burst(now, now, now - since >= LISTENED and (own is None or now - own >= FRESH))
            self._bursts[pair] = burst
            if burst.new:
                self._begun.setdefault(alert.name, deque()).append((now, alert.entity))
            if len(self._bursts) > MAX_PAIRS:
                self._bursts.popitem(last=False)
        self._bursts.move_to_end(pair)
        burst.last = now
        return burst

    def _release(self, until: int | None) -> list[tuple[Alert, bool]]:
        released = []
        while self._held and (until is None or self._held[0][0].time_unix_nano < until or len(self._held) > MAX_HELD):
            alert, burst = self._held.popleft()
            shared = burst.new and self._shared(alert, burst.start)
            if not shared:
                pair = (alert.name, alert.entity)
                self._own[pair] = alert.time_unix_nano
                self._own.move_to_end(pair)
                if len(self._own) > MAX_PAIRS:
                    self._own.popitem(last=False)
            released.append((alert, burst.new and not shared))
        return released

    def _shared(self, alert: Alert, start: int) -> bool:
        """Whether another entity began to report this at about the time that this one did."""
        begun = self._begun.get(alert.name)
        if begun is None:
            return False
        while begun and begun[0][0] < start - BURST:
            begun.popleft()
        return any(entity != alert.entity and at <= start + HOLD for at, entity in begun)
