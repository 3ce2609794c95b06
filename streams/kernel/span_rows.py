"""What spans count for: the rows of errors and durations, named as the Collector's span-metrics connector names them.

Used by `streams.kernel.detect_spans`. Every operation of an instance, with its kind and the service that it calls, has

* `traces.span.metrics.errors`: how many failed in a tick;
* `traces.span.metrics.duration`: their mean in seconds, of all that enter a service or leave it;
* the same with `span.duration` = `own`: less the time that children of the span lasted, of all but calls.

The name is the same because it is the same evidence: an operation that is slow by itself is slow. Spans of one trace
are in one partition, but those of an instance are in all of them, so each partition has series of its own, told apart
by `messaging.destination.partition.id`. How many calls come is not judged: that is the callers' doing, and what traces
are sampled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from detectors.bank_columns import Kind
from detectors.span_tree import CALLING, Held
from detectors.topology import PEER, SPAN_KIND
from schemas.envelope import NANOS, AttributeValue
from schemas.raw import InstrumentKind
from streams.decoding.series import UNKNOWN, Identity, SeriesTable, Temporality

ERRORS = "traces.span.metrics.errors"
DURATION = "traces.span.metrics.duration"
SPAN_NAME, OF = "span.name", "span.duration"
OWN = "own"
PARTITION = "messaging.destination.partition.id"
# What OpenTelemetry puts in place of attributes of which there are too many.
OVERFLOW = "otel.metric.overflow"
# Of the name of an operation, and of a service: what is longer is cut.
MAX_NAME = 256

_SEP = "\0"


class _Operation(NamedTuple):
    environment: str
    service: str
    instance: str
    name: str
    kind: str
    peer: str


class _Totals:
    """Of the spans of one operation in one tick."""

    __slots__ = ("calls", "durations", "errors", "owned", "owns")

    def __init__(self) -> None:
        self.calls = self.errors = self.durations = self.owned = self.owns = 0


class SpanRows:
    """Gives spans their rows in the table.

    Args:
        table: in which the rows are.
        partition: of the raw topic.
        most_names: operations kept apart of one service; more are one.

    """

    def __init__(self, table: SeriesTable, partition: int, most_names: int) -> None:
        self._table, self._partition, self._most = table, str(partition), most_names
        self._names: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.learn_names()

    def learn_names(self) -> None:
        """Keep the names of operations that have rows, and no others."""
        self._names.clear()
        for row in self._table.rows():
            entity, _, attributes = self._table.place(row)
            name = orjson.loads(attributes).get(SPAN_NAME)
            if name is not None:
                self._names[entity.environment, entity.service].add(name)

    def take_new(self) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """Rows given out since the last call: `[n]` each, and its `Kind`."""
        rows = self._table.take_new()
        counts = [self._table.kind(row)[0] == "counter" for row in rows]
        return np.array(rows, np.int64), np.where(counts, Kind.COUNT, Kind.GAUGE).astype(np.int8)

    def count(self, spans: Iterable[Held]) -> tuple[list[int], list[float]]:
        """Return what the spans of a tick count for: rows, and the value of each."""
        totals: dict[_Operation, _Totals] = {}
        for span in spans:
            peer = span.peer if span.kind in CALLING else ""
            operation = _Operation(span.environment, span.service, span.instance, span.name, span.kind, peer)
            total = totals.get(operation)
            if total is None:
                total = totals[operation] = _Totals()
            total.calls += 1
            total.errors += span.failed
            total.durations += span.end - span.start
            own = span.own
            if own is not None:
                total.owned, total.owns = total.owned + own, total.owns + 1
        rows: list[int] = []
        values: list[float] = []
        for operation, total in totals.items():
            for name, of, value in _measured(operation, total):
                row = self._row(operation, name, of)
                if row >= 0:
                    rows.append(row)
                    values.append(value)
                else:
                    self._table.overflow += 1
        return rows, values

    def _row(self, operation: _Operation, name: str, of: str) -> int:
        spelling = _SEP.join((*operation, name, of)).encode()
        row = self._table.find(spelling, UNKNOWN)
        return self._admit(spelling, operation, name, of) if row == UNKNOWN else row

    def _admit(self, spelling: bytes, operation: _Operation, name: str, of: str) -> int:
        attributes: dict[str, AttributeValue] = {SPAN_KIND: operation.kind, PARTITION: self._partition}
        known = self._names.get((operation.environment, operation.service), ())
        fits = operation.name in known or len(known) < self._most
        if fits:
            attributes[SPAN_NAME] = operation.name
        else:
            attributes[OVERFLOW] = True
        if operation.peer:
            attributes[PEER] = operation.peer
        if of:
            attributes[OF] = of
        row = self._table.admit(spelling, Identity(name, *_KINDS[name], attributes, _resource(operation), _UNITS[name]))
        if fits and row >= 0:
            self._names[operation.environment, operation.service].add(operation.name)
        return row


_KINDS: dict[str, tuple[InstrumentKind, Temporality]] = {
    ERRORS: ("counter", "delta"),
    DURATION: ("gauge", "unspecified"),
}
_UNITS = {ERRORS: "{error}", DURATION: "s"}


def _measured(operation: _Operation, total: _Totals) -> Sequence[tuple[str, str, float]]:
    """Return what a tick shows of an operation: name, of what, value."""
    found = [(ERRORS, "", float(total.errors))]
    if operation.kind != "internal":
        found.append((DURATION, "", total.durations / total.calls / NANOS))
    if operation.kind not in CALLING and total.owns:
        found.append((DURATION, OWN, total.owned / total.owns / NANOS))
    return found


def _resource(operation: _Operation) -> dict[str, AttributeValue]:
    resource: dict[str, AttributeValue] = {
        "deployment.environment.name": operation.environment,
        "service.name": operation.service,
    }
    if operation.instance:
        resource["service.instance.id"] = operation.instance
    return resource
