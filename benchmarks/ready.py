"""Compile what a worker compiles once in its life, so that it is not in what is measured, as no engine's start is."""

from __future__ import annotations

import numpy as np
import orjson

from detectors import compiled as loops
from detectors.bank import BankSettings
from schemas.envelope import NANOS
from schemas.topics import RAW_METRICS
from streams.batch import Batch
from streams.decoding import compiled as decoding
from streams.kernel.detect import DetectRules
from streams.kernel.detect_metrics import MetricDetect

# Past the warm-up of instances and peers, 64 looks.
_TICKS = 80
_INSTANCES = 6
_METRICS = 4
_T0 = 1_700_000_000 * NANOS


def compile_all() -> None:
    """Return when it is done."""
    decoding.ensure()
    loops.ensure(_judge_some)


def _judge_some() -> None:
    kernel = MetricDetect(DetectRules(signal_partitions=1, max_series=100, bank=BankSettings()), 0)
    noise = np.random.default_rng(0)
    for second in range(_TICKS):
        values = [orjson.dumps(_block(instance, second, noise)) for instance in range(_INSTANCES)]
        many = len(values)
        kernel.take(RAW_METRICS, Batch("t", 0, values, [b"k"] * many, range(many), [0] * many))


def _block(instance: int, second: int, noise: np.random.Generator) -> dict[str, object]:
    return {
        "resource": {"service.name": "svc", "service.instance.id": f"i-{instance}"},
        "series": [{"name": f"metric.{j}"} for j in range(_METRICS)],
        "time_unix_nano": [_T0 + second * NANOS],
        "value": noise.normal(100.0, 5.0, (_METRICS, 1)).tolist(),
    }
