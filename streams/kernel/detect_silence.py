"""Templates that came regularly and come no more, while their instance still speaks.

Called by `streams.kernel.detect_logs` for every record that counts for a template. Gaps between the ticks in which a
template is said are remembered by their mean, spread and longest. Regular is what is at least as even as chance
(coefficient of variation at most 1); of such gaps one of g means has a probability below exp(-g) (the bound of a
lifetime that is new better than used: Barlow and Proschan, 1965). A template is silent when that is below its share of
the false signals a day that all of them may raise together, and the silence is three times its longest gap.

Why it is silent it does not know: an instance that handed its work to another says less, too. So one instance's
silences support what else speaks for an incident, and open none by themselves (`streams.kernel.grouping`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import ceil, exp, log

import msgspec

NAME = "log.template.silence"
# Fewer gaps say little about the next one.
MIN_GAPS = 32
LONGEST_TIMES = 3
# The longest gap is forgotten slowly: it halves in seven hundred gaps.
LONGEST_FADES = 0.999
# In how many ticks since the instance must have said something else, the last of them in this share of the silence.
STILL_SPEAKS = 3
STILL_SHARE = 0.25
# Of the false signals that a partition may raise on a calm day (`max_false_share`), this share may be silences.
FALSE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Silence:
    """One template of one instance, fallen silent, heard again, or given up."""

    row: int
    state: str
    """`firing`, `cleared` or `adapted`."""
    since_tick: int
    """The last tick in which it was said before."""
    ticks: int
    """For how many it has been silent."""
    mean_gap: float
    p_value: float


class _Said(msgspec.Struct, array_like=True):
    """What is known of a template; gaps in ticks."""

    owner: int
    tick: int
    spoke: int
    gaps: int = 0
    mean: float = 0.0
    square: float = 0.0
    longest: float = 0.0
    silent: bool = False

    def learn(self, gap: int) -> None:
        self.gaps += 1
        share = 1.0 / min(self.gaps, MIN_GAPS)
        self.mean += (gap - self.mean) * share
        self.square += (gap * gap - self.square) * share
        self.longest = max(float(gap), self.longest * LONGEST_FADES)

    @property
    def regular(self) -> bool:
        return self.square <= 2.0 * self.mean * self.mean


class _Owner(msgspec.Struct, array_like=True):
    """In how many ticks an instance said anything."""

    tick: int
    spoke: int = 0


class _Saved(msgspec.Struct):
    said: dict[int, _Said]
    owners: dict[int, _Owner]
    due: list[tuple[int, int]]


class TemplateSilence:
    """Templates of one partition.

    Args:
        ticks_a_day: ticks of a day.
        adapt_ticks: a silence of so many ticks is the new normal.
        state: what `freeze` returned.

    """

    def __init__(self, ticks_a_day: float, adapt_ticks: int, state: bytes | None = None) -> None:
        self._ticks_a_day = ticks_a_day
        self._adapt_ticks = adapt_ticks
        saved = _Saved({}, {}, []) if state is None else msgspec.msgpack.decode(state, type=_Saved)
        self._said, self._owners, self._due = saved.said, saved.owners, saved.due
        heapify(self._due)

    def freeze(self) -> bytes:
        """State to go on from."""
        return msgspec.msgpack.encode(_Saved(self._said, self._owners, sorted(self._due)))

    def forget(self, rows: list[int]) -> None:
        """Drop what is known of rows that are no longer in use."""
        for row in rows:
            self._said.pop(row, None)
            self._owners.pop(row, None)

    def hear(self, row: int, owner: int, tick: int) -> Silence | None:
        """Note that a template was said, by the instance whose errors are counted in `owner`."""
        speaks = self._owners.get(owner)
        if speaks is None:
            speaks = self._owners[owner] = _Owner(tick)
        if tick > speaks.tick:
            speaks.tick, speaks.spoke = tick, speaks.spoke + 1
        said = self._said.get(row)
        if said is None:
            self._said[row] = _Said(owner, tick, speaks.spoke)
            return None
        gap = tick - said.tick
        if gap <= 0:
            return None
        before, said.tick, said.spoke = said.tick, tick, speaks.spoke
        if said.silent:
            said.silent = False
            return Silence(row, "cleared", before, gap, said.mean, 1.0)
        said.learn(gap)
        if said.gaps == MIN_GAPS:
            heappush(self._due, (tick + ceil(said.mean), row))
        return None

    def pass_time(self, tick: int, false_a_day: float) -> Iterator[Silence]:
        """Judge what is due by this tick. A template costs one look for each of its bars that pass.

        Args:
            tick: that has begun.
            false_a_day: signals that all series of the partition may raise a day by chance.

        """
        looks = self._ticks_a_day / (FALSE_SHARE * false_a_day)
        while self._due and self._due[0][0] <= tick:
            _, row = heappop(self._due)
            said = self._said.get(row)
            if said is not None and said.gaps >= MIN_GAPS:
                yield from self._look(row, said, tick, self._bar(said, looks))

    def _look(self, row: int, said: _Said, tick: int, bar: int) -> Iterator[Silence]:
        ticks = tick - said.tick
        told = Silence(row, "firing", said.tick, ticks, said.mean, exp(-ticks / said.mean))
        if said.silent and ticks >= self._adapt_ticks:
            del self._said[row]
            yield Silence(row, "adapted", said.tick, ticks, said.mean, 1.0)
            return
        wait = self._adapt_ticks if said.silent else bar
        if ticks < wait:
            heappush(self._due, (said.tick + wait, row))
            return
        if said.regular and self._still_speaks(said, tick):
            said.silent = True
            heappush(self._due, (said.tick + max(self._adapt_ticks, ticks + 1), row))
            yield told
        else:
            # Nobody speaks there, or it never was regular: look again later.
            heappush(self._due, (tick + bar, row))

    def _still_speaks(self, said: _Said, tick: int) -> bool:
        speaks = self._owners.get(said.owner)
        if speaks is None or speaks.spoke - said.spoke < STILL_SPEAKS:
            return False
        return tick - speaks.tick <= STILL_SHARE * (tick - said.tick)

    def _bar(self, said: _Said, looks: float) -> int:
        """Ticks of silence that are evidence enough, where each template is looked at so often per false signal."""
        all_looks = max(1.0, len(self._said) * looks / said.mean)
        return ceil(max(1.0 + said.mean * log(all_looks), LONGEST_TIMES * said.longest))
