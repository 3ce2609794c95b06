"""What alerts speak for: evidence that an attack is under way, from what people said of earlier ones, or from none.

Measured by row 5 of the scoreboard, with `detectors.alert_news` before it. An alert counts by its name and by whether
it is news, so what was learned on one network holds on another. The evidence of a name is the logarithm of its
likelihood ratio, an attack against an hour of peace; that of different names adds up to the logarithm of the odds, as
in a naive Bayes classifier (Good, 1950: weights of evidence). All of it halves every twenty minutes. Where nobody has
labelled anything, only news count, by how rare such news was.

An incident opens and ends by the odds alone. An alert belongs to it that speaks for it while it lasts, or that helped
to open it; what speaks for nothing neither joins nor prolongs, however often it comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import log2, log10
from typing import Literal

from detectors.alert_news import Alert
from schemas.envelope import NANOS

HOUR = 3600 * NANOS
HALF_LIFE = 1200 * NANOS
# What is left after this many half-lives moves nothing.
FORGOTTEN = 6 * HALF_LIFE
# Half an occurrence of each kind is assumed before any was seen.
ASSUMED = 0.5
# News that come in one hour of ten are no evidence.
USUAL_DECADES = 1.0

Told = Literal["opens", "joins", "ends"]


@dataclass(frozen=True, slots=True)
class Bars:
    """Odds, in decades, between which an incident lasts."""

    opens: float
    ends: float


# Ten to one that it is an attack, and one to one; 0.8 to 1.2 and -0.3 to 0 measure the same.
LABELLED = Bars(1.0, 0.0)
# Without labels there is no scale of odds but what is never to be heard in a thousand hours.
UNLABELLED = Bars(3.0, 1.5)


@dataclass(frozen=True, slots=True)
class Learned:
    """What labels taught."""

    prior: float
    """Odds of an attack before anything is heard, in decades."""
    weights: dict[str, float]
    """Evidence of each name that was part of an attack, in decades. The others speak for nothing."""


@dataclass(frozen=True, slots=True)
class Event:
    """What became of an alert."""

    told: Told
    incident: int
    time_unix_nano: int
    evidence: float
    """Odds after it, in decades."""
    alert: Alert | None = None
    """None when an incident ends."""


def name_of(alert: Alert, *, new: bool) -> str:
    """Return what an alert counts by."""
    return f"{alert.name} (new)" if new else alert.name


def learn(networks: Iterable[Iterable[tuple[int, str, str | None]]]) -> Learned:
    """Learn from alerts as (time in nanoseconds, `name_of`, what attack it was part of; None in peace)."""
    attacks: Counter[str] = Counter()
    peace: Counter[str] = Counter()
    phases, hours = 0, 0
    for network in networks:
        # A burst is one occurrence: once an attack, once an hour of peace.
        told = {(name, attack, time // HOUR if attack is None else 0) for time, name, attack in network}
        attacks.update(name for name, attack in {one[:2] for one in told} if attack is not None)
        peace.update(name for name, attack, _ in told if attack is None)
        phases += len({attack for _, attack, _ in told} - {None})
        hours += len({hour for _, attack, hour in told if attack is None})
    prior = log10((phases + ASSUMED) / (hours + ASSUMED))
    odds = {name: log10((times + ASSUMED) / (peace[name] + ASSUMED)) for name, times in attacks.items()}
    return Learned(prior, {name: found - prior for name, found in odds.items()})


@dataclass(slots=True)
class _Rarity:
    """How rare news of each name was, in hours that had any."""

    hours: int = 0
    hour: int = -1
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)  # name -> hours with it before, last of them

    def weigh(self, name: str, time_unix_nano: int) -> float:
        before, last = self.seen.get(name, (0, -1))
        hour = time_unix_nano // HOUR
        if hour != last:
            self.seen[name] = (before + (last >= 0), hour)
            before = self.seen[name][0]
        return log10((self.hours + 1) / (before + ASSUMED)) - USUAL_DECADES

    def hear(self, time_unix_nano: int) -> None:
        hour = time_unix_nano // HOUR
        self.hours += hour != self.hour
        self.hour = hour


class AlertMemory:
    """Judges the alerts of one network in the order of time, as `AlertNews` returns them.

    >>> memory = AlertMemory(Learned(-1.0, {"shell started": 1.5, "scan": 1.0, "login failed": -0.5}))
    >>> names = ("scan", "shell started", "login failed")
    >>> heard = [Alert(at * 60 * NANOS, name, "web") for at, name in enumerate(names)]
    >>> [(event.told, event.alert.name) for alert in heard for event in memory.judge(alert, new=False)]
    [('opens', 'shell started'), ('joins', 'scan')]
    """

    def __init__(self, learned: Learned | None = None, bars: Bars | None = None) -> None:
        self._learned = learned
        self._bars = bars or (UNLABELLED if learned is None else LABELLED)
        self._prior = 0.0 if learned is None else learned.prior
        self._rarity = _Rarity()
        self._recent: dict[str, tuple[float, Alert]] = {}  # evidence heard last, the newest of each name
        self._open = False
        self._count = 0

    def judge(self, alert: Alert, *, new: bool) -> list[Event]:
        """Return what changes with an alert."""
        now = alert.time_unix_nano
        events = self.pass_time(now)
        name = name_of(alert, new=new)
        weight = self._weigh(name, now, new=new)
        if weight <= 0.0:
            return events
        self._recent.pop(name, None)
        self._recent[name] = (weight, alert)
        self._recent = {of: one for of, one in self._recent.items() if now - one[1].time_unix_nano < FORGOTTEN}
        odds = self._odds(now)
        if self._open:
            return [*events, Event("joins", self._count, now, odds, alert)]
        if odds < self._bars.opens:
            return events
        self._open = True
        self._count += 1
        helped = [one for _, one in self._recent.values() if one is not alert and now - one.time_unix_nano <= HALF_LIFE]
        opening = Event("opens", self._count, now, odds, alert)
        return [*events, opening, *(Event("joins", self._count, now, odds, one) for one in helped)]

    def pass_time(self, now: int) -> list[Event]:
        """End the incident that is open when its evidence has decayed by this time."""
        if not self._open:
            return []
        newest = max(alert.time_unix_nano for _, alert in self._recent.values())
        left, needed = self._odds(newest) - self._prior, self._bars.ends - self._prior
        # All evidence decays alike, so its sum does.
        end = newest + int(HALF_LIFE * max(0.0, log2(left / needed)))
        if now <= end:
            return []
        self._open = False
        return [Event("ends", self._count, end, self._bars.ends)]

    def _weigh(self, name: str, now: int, *, new: bool) -> float:
        if self._learned is not None:
            return self._learned.weights.get(name, 0.0)
        self._rarity.hear(now)
        return self._rarity.weigh(name, now) if new else 0.0

    def _odds(self, now: int) -> float:
        heard = ((weight, now - alert.time_unix_nano) for weight, alert in self._recent.values())
        return self._prior + sum(float(weight * 0.5 ** (age / HALF_LIFE)) for weight, age in heard)
