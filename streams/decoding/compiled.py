"""The compiled loop of `streams.decoding.scan`, for those who read enough to be worth it.

Importing Numba and compiling take seconds of processor time, once a process (less when what was compiled is cached on
disk). Who reads little never pays that. Meanwhile, and where it cannot be had at all, records are parsed as ever: the
loop makes no difference but to the time it takes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from detectors.compiled import beside

if TYPE_CHECKING:
    from streams.decoding.scan import Bytes, Floats, Ints, Parts, Table

log = logging.getLogger(__name__)

# The loop saves about a microsecond a record. Who has read so many in a process will, as a rule, read many millions.
WORTH_RECORDS = 100_000


class Loop(NamedTuple):
    """What `streams.decoding.scan` offers."""

    scan: Callable[[Bytes, Ints, Table, tuple[Ints, Ints, Floats]], list[tuple[int, int, int]]]
    find_cut: Callable[[Bytes], tuple[int, int, int, int, bool]]
    find: Callable[[Parts, bool, Table], int]
    hash_parts: Callable[[Parts], int]


@cache
def load() -> Loop | None:
    """Compile the loop, now; None where that cannot be done."""
    try:
        from streams.decoding import scan  # noqa: PLC0415 - importing Numba takes a second

        scan.warm()
    except Exception:  # whatever keeps it from compiling: there is another way to read records
        log.exception("records are parsed one by one: the loop that reads them faster was not compiled")
        return None
    return Loop(scan.scan, scan.find_cut, scan.find, scan.hash_parts)


class _Waiting:
    """Whether it is worth it yet."""

    def __init__(self) -> None:
        self.records = 0
        self.asked = False
        self.loop: Loop | None = None

    def make(self) -> None:
        self.loop = load()


_waiting = _Waiting()


def loop(records: int) -> Loop | None:
    """Return the loop if there is one. It is made, beside everything else, once enough `records` have been read."""
    waiting = _waiting
    if waiting.loop is None and not waiting.asked:
        waiting.records += records
        if waiting.records >= WORTH_RECORDS:
            waiting.asked = True
            beside(waiting.make)
    return waiting.loop


def ensure() -> None:
    """Wait until there is a loop: for whoever measures it, or tests it."""
    _waiting.make()
