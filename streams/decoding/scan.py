"""The compiled loop of `streams.decoding.skeletons`: find known records in a batch, and read their two numbers.

Loaded by `streams.decoding.compiled`. By Numba, which PyOD brings: of all ways to run such a loop at the speed of the
machine it is the only one that needs neither a compiler nor a build; and it lets go of Python's lock meanwhile, so that
records go on being received. Anything unusual is left to whoever can judge it: a record may be missed, never mistaken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import jit
from streams.decoding.skeletons import MAX_BYTES, MISSED

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
# What is left of a record without its numbers.
Parts = tuple[Bytes, Bytes, Bytes]
# The slots of a hash table, each an entry or -1, `[power of two]`; of each entry its hash, `[entries]`, and its shape,
# `[entries, 6]`: where its bytes begin, how long its parts are, whether the time comes first, its row; and all bytes.
Table = tuple[Ints, Ints, Ints, Bytes]
Function = TypeVar("Function", bound=Callable[..., object])

# A number that was read, and one that the caller has to read.
EXACT, CARE = 0, 1
# Slots looked at for one record: a producer that makes its records collide gains a look at each, no more.
_MOST_PROBES = 16

_TIME = np.frombuffer(b'"time_unix_nano"', np.uint8)
_VALUE = np.frombuffer(b'"value"', np.uint8)
_QUOTE, _COLON, _SPACE, _MINUS, _PLUS, _DOT = 34, 58, 32, 45, 43, 46
_ZERO, _NINE, _LOWER_E, _UPPER_E = 48, 57, 101, 69
# Up to here all integers are floats, and these powers of ten are floats, too: one multiplication or division of the two
# is rounded once, and so correctly (Clinger, PLDI 1990).
_MOST_MANTISSA = 2**53
_MOST_POWER = 22
_POWERS = 10.0 ** np.arange(_MOST_POWER + 1)
_MOST_TIME = 2**63 - 1
# One weight a place: a sum of products is a universal hash (Carter and Wegman 1979), and is made many places at a time.
_WEIGHTS = np.random.default_rng(1).integers(1, 2**32, MAX_BYTES, dtype=np.uint32)


def _compiled(function: Function) -> Function:
    return cast(Function, jit(function))


# Every loop runs over a part from its beginning: an index that may be negative costs a look at each byte.


@_compiled
def _ends_with(record: Bytes, stop: int, name: Bytes) -> bool:
    """Whether `name` stands before `stop`. The first byte of a record is none of a name's."""
    start = stop - len(name)
    return start > 0 and _same(record[start:stop], name)


@_compiled
def _same(part: Bytes, known: Bytes) -> bool:
    different = np.uint8(0)
    for i in range(len(part)):  # no early end: many bytes are compared at a time
        different |= part[i] ^ known[i]
    return bool(different == 0)


@_compiled
def _is_of_number(byte: int) -> bool:
    return bool(_ZERO <= byte <= _NINE) or byte in (_MINUS, _PLUS, _DOT, _LOWER_E, _UPPER_E)


@_compiled
def _number(record: Bytes, start: int) -> tuple[int, int]:
    """Return where a number begins, behind spaces, and where its bytes end; equal where there is none."""
    part = record[start:]
    begin = 0
    for i in range(len(part)):
        if part[i] == _SPACE and begin == i:
            begin += 1
        elif not _is_of_number(part[i]):
            return start + begin, start + i
    return start + begin, start + len(part)


@_compiled
def find_cut(record: Bytes) -> tuple[int, int, int, int, bool]:
    """Find the two numbers of a record: where the first begins and ends, the second, and whether the first is the time.

    All 0 where there are no such two.
    """
    time_at, time_end, value_at, value_end = 0, 0, 0, 0
    for i in range(1, len(record)):
        if record[i] != _COLON or record[i - 1] != _QUOTE:
            continue
        if time_at == time_end and _ends_with(record, i, _TIME):
            time_at, time_end = _number(record, i + 1)
        elif value_at == value_end and _ends_with(record, i, _VALUE):
            value_at, value_end = _number(record, i + 1)
        else:
            continue
        if time_at < time_end and value_at < value_end:
            if time_at < value_at:
                return time_at, time_end, value_at, value_end, True
            return value_at, value_end, time_at, time_end, False
    return 0, 0, 0, 0, False


@_compiled
def _weigh(part: Bytes, weights: NDArray[np.uint32]) -> np.uint32:
    found = np.uint32(0)
    for i in range(len(part)):
        found += np.uint32(part[i]) * weights[i]
    return found


@_compiled
def hash_parts(parts: Parts) -> int:
    """Hash at most `MAX_BYTES` bytes. Equal hashes are looked into."""
    found = _weigh(parts[0], _WEIGHTS)
    found += _weigh(parts[1], _WEIGHTS[len(parts[0]) :])
    found += _weigh(parts[2], _WEIGHTS[len(parts[0]) + len(parts[1]) :])
    return int(found ^ (found >> np.uint32(15)))  # the low bits of such a sum are its worst


@_compiled
def _is_entry(parts: Parts, shape: Ints, known: Bytes) -> bool:
    a, b, c = len(parts[0]), len(parts[1]), len(parts[2])
    if shape[1] != a or shape[2] != b or shape[3] != c:
        return False
    at = shape[0]
    return (
        _same(parts[0], known[at : at + a])
        and _same(parts[1], known[at + a : at + a + b])
        and _same(parts[2], known[at + a + b : at + a + b + c])
    )


@_compiled
def find(parts: Parts, time_first: bool, table: Table) -> int:
    """Return the entry of a record, or -1."""
    slots, hashes, shapes, known = table
    key = hash_parts(parts)
    mask = len(slots) - 1
    for probe in range(_MOST_PROBES):
        entry = slots[(key + probe) & mask]
        if entry < 0:
            return -1
        if hashes[entry] == key and shapes[entry, 4] == time_first and _is_entry(parts, shapes[entry], known):
            return int(entry)
    return -1


@_compiled
def read_time(digits: Bytes) -> int:
    """Read a positive integer of at most 63 bits; -1 where it is anything else."""
    if len(digits) > 19 or digits[0] == _ZERO:
        return -1
    found = np.uint64(0)
    for i in range(len(digits)):
        digit = digits[i] - np.uint8(_ZERO)  # what is below a zero wraps around
        if digit > 9:
            return -1
        found = found * np.uint64(10) + np.uint64(digit)
    if found > np.uint64(_MOST_TIME):
        return -1
    return np.int64(found)  # type: ignore[return-value]  # not int(): of two kinds of integers Numba makes a float


@_compiled
def _digits(number: Bytes, begin: int, found: int, most: int) -> tuple[int, int, bool]:
    """Read digits behind those that made `found`: where they end, what they make, and whether that is below `most`."""
    i, fits = begin, True
    while i < len(number) and _ZERO <= number[i] <= _NINE:
        fits &= found < most // 10
        if fits:
            found = found * 10 + (int(number[i]) - _ZERO)
        i += 1
    return i, found, fits


@_compiled
def read_value(number: Bytes) -> tuple[int, float]:
    """Read a JSON number: `EXACT` and what it is, `CARE` where that takes more care, `MISSED` where it is none."""
    length = len(number)
    whole = 1 if number[0] == _MINUS else 0
    i, mantissa, exact = _digits(number, whole, 0, _MOST_MANTISSA)
    sound = i > whole and (number[whole] != _ZERO or i - whole == 1)
    # The parser knows best what an integer beyond all floats is, and minus none.
    sound &= i < length or (exact and not (whole and mantissa == 0))
    exponent = 0
    if i < length and number[i] == _DOT:
        fraction = i + 1
        i, mantissa, fits = _digits(number, fraction, mantissa, _MOST_MANTISSA)
        exact &= fits
        exponent = fraction - i
        sound &= exponent < 0
    if i < length and (number[i] == _LOWER_E or number[i] == _UPPER_E):
        down = i + 1 < length and number[i + 1] == _MINUS
        signed = down or (i + 1 < length and number[i + 1] == _PLUS)
        begin = i + 2 if signed else i + 1
        i, power, fits = _digits(number, begin, 0, 1000)
        exact &= fits
        exponent += -power if down else power
        sound &= i > begin
    if i != length or not sound:
        return MISSED, 0.0
    if not exact or exponent > _MOST_POWER or exponent < -_MOST_POWER:
        return CARE, 0.0
    found = mantissa * _POWERS[exponent] if exponent >= 0 else mantissa / _POWERS[-exponent]
    return EXACT, -found if whole else found


@_compiled
def scan(
    data: Bytes, ends: Ints, table: Table, found: tuple[Ints, Ints, Floats]
) -> list[tuple[int, int, int]]:  # fmt: skip
    """Look each record up, and read its numbers.

    Args:
        data: the records, one after the other.
        ends: `[records]` where each ends.
        table: what is known.
        found: filled in, each `[records]`: rows (`MISSED` where a record is not known), times and values.

    Returns:
        Records whose values take more care, each with where it begins and ends in `data`.

    """
    rows, times, values = found
    care = [(0, 0, 0) for _ in range(0)]  # Numba has to be told what is in it
    begin = 0
    for i in range(len(ends)):
        record = data[begin : ends[i]]
        rows[i] = MISSED
        entry = -1
        if len(record) <= MAX_BYTES:
            start, stop, second_start, second_stop, time_first = find_cut(record)
            if stop > start:
                entry = find((record[:start], record[stop:second_start], record[second_stop:]), time_first, table)
        if entry >= 0:
            if not time_first:
                start, stop, second_start, second_stop = second_start, second_stop, start, stop
            time = read_time(record[start:stop])
            kind, value = read_value(record[second_start:second_stop])
            if time > 0 and kind != MISSED:
                rows[i], times[i], values[i] = table[2][entry, 5], time, value
                if kind == CARE:
                    care.append((i, begin + second_start, begin + second_stop))
        begin = ends[i]
    return care


def warm() -> None:
    """Compile everything."""
    record = np.frombuffer(b'{"time_unix_nano":1,"value":1}', np.uint8)
    one = np.zeros(1, np.int64)
    table = (np.full(2, MISSED, np.int64), one, np.zeros((1, 6), np.int64), np.zeros(1, np.uint8))
    scan(record, np.array([len(record)]), table, (one, one, np.zeros(1)))
    find_cut(record)
    find((record, record, record), True, table)
    hash_parts((record, record, record))
