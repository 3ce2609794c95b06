"""Measured quantities in log lines: the first number of a line that has a unit ("took 45 ms", "size=3.2MB").

Called by `detectors.log_templates` for the first line of a template, and by `streams.kernel.log_rows` for every line of
one that has such a number. A number without a unit is more often a name (an order, a port, a status) than a quantity,
and the names of tomorrow are no shift.
"""

from __future__ import annotations

import re

# What one of a unit is in seconds, bytes or shares of one.
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "secs": 1.0,
    "seconds": 1.0,
    "B": 1.0,
    "bytes": 1.0,
    "kB": 1e3,
    "KB": 1024.0,
    "KiB": 1024.0,
    "MB": 1e6,
    "MiB": 1048576.0,
    "GB": 1e9,
    "GiB": 1073741824.0,
    "%": 0.01,
}
_UNIT = "|".join(sorted(_UNITS, key=len, reverse=True))
# A key may stand before it, brackets around it; fifteen digits are what a float holds.
_QUANTITY = re.compile(rf"(?:[A-Za-z_][\w.-]*[=:])?[(\[]?(\d{{1,15}}(?:\.\d{{1,15}})?)({_UNIT})?[)\],;.]*")
# Beyond this many words nothing is looked for.
MAX_WORDS = 16


def quantity_of(line: str) -> int:
    """Return which word of a line is its first quantity, from 0; -1 where it has none."""
    words = line.split(maxsplit=MAX_WORDS)[:MAX_WORDS]
    for at, word in enumerate(words):
        found = _QUANTITY.fullmatch(word)
        if found and (found[2] or (at + 1 < len(words) and words[at + 1].rstrip(",;.)]") in _UNITS)):
            return at
    return -1


def read_quantity(line: str, word: int) -> float | None:
    """Read a quantity in seconds, bytes or as a share; as it stands where the unit is a word of its own.

    >>> quantity_of("served order 17 in 250ms"), read_quantity("served order 18 in 1.5s", 4)
    (4, 1.5)
    """
    words = line.split(maxsplit=word + 1)
    found = _QUANTITY.fullmatch(words[word]) if word < len(words) else None
    return None if found is None else float(found[1]) * _UNITS.get(found[2], 1.0)
