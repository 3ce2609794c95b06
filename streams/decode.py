"""What the detect stage needs to read raw telemetry: a decoder per partition and topic, and what it returns.

`MetricDecoder`, `LogDecoder`, `SpanDecoder` and `alert_decoder(...)` take the lists of one `streams.batch.Batch` and
return `MetricColumns` or `Events`, with the records that could not be used by position. The work is done in
`streams.decoding`; every verdict agrees with `schemas.codec`, except for OTLP, which the codec does not know.
"""

from streams.decoding.events import EventDecoder, Events, LogDecoder, Resource, SpanDecoder, alert_decoder
from streams.decoding.metrics import MetricColumns, MetricDecoder
from streams.decoding.native import AlertRow, LogRow, SpanRow
from streams.decoding.series import Series, SeriesTable

__all__ = [
    "AlertRow",
    "EventDecoder",
    "Events",
    "LogDecoder",
    "LogRow",
    "MetricColumns",
    "MetricDecoder",
    "Resource",
    "Series",
    "SeriesTable",
    "SpanDecoder",
    "SpanRow",
    "alert_decoder",
]
