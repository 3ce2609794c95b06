"""A series bank at rest: everything it knows as bytes, and a bank that goes on from them exactly.

Used by the detect kernels' snapshots. Arrays are kept as they lie in memory (little-endian), so freezing costs a copy.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.bank import BankSettings, Columns, SeriesBank


class _Array(msgspec.Struct, array_like=True):
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class _Frozen(msgspec.Struct):
    columns: dict[str, _Array]
    samples: tuple[_Array, _Array, _Array]
    high: int
    closed: int
    late: int


def freeze(bank: SeriesBank) -> bytes:
    """Everything the bank knows, its settings aside."""
    series, time, value = bank.open_samples()
    return msgspec.msgpack.encode(
        _Frozen(
            columns={column.name: _pack(getattr(bank.columns, column.name)) for column in fields(Columns)},
            samples=(_pack(series), _pack(time), _pack(value)),
            high=bank.high,
            closed=bank.closed,
            late=bank.late,
        )
    )


def thaw(state: bytes, settings: BankSettings) -> SeriesBank:
    """Make the bank that `freeze` was given. The window must be the same as then."""
    frozen = msgspec.msgpack.decode(state, type=_Frozen)
    bank = SeriesBank(settings)
    columns = Columns(**{name: _unpack(array) for name, array in frozen.columns.items()})
    series, time, value = (_unpack(array) for array in frozen.samples)
    bank.resume(columns, (series, time, value), high=frozen.high, closed=frozen.closed, late=frozen.late)
    return bank


def _pack(array: NDArray[Any]) -> _Array:
    # Little-endian on disk whatever the machine: a snapshot may be read by another one.
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return _Array(little.dtype.str, little.shape, little.tobytes())


def _unpack(packed: _Array) -> NDArray[Any]:
    array: NDArray[Any] = np.frombuffer(packed.data, np.dtype(packed.dtype)).reshape(packed.shape)
    return array.astype(array.dtype.newbyteorder("="))
