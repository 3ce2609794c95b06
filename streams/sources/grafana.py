"""Grafana Alerting's webhook to alerts: Alertmanager's shape with a version of its own.

Served by the console as `/webhooks/grafana`. The fields that Grafana adds (values, links to panels, an image) are for
people and are not kept.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.raw import Alert
from streams.sources.alertmanager import parse_group


def parse(body: bytes, headers: Mapping[str, str]) -> list[tuple[str, Alert]]:  # noqa: ARG001 - a WebhookParser
    """Return the alerts of a notification with their record keys; raises RecordError for anything else."""
    # "1" is Grafana's own; contact points imported from Mimir send "4".
    return parse_group("grafana", body, versions=("1", "4"))
