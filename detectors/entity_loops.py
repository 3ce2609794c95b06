"""What the entity detector does with every metric of a tick, as loops over its rows: see `detectors.compiled`."""

from __future__ import annotations

from math import isnan, nan, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import loop

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Half-lives in looks: of the level, a week of minutes; of what was expected just now.
LEVEL = 10_080.0
RECENT = (2.0, 5.0, 30.0)
RATES = tuple(1.0 - 0.5 ** (1.0 / half_life) for half_life in (LEVEL, *RECENT))
LOOKS = len(RATES)
# A deviation teaches the level no more than ten spreads.
WINSOR = 10.0


class Metrics(NamedTuple):
    """What is known of each metric. `[metrics, LOOKS]`: the level, then the recent means."""

    centre: Floats
    spread: Floats
    variance: Floats
    """Around the level: it follows the data as the level does."""
    floor: Floats
    limit: Floats
    fitted: Flags
    due: NDArray[np.int32]
    """Looks at which the spreads are taken next."""
    looks: NDArray[np.int32]
    """Calm ones since, and below what they summed up to; NaN: never seen."""
    first: Floats
    low: Floats
    high: Floats
    total: Floats
    squares: Floats


class Entities(NamedTuple):
    """What the metrics of each entity say together at this tick, those that have spreads."""

    number: Ints
    power: Floats
    loudest: Floats
    far: Floats


@loop()
def follow(rows: Ints, value: Floats, entity: Ints, m: Metrics, e: Entities) -> tuple[Floats, Floats]:
    """Put `[n]` values against what is usual of their metrics, add them up by entity, and let levels and means move on.

    Returns:
        `[n]` squared deviations of each, summed over its looks, NaN while it warms up, and `[n, LOOKS]` its errors.

    """
    power, error = np.empty(len(rows)), np.empty((len(rows), LOOKS))
    for i in range(len(rows)):
        row, now = rows[i], float(value[i])
        if isnan(m.centre[row, LOOKS - 1]):
            # Expect of what is new, or begins anew, that it stays as it is.
            for j in range(1, LOOKS):
                m.centre[row, j] = now
            if isnan(m.first[row]):
                m.first[row] = m.centre[row, 0] = now
        fitted, limit = bool(m.fitted[row]), float(m.limit[row])
        reach = WINSOR * float(m.spread[row, 0])
        total, far, clipped = 0.0, 0.0, 0.0
        for j in range(LOOKS):
            centre = float(m.centre[row, j])
            out = now - centre
            far_out = min(abs(out) / float(m.spread[row, j]), limit)
            total += far_out * far_out
            error[i, j] = out
            if j == 0:
                far = far_out * far_out
                out = clipped = min(max(out, -reach), reach)
                error[i, j] = now - float(m.first[row])
            m.centre[row, j] = centre + RATES[j] * out
        if not fitted:
            m.spread[row, 0], power[i] = 1.0, nan
            continue
        variance = float(m.variance[row])
        variance += RATES[0] * (clipped * clipped - variance)
        m.variance[row] = variance
        m.spread[row, 0] = max(sqrt(variance), float(m.floor[row]))
        power[i] = total
        of = entity[row]
        e.number[of] += 1
        e.power[of] += total
        e.loudest[of] = max(float(e.loudest[of]), total)
        e.far[of] += far
    return power, error


@loop()
def learn(rows: Ints, value: Floats, error: Floats, entity: Ints, suspect: Flags, m: Metrics) -> Ints:
    """Sum up the values of metrics whose entity `[entities]` is not suspect; return those whose spreads are due."""
    due, many = np.empty(len(rows), np.int64), 0
    for i in range(len(rows)):
        row = rows[i]
        if suspect[entity[row]]:
            continue
        m.looks[row] += 1
        now = float(value[i])
        m.low[row], m.high[row] = min(float(m.low[row]), now), max(float(m.high[row]), now)
        for j in range(LOOKS):
            out = float(error[i, j])
            m.total[row, j] += out
            m.squares[row, j] += out * out
        if m.looks[row] >= m.due[row]:
            due[many] = row
            many += 1
    return due[:many]
