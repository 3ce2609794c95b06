"""A series bank at rest: everything it knows as bytes, and a bank that goes on from them exactly.

Used by the detect kernels' snapshots. Arrays are kept as they lie in memory (little-endian), so freezing costs a copy.
"""

from __future__ import annotations

import msgspec

from detectors.bank import BankSettings, SeriesBank
from detectors.bank_columns import Columns
from detectors.bank_rows import PackedArray, freeze_rows, pack, thaw_rows, unpack
from detectors.coarse import CoarseSeries


class _Frozen(msgspec.Struct):
    columns: dict[str, PackedArray]
    samples: tuple[PackedArray, PackedArray, PackedArray]
    high: int
    closed: int
    late: int
    coarse: tuple[bytes, bytes]
    calibration: bytes


def freeze(bank: SeriesBank) -> bytes:
    """Everything the bank knows, its settings aside."""
    series, time, value = bank.open_samples()
    return msgspec.msgpack.encode(
        _Frozen(
            columns={name: pack(column) for name, column in bank.columns._asdict().items()},
            samples=(pack(series), pack(time), pack(value)),
            high=bank.high,
            closed=bank.closed,
            late=bank.late,
            coarse=bank.coarse.freeze(),
            calibration=freeze_rows(bank.calibration),
        )
    )


def thaw(state: bytes, settings: BankSettings) -> SeriesBank:
    """Make the bank that `freeze` was given. The window must be the same as then."""
    frozen = msgspec.msgpack.decode(state, type=_Frozen)
    bank = SeriesBank(settings)
    columns = Columns(**{name: unpack(array) for name, array in frozen.columns.items()})
    series, time, value = (unpack(array) for array in frozen.samples)
    bank.coarse = CoarseSeries.thaw(*frozen.coarse)
    thaw_rows(bank.calibration, frozen.calibration)
    bank.resume(columns, (series, time, value), high=frozen.high, closed=frozen.closed, late=frozen.late)
    return bank
