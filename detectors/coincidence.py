"""Services whose troubles keep coinciding: what belongs together where nobody has told which service calls which.

Called by `streams.kernel.correlate` for services of which `detectors.topology` knows nothing. Two services are linked
when their troubles began within `WINDOW` of each other so often that chance would not do it. Chance is a Poisson
process: of two services with a and b troubles in the time T, a b 2 WINDOW / T begin together by accident. Troubles of a
fleet crowd into some hours, so `PEAK` times as many are expected here. A pair is linked from its third coincidence on,
when the tail probability of as many is below `MISTAKES`, divided by the number of pairs of services in the environment
and by (k - 2)(k - 1) at the k-th coincidence, for each is looked at anew. So, if troubles are independent and no more
crowded than that, in at most one of a thousand environments any two services are ever linked (Bonferroni).

All is event time. What was seen fades with a half-life of 30 days, and memory is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from math import exp, lgamma, log

from pydantic import Field

from schemas.envelope import NANOS, Model

# Two troubles that begin so near each other coincide.
WINDOW = 60 * NANOS
# What begins again so soon after is the same trouble: it must not count twice.
EPISODE = 600 * NANOS
FADE = 30 * 86_400 * NANOS / log(2)
# Where three hours hold all the troubles of a day.
PEAK = 8.0
MISTAKES = 1e-3
ENOUGH = 3
# Where more begin at once, it is no matter of pairs.
TOGETHER = 16
# Services heard of last, among which those are looked for that a trouble may have begun with.
LOOKED_AT = 64
MAX_ENVIRONMENTS = 64
MAX_SERVICES = 1000
MAX_PAIRS = 10_000


class Trouble(Model):
    """What is remembered of a service. Replaced, never mutated."""

    began: int
    latest: int
    weight: float = Field(description="troubles until `began`, those of long ago less")


class Pair(Model):
    """What is remembered of two services whose troubles coincided. Replaced, never mutated."""

    times: int
    latest: int
    weight: float


class Coincided(Model):
    """What is remembered of one environment; what was longest not heard of comes first."""

    since: int
    services: dict[str, Trouble] = Field(default_factory=dict)
    pairs: tuple[tuple[str, str, Pair], ...] = ()


class Coincidences:
    """A fold of when troubles began.

    >>> seen, day = Coincidences(), 86_400 * NANOS
    >>> for week in range(1, 5):
    ...     seen.note("prod", "index", week * 7 * day)
    ...     seen.note("prod", "search", week * 7 * day + 20 * NANOS)
    ...     seen.note("prod", "mail", (week * 7 + 3) * day)
    >>> seen.links("prod", "search", 30 * day)
    ('index',)
    """

    def __init__(self, state: Mapping[str, Coincided] | None = None) -> None:
        self._environments = {name: _Environment(saved) for name, saved in (state or {}).items()}

    @property
    def state(self) -> dict[str, Coincided]:
        """Everything that is remembered."""
        return {name: environment.state for name, environment in self._environments.items()}

    def note(self, environment: str, service: str, began: int) -> None:
        """Note that a trouble of a service began."""
        known = self._environments.pop(environment, None) or _Environment(Coincided(since=began))
        self._environments[environment] = known
        known.note(service, began)
        if len(self._environments) > MAX_ENVIRONMENTS:
            del self._environments[next(iter(self._environments))]

    def links(self, environment: str, service: str, now: int) -> tuple[str, ...]:
        """Name the services that are linked with one, sorted."""
        known = self._environments.get(environment)
        return () if known is None else known.links(service, now)

    def times(self, environment: str, service: str, other: str) -> int:
        """How often the troubles of two services began together."""
        known = self._environments.get(environment)
        pair = None if known is None else known.pairs.get(_pair(service, other))
        return 0 if pair is None else pair.times


class _Environment:
    def __init__(self, saved: Coincided) -> None:
        self._since = saved.since
        self._services = dict(saved.services)
        self.pairs = {(one, other): pair for one, other, pair in saved.pairs}
        self._partners: dict[str, set[str]] = {}
        for names, pair in self.pairs.items():
            self._connect(names, pair)

    @property
    def state(self) -> Coincided:
        pairs = tuple((*names, pair) for names, pair in self.pairs.items())
        return Coincided(since=self._since, services=self._services, pairs=pairs)

    def note(self, service: str, began: int) -> None:
        known = self._services.pop(service, None)
        if known is not None and abs(began - known.latest) <= EPISODE:
            self._services[service] = known.model_copy(update={"latest": max(began, known.latest)})
            return
        recent = islice(reversed(self._services.items()), LOOKED_AT)
        beside = [name for name, one in recent if abs(began - one.began) <= WINDOW][:TOGETHER]
        before = 0.0 if known is None else _faded(known.weight, began - known.began)
        self._services[service] = Trouble(began=began, latest=began, weight=1.0 + before)
        if len(self._services) > MAX_SERVICES:
            del self._services[next(iter(self._services))]
        for other in beside:
            self._coincided(_pair(service, other), began)

    def links(self, service: str, now: int) -> tuple[str, ...]:
        partners = sorted(self._partners.get(service, ()))
        return tuple(other for other in partners if self._is_no_chance(service, other, now))

    def _coincided(self, names: tuple[str, str], began: int) -> None:
        before = self.pairs.pop(names, None)
        times, weight = (0, 0.0) if before is None else (before.times, _faded(before.weight, began - before.latest))
        self.pairs[names] = pair = Pair(times=times + 1, latest=began, weight=weight + 1.0)
        self._connect(names, pair)
        if len(self.pairs) > MAX_PAIRS:
            one, other = oldest = next(iter(self.pairs))
            del self.pairs[oldest]
            self._partners.get(one, set()).discard(other)
            self._partners.get(other, set()).discard(one)

    def _connect(self, names: tuple[str, str], pair: Pair) -> None:
        if pair.times >= ENOUGH:
            for one, other in (names, names[::-1]):
                self._partners.setdefault(one, set()).add(other)

    def _is_no_chance(self, service: str, other: str, now: int) -> bool:
        one, another = self._services.get(service), self._services.get(other)
        if one is None or another is None:
            return False
        pair = self.pairs[_pair(service, other)]
        seen = FADE * (1.0 - exp(-max(now - self._since, 1) / FADE))
        weights = _faded(one.weight, now - one.began) * _faded(another.weight, now - another.began)
        expected = PEAK * weights * 2 * WINDOW / seen
        all_pairs = len(self._services) * (len(self._services) - 1) / 2
        allowed = MISTAKES / all_pairs / ((pair.times - 2) * (pair.times - 1))
        return poisson_tail(_faded(pair.weight, now - pair.latest), expected) <= allowed


def poisson_tail(count: float, expected: float) -> float:
    """Probability of at least `count` events where `expected` are: the regularised incomplete gamma function.

    >>> round(poisson_tail(3, 0.5), 4)
    0.0144

    """
    if expected <= 0.0 or count <= 0.0:
        return 1.0 if count <= 0.0 else 0.0
    if expected >= count:  # no surprise; the series would be long
        return 1.0
    term = total = exp(count * log(expected) - expected - lgamma(count + 1.0))
    while term > total * 1e-12:
        count += 1.0
        term *= expected / count
        total += term
    return min(1.0, total)


def _faded(weight: float, elapsed: int) -> float:
    return weight * exp(-max(elapsed, 0) / FADE)


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)
