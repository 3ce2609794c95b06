"""Inbound formats of other systems, one module each: pure functions from bytes to records of the catalogue.

Webhooks (`WEBHOOKS`) are served by the console under `/webhooks/<name>`, which is given the parsers by the command
line. The line formats of collectors (`prometheus`, `fluent_bit`, `vector`) turn one record of a foreign topic into one
of ours. OTLP needs none of this: the raw topics take it as it is (`streams.decoding.otlp`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from schemas.raw import Alert
from streams.sources import (
    alertmanager,
    alertmanager_api,
    alertmanager_events,
    cloudwatch,
    datadog,
    grafana,
    pagerduty,
    sentry,
)

# (body, headers) -> (record key, alert) pairs; raises RecordError for what the source does not send.
WebhookParser = Callable[[bytes, Mapping[str, str]], list[tuple[str, Alert]]]

WEBHOOKS: dict[str, WebhookParser] = {
    "alertmanager": alertmanager.parse,
    "alertmanager-api": alertmanager_api.parse,
    "alertmanager-events": alertmanager_events.parse,
    "cloudwatch": cloudwatch.parse,
    "datadog": datadog.parse,
    "grafana": grafana.parse,
    "pagerduty": pagerduty.parse,
    "sentry": sentry.parse,
}
