"""What alerts of a name turned out to be: evidence that an attack is under way, from what people said of earlier ones.

Measured by row 5 of the scoreboard. An alert counts by its name alone, so what was learned on one network holds on
another; hosts and times do not matter. The evidence of a name is the logarithm of its odds, attack against peace; that
of different names adds up within a window, as in a naive Bayes classifier (Good, 1950: weights of evidence).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import log10
from typing import Literal

from schemas.envelope import NANOS

# Names heard within this long of each other speak of one matter.
WINDOW = 600 * NANOS
# Odds of 4.5 to 1 that it is an attack: the middle of where nothing changes on the networks it was fixed on.
OPENS = 0.65
# What belongs to an incident that is open needs less: odds of 1 to 10 by itself.
JOINS = -1.0
# An incident lasts for as long as something speaks for it, and this long after.
LASTS = 3600 * NANOS
# Half an occurrence of each kind is assumed before any was seen.
ASSUMED = 0.5
HOUR = 3600 * NANOS

Heard = tuple[int, str, str | None]
Verdict = Literal["opens", "joins"]


def weights(networks: Iterable[Iterable[Heard]]) -> dict[str, float]:
    """Learn the evidence of each name, in decades.

    Args:
        networks: of each network, alerts as (time in nanoseconds, name, what attack it was part of; None in peace).

    Returns:
        The names that were part of an attack at least once. The others speak for nothing.

    """
    attacks: Counter[str] = Counter()
    peace: Counter[str] = Counter()
    for network in networks:
        heard = list(network)
        # A burst is one occurrence: once an attack, once an hour of peace.
        attacks.update(name for name, _ in {(name, attack) for _, name, attack in heard if attack is not None})
        peace.update(name for name, _ in {(name, time // HOUR) for time, name, attack in heard if attack is None})
    return {name: log10((times + ASSUMED) / (peace[name] + ASSUMED)) for name, times in attacks.items()}


class AlertMemory:
    """Judges the alerts of one network in the order of time.

    >>> memory = AlertMemory({"shell started": 0.5, "scan": 0.3, "login failed": -0.5})
    >>> heard = ["scan", "shell started", "login failed"]
    >>> [memory.judge(name, minute * 60 * NANOS) for minute, name in enumerate(heard)]
    [None, 'opens', 'joins']
    """

    def __init__(self, learned: Mapping[str, float]) -> None:
        self._learned = learned
        self._recent: dict[str, int] = {}  # name that speaks for an attack -> when it was heard last
        self._until = -1

    def judge(self, name: str, time_unix_nano: int) -> Verdict | None:
        """Return whether an alert opens an incident or joins the one that is open."""
        weight = self._learned.get(name)
        if weight is None:
            return None
        if weight > 0:
            self._recent[name] = time_unix_nano
        if time_unix_nano <= self._until:
            if weight > 0:
                self._until = time_unix_nano + LASTS
            return "joins" if weight >= JOINS else None
        if weight <= 0 or self._evidence(time_unix_nano) < OPENS:
            return None
        self._until = time_unix_nano + LASTS
        return "opens"

    def _evidence(self, now: int) -> float:
        self._recent = {name: time for name, time in self._recent.items() if now - time <= WINDOW}
        return sum(self._learned[name] for name in self._recent)
