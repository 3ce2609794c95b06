"""What a series bank is told and what it says: settings, thresholds, verdicts, and who may judge beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OWN_HISTORY = "own history"


class Change(IntEnum):
    """What a verdict says of a series."""

    FIRING = 0
    CLEARED = 1  # back inside the baseline it departed from
    ADAPTED = 2  # it stayed where it went for so long that this is its normal now
    NOTED = 3  # neither abnormal nor well: what it looks like


class Thresholds(NamedTuple):
    """What holds at some event time."""

    max_false_share: float = 0.2
    models: tuple[str, ...] = ()
    """The learnt models that set it."""


SHIPPED = Thresholds()


@dataclass(frozen=True, slots=True)
class BankSettings:
    """Sizes and limits; durations in ticks or nanoseconds of event time."""

    tick_nanos: int = 1_000_000_000
    lateness_nanos: int = 500_000_000
    window: int = 64
    warmup: int = 24
    adapt_ticks: int = 3600
    thresholds_at: Callable[[int], Thresholds] = lambda _: SHIPPED
    """By event time: a tick is judged by what holds at its end, a single sample by what held when the last tick ended,
    so that new thresholds begin at the same place in the stream however it was cut into batches."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A change of state of one series."""

    series: int
    change: Change
    time_unix_nano: int
    # Its place in event-time order: what is judged at once comes `lateness` before the watermark reaches its sample.
    release_unix_nano: int
    onset_unix_nano: int
    observed: float
    expected: float
    scale: float
    height: float
    level: float  # the largest p-value that was raised then
    # Position, among the samples given to `fold`, of the last one that the evidence may rest on; -1: one before them.
    sample: int = field(compare=False)
    # Of a coarse series: what was surprising, in decades.
    looks: tuple[tuple[str, float], ...] = ()
    # That calm telemetry would have shown as much, by its own history.
    p_value: float = 1.0
    # The learnt models whose thresholds it was judged by.
    models: tuple[str, ...] = ()
    by: str = OWN_HISTORY  # whose verdict it is; others than the bank are in `detectors.witnesses`
    # Of an entity: the series that have most to do with it, and how far each is out. Of a profile: all of them.
    parts: tuple[tuple[int, float], ...] = ()
    peers: int = 0  # how many it was compared with
    contested: bool = False  # samples of it that disagree came out of turn: see `detectors.contested`


class Witness(Protocol):
    """Judges the same ticks by other evidence than each series' own past."""

    def look(self, tick: int, rows: Ints, values: Floats, times: Ints, sample: int) -> Iterator[Verdict]:
        """Judge the numbers `[n]` of the series `rows` in a closed tick, whose newest samples are of `times`."""
