"""Exports of several systems become the same occurrences; what is broken is named with its file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from learning.occurrence import Occurrence
from schemas.codec import encode
from schemas.envelope import NANOS
from schemas.errors import ConfigurationError
from streams.cli import app
from streams.histories import of_topics, read_history
from tests.docs.pages import ROOT
from tests.schemas.records import INCIDENT, NOW, OUTCOME
from tests.streams.arc import alert

EXAMPLE = ROOT / "examples" / "histories" / "incidents.csv"
BEGAN = 1_790_000_000 * NANOS  # 2026-09-21T14:13:20Z
PAGERDUTY = {
    "id": "PT4KHLK",
    "title": "Checkout is slow",
    "service": {"id": "PWIXJZS", "summary": "checkout"},
    "urgency": "high",
    "status": "resolved",
    "created_at": "2026-09-21T14:13:20Z",
    "last_status_change_at": "2026-09-21T14:43:20Z",
    "acknowledgements": [{"at": "2026-09-21T14:15:20Z"}],
    "notes": [{"content": "rolled back"}],
}
API_ALERT = {
    "fingerprint": "c1",
    "labels": {"alertname": "HighLatency", "service": "checkout", "severity": "warning", "env": "prod"},
    "annotations": {},
    "startsAt": "2026-09-21T14:13:20Z",
    "endsAt": "2026-09-21T14:23:20Z",
    "status": {"state": "active"},
}


def read(tmp_path: Path, *documents: Any, name: str = "history.json") -> list[Occurrence]:
    path = tmp_path / name
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in documents))
    return read_history([path])


def minutes(found: Occurrence) -> float:
    assert found.ended_unix_nano is not None
    return (found.ended_unix_nano - found.started_unix_nano) / NANOS / 60


def page(kind: str, at: str) -> dict[str, Any]:
    return {"event": {"event_type": f"incident.{kind}", "occurred_at": at, "data": PAGERDUTY}}


def webhook(status: str) -> dict[str, Any]:
    item = {**API_ALERT, "status": status}
    return {"version": "4", "alerts": [item]}


def test_csv_with_the_columns_of_pagerduty(tmp_path: Path) -> None:
    (found,) = read(
        tmp_path,
        "id,description,service_name,created_on,seconds_to_first_ack,seconds_to_resolve,urgency,resolution_notes",
        'Q1,"Slow, again",checkout,2026-09-21T14:13:20Z,120,1800,high,rolled back',
        name="history.csv",
    )
    assert (found.id, found.title, found.service, found.severity) == ("Q1", "Slow, again", "checkout", "high")
    assert (found.started_unix_nano, minutes(found), found.resolution) == (BEGAN, 30, "rolled back")
    assert found.acknowledged_unix_nano == BEGAN + 120 * NANOS


def test_json_lines_with_the_same_names(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"title": "Slow", "started_at": BEGAN // NANOS, "resolved_at": "2026-09-21 14:23:20"})
    assert (minutes(found), found.environment, found.service) == (10, "default", "unknown")


def test_the_same_row_has_the_same_id_in_every_reading(tmp_path: Path) -> None:
    row = {"title": "Slow", "started_at": BEGAN // NANOS}
    assert read(tmp_path, row)[0].id == read(tmp_path, row)[0].id


def test_incidents_of_pagerduty(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"incidents": [PAGERDUTY]})
    assert (found.id, found.service, found.severity, minutes(found)) == ("PT4KHLK", "checkout", "high", 30)
    assert (found.resolution, found.acknowledged_unix_nano) == ("rolled back", BEGAN + 120 * NANOS)


def test_webhooks_of_pagerduty_are_put_together(tmp_path: Path) -> None:
    (found,) = read(
        tmp_path,
        page("triggered", "2026-09-21T14:13:20Z"),
        page("acknowledged", "2026-09-21T14:14:20Z"),
        page("resolved", "2026-09-21T14:33:20Z"),
        page("triggered", "2026-09-21T14:13:20Z"),
    )
    assert (minutes(found), found.acknowledged_unix_nano) == (20, BEGAN + 60 * NANOS)


def test_alerts_of_alertmanagers_api(tmp_path: Path) -> None:
    fires, ended = API_ALERT, {**API_ALERT, "fingerprint": "c2", "status": {"state": "suppressed"}}
    found = read(tmp_path, [fires, ended])
    assert [one.ended_unix_nano is None for one in found] == [True, False]
    assert (found[0].title, found[0].environment, found[0].service) == ("HighLatency", "prod", "checkout")


def test_webhooks_of_alertmanager_are_paired(tmp_path: Path) -> None:
    (found,) = read(tmp_path, webhook("firing"), webhook("firing"), webhook("resolved"))
    assert minutes(found) == 10


@pytest.mark.parametrize("wrapped", [False, True])
def test_our_own_records_with_what_helped(tmp_path: Path, *, wrapped: bool) -> None:
    resolved = INCIDENT.model_copy(update={"revision": 2, "resolved_unix_nano": NOW + 600 * NANOS})
    helped = OUTCOME.model_copy(update={"playbook": "rollback-deployment"})
    records = [("incidents", INCIDENT), ("incidents", resolved), ("learning", helped)]
    found = read(
        tmp_path,
        *(
            {"topic": f"reflexarc.{topic}", "record": json.loads(encode(one))} if wrapped else encode(one).decode()
            for topic, one in records
        ),
    )
    assert found == list(of_topics(record for _, record in records))
    assert (found[0].title, minutes(found[0])) == ("deployment_regression", 10)
    assert found[0].resolution == "rollback deployment"


def test_alerts_of_our_own_topic_are_paired() -> None:
    (found,) = of_topics([alert(0), alert(60, "resolved")])
    assert minutes(found) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"title": "no time"}', "no time of its beginning"),
        ('{"title": "x", "started": "yesterday"}', "not a time: 'yesterday'"),
        ("[1]", "expected an object"),
        ('{"incidents": [{"id": 1}]}', "KeyError"),
        ('{"event": {"data": {}}}', "without data.id"),
        ("{", "JSONDecodeError"),
        ('{"title": "x", "started": "0001-01-01"}', "started_unix_nano"),
    ],
)
def test_what_is_broken_is_named_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    good = '{"title": "x", "started": "2026-09-21"}'
    with pytest.raises(ConfigurationError, match=r"history\.json:2: .*") as error:
        read(tmp_path, good, line)
    assert said in str(error.value)


def test_terminal_sequences_do_not_get_through(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"title": "\x1b[31mred\x1b]0;title\x07 alert\n", "started": "2026-09-21"})
    assert found.title == "red alert"


def test_the_command_prints_json_and_the_page_shows_its_table() -> None:
    asked = CliRunner().invoke(app, ["assess", str(EXAMPLE), "--json"])
    assert asked.exit_code == 0, asked.output
    found = json.loads(asked.stdout)
    assert found["occurrences"] == 66
    assert [one["verdict"] for one in found["patterns"]][:4] == ["automate", "automate", "automate", "keep_with_people"]
    shown = CliRunner().invoke(app, ["assess", str(EXAMPLE)]).stdout
    example = "\n".join(line.rstrip() for line in shown.splitlines())
    assert example in (ROOT / "docs" / "assess.md").read_text(), "the table in docs/assess.md is what is printed"
