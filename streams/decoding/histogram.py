"""Percentiles from histogram points, over what was observed since the point before.

Used by `streams.decoding.otlp`. A cumulative histogram says what happened since its process began, which hides what
happens now; its percentiles are therefore estimated from the difference of two points, and need the point before.
Within a bucket observations are taken as evenly spread, geometrically so in exponential histograms; nothing is
guessed above the highest finite bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from math import inf

import msgspec

# The levels that people set objectives on. Each is a series of its own.
LEVELS = (0.5, 0.95, 0.99)

# A bucket: (-1, i) and (1, i) are the i-th on either side of zero, (0, 0) is zero itself or an explicit layout's side.
Bucket = tuple[int, int]
Counts = dict[Bucket, int]


class Layout(msgspec.Struct, frozen=True):
    """Where the buckets lie: explicit upper bounds, or a scale of exponential ones."""

    bounds: tuple[float, ...] = ()
    scale: int | None = None

    def edges(self, bucket: Bucket) -> tuple[float, float]:
        """Return the lower and upper bound of a bucket."""
        side, index = bucket
        if self.scale is None:
            return self._explicit(index)
        if side == 0:
            return 0.0, 0.0
        base = 2.0 ** (2.0**-self.scale)
        near, far = base**index, base ** (index + 1)
        return (near, far) if side > 0 else (-far, -near)

    def _explicit(self, index: int) -> tuple[float, float]:
        bounds = self.bounds
        upper = bounds[min(index, len(bounds) - 1)]
        if index == 0:
            # As in PromQL: what is measured is seldom negative, so the lowest bucket begins at zero if it can.
            return min(0.0, upper), upper
        return bounds[index - 1], upper


class Distribution(msgspec.Struct):
    """One histogram point; buckets that are empty are left out."""

    layout: Layout
    time_unix_nano: int
    counts: Counts


class Histograms:
    """The last point of each cumulative histogram of a partition, so that the next one has something to differ from."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._last: dict[bytes, Distribution] = {}

    def percentiles(self, spelling: bytes, now: Distribution, *, cumulative: bool) -> list[float] | None:
        """Return the values at `LEVELS`; None when nothing new was observed, or it cannot be told what."""
        counts: Counts | None = now.counts
        if cumulative:
            counts = self._since_last(spelling, now)
        return quantiles(now.layout, counts, LEVELS) if counts else None

    def _since_last(self, spelling: bytes, now: Distribution) -> Counts | None:
        last = self._last.get(spelling)
        if last is not None and now.time_unix_nano <= last.time_unix_nano:
            return None  # a repeat, or out of order: it says nothing new
        # Least recently seen first, so that the oldest go when there are too many.
        self._last.pop(spelling, None)
        self._last[spelling] = now
        if len(self._last) > self._limit:
            del self._last[next(iter(self._last))]
        if last is None or last.layout != now.layout:
            return None
        return _difference(now.counts, last.counts)

    def snapshot(self) -> list[tuple[bytes, Distribution]]:
        """State to `restore`."""
        return list(self._last.items())

    def restore(self, state: Sequence[tuple[bytes, Distribution]]) -> None:
        """Go on from a snapshot."""
        self._last = dict(state)


def explicit(bounds: Sequence[float], bucket_counts: Sequence[int], time_unix_nano: int) -> Distribution:
    """Return an explicit-bucket histogram point; the last bucket has no upper bound."""
    if len(bucket_counts) != len(bounds) + 1:
        raise ValueError(f"{len(bucket_counts)} buckets for {len(bounds)} bounds")
    if not all(lower < upper for lower, upper in pairwise((-inf, *bounds, inf))):
        raise ValueError("bounds do not ascend")
    counts = {(0, i): count for i, count in enumerate(bucket_counts) if count}
    return Distribution(Layout(bounds=tuple(bounds)), time_unix_nano, counts)


def exponential(
    scale: int, zero_count: int, positive: Mapping[int, int], negative: Mapping[int, int], time_unix_nano: int
) -> Distribution:
    """Return an exponential histogram point; buckets by index."""
    counts: Counts = {(1, i): count for i, count in positive.items() if count}
    counts |= {(-1, i): count for i, count in negative.items() if count}
    if zero_count:
        counts[0, 0] = zero_count
    return Distribution(Layout(scale=scale), time_unix_nano, counts)


def quantiles(layout: Layout, counts: Counts, levels: Sequence[float]) -> list[float]:
    """Estimate the values at ascending `levels`."""
    buckets = sorted((*layout.edges(bucket), count) for bucket, count in counts.items())
    totals = list(accumulate(count for _, _, count in buckets))
    found = []
    for level in levels:
        rank = level * totals[-1]
        at = next(i for i, total in enumerate(totals) if total >= rank)
        lower, upper, count = buckets[at]
        share = 1 - (totals[at] - rank) / count
        found.append(_between(lower, upper, share, geometric=layout.scale is not None))
    return found


def _between(lower: float, upper: float, share: float, *, geometric: bool) -> float:
    if geometric and lower * upper > 0:
        return float(lower * (upper / lower) ** share)
    return lower + (upper - lower) * share


def _difference(now: Counts, last: Counts) -> Counts | None:
    """Return what was counted in between; None when the counters began anew."""
    if any(now.get(bucket, 0) < count for bucket, count in last.items()):
        return None
    return {bucket: count - last.get(bucket, 0) for bucket, count in now.items() if count > last.get(bucket, 0)}
