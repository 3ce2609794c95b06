"""Histories of incidents and alerts from anywhere, as occurrences for `learning.assess`.

| what | recognised by |
|---|---|
| CSV | the suffix `.csv`; columns by their usual names, PagerDuty's incident export among them |
| PagerDuty | `{"incidents": [...]}` of its REST API, or a line each of its webhooks (`{"event": {...}}`) |
| Alertmanager | webhook bodies, one or a line each; or the list that `GET /api/v2/alerts` answers |
| JSON lines | one object a line with the same names as in CSV |
| our own | records of the topics `incidents`, `learning` and `raw.alerts`, see `streams.archived` |

Everything in them is written by strangers: text is cut and stripped before anyone sees it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from learning.occurrence import Occurrence
from schemas.envelope import NANOS, content_id, entity_of
from schemas.errors import ConfigurationError, RecordError
from schemas.incident import Incident
from schemas.outcome import Outcome, Result
from schemas.raw import Alert
from streams.archived import files_of, lines, record_of
from streams.sources.alertmanager import parse_group
from streams.sources.common import clean, clean_labels, nanos_of, resource_of_labels, severity_of

# The names that exports use, in order of preference.
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "incident_id", "incident_number", "number", "key"),
    "title": ("title", "summary", "description", "name", "alertname", "short_description"),
    "service": ("service", "service_name", "service.name", "component", "cmdb_ci"),
    "environment": ("environment", "env", "deployment.environment"),
    "severity": ("severity", "priority", "urgency", "impact"),
    "started": ("started", "started_at", "created_on", "created_at", "created", "opened_at", "opened", "triggered_at"),
    "acknowledged": ("acknowledged", "acknowledged_at", "acked_at", "acknowledged_on"),
    "ended": ("ended", "ended_at", "resolved_on", "resolved_at", "resolved", "closed_at", "closed"),
    "label": ("class", "label", "category"),
    "resolution": ("resolution", "resolution_notes", "resolve_reason", "close_notes", "action_taken", "fix"),
    "seconds_to_acknowledge": ("seconds_to_first_ack", "seconds_to_acknowledge"),
    "seconds_to_resolve": ("seconds_to_resolve", "duration_seconds"),
}


def read_history(paths: Iterable[Path]) -> list[Occurrence]:
    """Read files of any mixture of these formats, and archives.

    Raises:
        ConfigurationError: naming the file and line that cannot be read.

    """
    gathered = Gathered()
    for path in files_of(paths):
        if path.suffix == ".csv":
            gathered.rows(path)
        else:
            gathered.json(path)
    return gathered.occurrences()


class Gathered:
    """What was read so far; what comes as events of its own (fired, ended) is paired at the end."""

    def __init__(self) -> None:
        self._done: list[Occurrence] = []
        self._incidents: dict[str, Incident] = {}
        self._fixes: dict[str, str] = {}
        self._alerts: dict[str, Alert] = {}
        self._paged: dict[str, dict[str, Any]] = {}

    def rows(self, path: Path) -> None:
        """Take a CSV file."""
        text = b"\n".join(lines(path)).decode("utf-8-sig", "replace").splitlines()
        for number, row in enumerate(csv.DictReader(text), 2):
            with _at(path, number):
                self._done.append(_of_row(row))

    def json(self, path: Path) -> None:
        """Take a file of JSON: one document, or one a line."""
        content = list(lines(path))
        try:
            whole = orjson.loads(b"\n".join(content))
        except orjson.JSONDecodeError:
            for number, line in enumerate(content, 1):
                with _at(path, number):
                    self.document(orjson.loads(line))
            return
        for document in whole if isinstance(whole, list) else [whole]:
            with _at(path, 1):
                self.document(document)

    def document(self, document: Any) -> None:
        """Take one object of any known shape."""
        if not isinstance(document, dict):
            raise UnreadableLineError("expected an object")
        record = record_of(document)
        if isinstance(record, (Incident, Outcome, Alert)):
            self.record(record)
        elif record is not None:
            pass  # of another topic of ours: it is no history of incidents
        elif isinstance(document.get("incidents"), list):
            self._done += [_of_pagerduty(found) for found in document["incidents"]]
        elif isinstance(document.get("event"), dict):
            self._page(document["event"])
        elif isinstance(document.get("alerts"), list) and "version" in document:
            for _, alert in parse_group("alertmanager", orjson.dumps(document), versions=("4",)):
                self.record(alert)
        elif isinstance(document.get("labels"), dict) and "startsAt" in document:
            self._done.append(_of_api_alert(document))
        else:
            self._done.append(_of_row(document))

    def record(self, record: Incident | Outcome | Alert) -> None:
        """Take a record of our own topics."""
        if isinstance(record, Incident):
            known = self._incidents.get(record.id)
            if known is None or record.revision >= known.revision:
                self._incidents[record.id] = record
        elif isinstance(record, Outcome):
            if record.result is Result.VERIFIED and record.undoes is None:
                self._fixes[record.incident_id] = record.playbook.replace("-", " ")
        else:
            self._alert(record)

    def occurrences(self) -> list[Occurrence]:
        """Give all that was read."""
        ours = [_of_incident(incident, self._fixes.get(incident.id, "")) for incident in self._incidents.values()]
        still = [_of_alert(alert, None) for alert in self._alerts.values()]
        paged = [_of_pages(identity, pages) for identity, pages in self._paged.items() if "triggered" in pages]
        return [*self._done, *ours, *still, *paged]

    def _alert(self, alert: Alert) -> None:
        key = f"{alert.source}/{alert.fingerprint}"
        if alert.status == "firing":
            self._alerts.setdefault(key, alert)
        elif (began := self._alerts.pop(key, None)) is not None:
            self._done.append(_of_alert(began, alert.time_unix_nano))

    def _page(self, event: Mapping[str, Any]) -> None:
        data = event.get("data")
        if not isinstance(data, dict) or "id" not in data:
            raise UnreadableLineError("a PagerDuty event without data.id")
        kind = str(event.get("event_type", "")).removeprefix("incident.")
        self._paged.setdefault(str(data["id"]), {}).setdefault(kind, {**data, "occurred_at": event["occurred_at"]})


class UnreadableLineError(ValueError):
    """A line that no format explains."""


@contextmanager
def _at(path: Path, line: int) -> Iterator[None]:
    """Name the place of what goes wrong within."""
    try:
        yield
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise ConfigurationError(f"{path}:{line}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    except (RecordError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path}:{line}: {type(error).__name__}: {str(error)[:200]}") from None


def _of_row(row: Mapping[str, Any]) -> Occurrence:
    names = {str(name).strip().lower().replace(" ", "_"): value for name, value in row.items() if name is not None}
    found = {field: _first(names, columns) for field, columns in _COLUMNS.items()}
    started = _nanos(found["started"])
    if started is None:
        raise UnreadableLineError(f"no time of its beginning: give one of {', '.join(_COLUMNS['started'])}")
    title = clean(found["title"]) or "untitled"
    return Occurrence(
        id=clean(found["id"]) or content_id("row", title, started, found["service"]),
        title=title,
        service=clean(found["service"]) or "unknown",
        environment=clean(found["environment"]) or "default",
        severity=severity_of(found["severity"]),
        started_unix_nano=started,
        acknowledged_unix_nano=_nanos(found["acknowledged"]) or _after(started, found["seconds_to_acknowledge"]),
        ended_unix_nano=_nanos(found["ended"]) or _after(started, found["seconds_to_resolve"]),
        label=clean(found["label"]),
        resolution=clean(found["resolution"]),
    )


def _of_pagerduty(found: Mapping[str, Any]) -> Occurrence:
    """Read an incident of PagerDuty's REST API."""
    ended = found.get("resolved_at") or (found.get("last_status_change_at") if found["status"] == "resolved" else None)
    acknowledged = [str(one["at"]) for one in found.get("acknowledgements") or () if "at" in one]
    return Occurrence(
        id=clean(str(found["id"])),
        title=clean(str(found.get("title") or found.get("summary") or "untitled")),
        service=_summary(found.get("service")) or "unknown",
        severity=severity_of(_summary(found.get("priority")), str(found.get("urgency") or "")),
        started_unix_nano=nanos_of(found["created_at"]),
        acknowledged_unix_nano=nanos_of(min(acknowledged)) if acknowledged else None,
        ended_unix_nano=nanos_of(ended) if ended else None,
        resolution=_note(found),
    )


def _note(found: Mapping[str, Any]) -> str:
    """Give the last note, else the reason it was resolved for."""
    notes = [str(note.get("content", "")) for note in found.get("notes") or () if isinstance(note, dict)]
    reason = found.get("resolve_reason")
    told = reason.get("type", "") if isinstance(reason, dict) else reason
    return clean(notes[-1] if notes else str(told or ""))


def _of_pages(identity: str, pages: Mapping[str, Mapping[str, Any]]) -> Occurrence:
    """Put together the webhooks about one PagerDuty incident."""
    first = pages["triggered"]
    times = {kind: nanos_of(page["occurred_at"]) for kind, page in pages.items()}
    return Occurrence(
        id=clean(identity),
        title=clean(str(first.get("title") or "untitled")),
        service=_summary(first.get("service")) or "unknown",
        severity=severity_of(_summary(first.get("priority")), str(first.get("urgency") or "")),
        started_unix_nano=times["triggered"],
        acknowledged_unix_nano=times.get("acknowledged"),
        ended_unix_nano=times.get("resolved"),
    )


def _of_api_alert(found: Mapping[str, Any]) -> Occurrence:
    """Read an alert of Alertmanager's own API; `endsAt` lies ahead while it fires."""
    labels = clean_labels(found["labels"])
    entity = entity_of(resource_of_labels(labels))
    started, ended = nanos_of(found["startsAt"]), nanos_of(str(found.get("endsAt") or "0001-01-01T00:00:00Z"))
    state = (found.get("status") or {}).get("state")
    return Occurrence(
        id=content_id("alert", found.get("fingerprint") or labels, started),
        title=labels.get("alertname", "unnamed alert"),
        service=entity.service,
        environment=entity.environment,
        severity=severity_of(labels.get("priority"), labels.get("severity")),
        started_unix_nano=started,
        ended_unix_nano=None if state == "active" else ended or None,
    )


def _of_alert(alert: Alert, ended: int | None) -> Occurrence:
    entity = entity_of(alert.resource)
    return Occurrence(
        id=content_id("alert", alert.source, alert.fingerprint, alert.time_unix_nano),
        title=clean(alert.name),
        service=clean(entity.service),
        environment=clean(entity.environment),
        severity=alert.severity,
        started_unix_nano=alert.time_unix_nano,
        ended_unix_nano=ended,
    )


def _of_incident(incident: Incident, fix: str) -> Occurrence:
    label = incident.classification.label
    return Occurrence(
        id=incident.id,
        title=label if label != "unknown" else clean(incident.title),
        service=clean(incident.service),
        environment=clean(incident.environment),
        severity=incident.severity,
        started_unix_nano=incident.onset_unix_nano,
        ended_unix_nano=incident.resolved_unix_nano,
        label=label,
        resolution=fix,
    )


def _first(names: Mapping[str, Any], columns: Iterable[str]) -> str:
    return next((str(names[column]) for column in columns if names.get(column) not in (None, "")), "")


def _summary(reference: Any) -> str:
    return clean(str(reference.get("summary") or reference.get("name") or "")) if isinstance(reference, dict) else ""


def _after(started: int, seconds: str) -> int | None:
    return started + int(float(seconds) * NANOS) if seconds else None


def _nanos(text: str) -> int | None:
    """Read a time: RFC 3339, ISO 8601 without a zone (taken as UTC), or seconds or nanoseconds since the epoch."""
    if not text:
        return None
    if text.isdigit():
        return int(text) if len(text) > 15 else int(text) * NANOS
    try:
        moment = datetime.fromisoformat(text.strip().replace(" UTC", "+00:00"))
    except ValueError:
        raise UnreadableLineError(f"not a time: {text[:50]!r}") from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp()) * NANOS + aware.microsecond * 1000


def of_topics(records: Iterable[Any]) -> Iterator[Occurrence]:
    """Make occurrences of records read from topics."""
    gathered = Gathered()
    for record in records:
        if isinstance(record, (Incident, Outcome, Alert)):
            gathered.record(record)
    yield from gathered.occurrences()
