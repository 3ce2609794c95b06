"""Every figure of a report, on small histories whose answers can be counted by hand."""

from __future__ import annotations

import random
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from learning.history import Case, gather
from learning.measures import ALL, Report, measure
from learning.occurrence import Occurrence
from learning.page import page
from learning.returns import Assumptions
from schemas.codec import encode
from schemas.decision import Decision, Verdict
from schemas.envelope import Entity, Record
from schemas.incident import Classification, Incident
from schemas.outcome import EXPIRY, Outcome, Result
from streams.cli import app
from tests.console.records import control, decision, incident, outcome, seconds, signal

BASE = Assumptions(baseline_repair_minutes=10, hands_on_minutes=30, review_minutes=6, cost_per_hour=50)


def resolved(number: int = 1, **changed: Any) -> Incident:
    return incident(number, 9, status="resolved", **changed)


def acted(about: Incident, verdict: Verdict = "act", tier: Any = "autonomous") -> Decision:
    made = decision(about, verdict, tier=tier)
    return made.model_copy(update={"actions": tuple(one.model_copy(update={"tier": tier}) for one in made.actions)})


def ended(of: Decision, result: Result = Result.VERIFIED, **changed: Any) -> Outcome:
    return outcome(of.actions[0], result, **changed)


def said(about: Incident, **words: Any) -> Record:
    return control("feedback", about.updated_unix_nano + seconds(60), incident_id=about.id, **words)


def report(*records: Record, truth: list[Occurrence] | None = None) -> Report:
    return measure(gather(records), BASE, truth)


def case(*records: Record) -> Case:
    (only,) = gather(records).cases
    return only


def mended(numbers: Iterable[int]) -> list[Record]:
    """Incidents that the arc mended by itself."""
    records: list[Record] = []
    for number in numbers:
        about = resolved(number)
        decided = acted(incident(number))
        records += [incident(number), about, decided, ended(decided)]
    return records


def test_times_are_of_onset_opening_and_end() -> None:
    one = case(*mended([1]))
    assert (one.detection_seconds, one.repair_seconds) == pytest.approx((1.2, 45))
    assert one.acknowledgement_seconds == pytest.approx(3.8), "decided 5 s after onset"


@pytest.mark.parametrize(("after", "acknowledged"), [(10, 8.8), (3600, None)])
def test_a_person_takes_it_up_by_saying_something_before_it_is_over(after: float, acknowledged: float | None) -> None:
    about = resolved(1)
    word = control("feedback", about.onset_unix_nano + seconds(after), incident_id=about.id, note="looking")
    assert case(about, word).acknowledgement_seconds == (acknowledged and pytest.approx(acknowledged))


def test_times_are_given_per_class_and_tier_and_for_all() -> None:
    found = report(*mended([1, 2]), resolved(3))
    assert [(one.label, one.tier, one.incidents) for one in found.times] == [
        (ALL, ALL, 3),
        (ALL, "autonomous", 2),
        (ALL, "observe", 1),
        ("deployment_regression", ALL, 3),
        ("deployment_regression", "autonomous", 2),
        ("deployment_regression", "observe", 1),
    ]
    assert found.times[2].acknowledge.n == 0, "nobody took it up"


def test_false_positives_are_told_by_people_and_the_last_word_counts() -> None:
    one, two, three = resolved(1), resolved(2), resolved(3)
    found = report(
        *(one, two, three),
        said(one, verdict="false_positive"),
        control("feedback", one.updated_unix_nano + seconds(90), incident_id=one.id, verdict="true_positive"),
        said(two, verdict="false_positive"),
    )
    assert (found.false_incidents.value, found.false_incidents.n) == (0.5, 2)


def test_actions_on_a_false_positive_and_those_that_did_harm_are_counted_apart() -> None:
    first, second = acted(incident(1)), acted(incident(2))
    told = [said(resolved(1), verdict="false_positive"), said(resolved(2), verdict="true_positive")]
    found = report(resolved(1), resolved(2), first, second, ended(first), ended(second, Result.REVERTED), *told)
    assert (found.false_actions.value, found.harmful_actions.value, found.verified_actions.value) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("by", "harm"), [("ada", 1.0), (EXPIRY, 0.0)])
def test_what_a_person_took_back_did_harm_and_what_expired_did_not(by: str, harm: float) -> None:
    decided = acted(incident(1))
    undo = ended(decided, id="undo", action_id="undo", undoes=decided.actions[0].id, approved_by=by)
    found = report(resolved(1), decided, ended(decided), undo)
    assert found.harmful_actions.value == harm
    assert found.autonomy.value == 1 - harm


@pytest.mark.parametrize("result", [Result.EXPIRED, Result.REFUSED])
def test_what_was_not_tried_is_no_action(result: Result) -> None:
    decided = acted(incident(1))
    assert report(resolved(1), decided, ended(decided, result)).verified_actions.n == 0


def test_precision_and_recall_by_class() -> None:
    surge = Classification(label="traffic_surge", confidence=0.7, prediction_set=("traffic_surge",))
    one, two, three = resolved(1), resolved(2), resolved(3, classification=surge)
    found = report(
        *(one, two, three),
        said(one, verdict="true_positive"),
        said(two, label="traffic_surge"),
        said(three, verdict="true_positive"),
    )
    quality = {one.label: (one.precision.value, one.recall.value) for one in found.labels}
    assert quality == {"deployment_regression": (0.5, 1.0), "traffic_surge": (1.0, 0.5)}
    assert found.calibration.brier.value == pytest.approx((0.07**2 + 0.93**2 + 0.3**2) / 3)
    assert found.calibration.coverage.value == pytest.approx(2 / 3)


def test_the_arcs_own_repairs_are_its_autonomy_and_approved_ones_are_not() -> None:
    asked = acted(incident(3), "ask", "approve")
    found = report(*mended([1, 2]), resolved(3), asked, ended(asked, approved_by="ada"), resolved(4))
    assert (found.autonomy.value, found.autonomy.n) == (0.5, 4)


def test_compression_counts_signals_and_only_the_incidents_since_they_are_kept() -> None:
    many = [signal(incident(2).onset_unix_nano + seconds(n / 10), f"m{n}") for n in range(10)]
    found = report(resolved(1), resolved(2), *many)
    assert (found.signals, found.compression) == (10, 0.9)
    assert report(resolved(1, signal_count=4)).compression == 0.75


def test_savings_deduct_own_mistakes_and_show_what_they_assume() -> None:
    wrong = acted(incident(9))
    harm = [resolved(9), wrong, ended(wrong, Result.REVERTED), said(resolved(9), verdict="false_positive")]
    found = report(*mended([1, 2, 3]), *harm).returns
    assert (found.repaired_alone, found.harmful_actions, found.false_incidents) == (3, 1, 1)
    assert found.person_hours_saved == pytest.approx(((3 - 1) * 30 - 6) / 60)
    assert found.impaired_hours_avoided == pytest.approx(3 * (600 - 45) / 3600)
    assert found.money_saved == pytest.approx(0.9 * 50)
    assert found.assumptions == BASE


def test_a_repair_slower_than_the_baseline_counts_against() -> None:
    slow = Assumptions(baseline_repair_minutes=0.5)
    assert measure(gather(mended([1])), slow).returns.impaired_hours_avoided < 0


def test_proposals_in_shadow_are_judged_by_what_people_say() -> None:
    decided = [acted(incident(n), "observe", "observe") for n in range(1, 5)]
    ends = [resolved(n) for n in range(1, 5)]
    found = report(
        *(*decided, *ends),
        said(ends[0], verdict="true_positive"),
        said(ends[1], label="traffic_surge"),
        said(ends[2], playbook="scale-out", verdict="true_positive"),
    )
    (shadow,) = found.shadow
    assert (shadow.playbook, shadow.proposed, shadow.agreement.n) == ("rollback-deployment", 4, 3)
    assert shadow.agreement.value == pytest.approx(1 / 3)


@pytest.mark.parametrize(("kind", "agreement"), [("rollback", 1.0), ("scale", 0.0)])
def test_proposals_in_shadow_are_judged_by_what_people_did_where_they_say_nothing(kind: str, agreement: float) -> None:
    proposed = acted(incident(1), "observe", "observe")
    end, at = resolved(1), proposed.time_unix_nano + seconds(60)
    about = {"environment": end.environment, "service": end.service}
    by_hand = signal(7).model_copy(
        update={
            "kind": "change",
            "state": "noted",
            "name": "deployment.finished",
            "entity": Entity(**about),
            "time_unix_nano": at,
            "attributes": {"deployment.kind": kind},
        }
    )
    done = end.model_copy(update={"signals": (*end.signals, by_hand)})
    (shadow,) = report(proposed, done).shadow
    assert (shadow.agreement.value, shadow.agreement.n, shadow.by_deeds) == (agreement, 1, 1)
    (shadow,) = report(proposed, done, said(done, verdict="true_positive")).shadow
    assert (shadow.agreement.value, shadow.by_deeds) == (1.0, 0), "their word comes first"


@pytest.mark.parametrize(("kind", "agreement"), [("approve", 1.0), ("reject", 0.0)])
def test_an_answer_judges_its_decision(kind: Any, agreement: float) -> None:
    asked = acted(incident(1), "ask", "approve")
    answer = control(kind, decision_id=asked.id, incident_id=asked.incident_id)
    assert report(incident(1), asked, answer).shadow[0].agreement.value == agreement


def test_against_a_list_of_what_happened() -> None:
    found = resolved(1)

    def noted(identity: str, after: float, service: str = "checkout") -> Occurrence:
        began = found.onset_unix_nano + seconds(after)
        return Occurrence(
            id=identity, title="x", environment="shop", service=service, started_unix_nano=began, ended_unix_nano=began
        )

    truth = [noted("near", -120), noted("other service", 0, "search"), noted("much later", 7200)]
    detection = report(found, truth=truth).detection
    assert detection is not None
    assert detection.missed == ("other service", "much later")
    assert detection.recall.value == pytest.approx(1 / 3)
    assert detection.precision.value == 1
    assert report(found).detection is None


def test_order_and_repeats_change_nothing() -> None:
    records = [*mended([1, 2, 3]), said(resolved(2), verdict="true_positive")]
    shuffled = [*records, *records[:5]]
    random.Random(2).shuffle(shuffled)
    assert report(*shuffled) == report(*records)


def test_nothing_at_all_is_a_report_too() -> None:
    found = report()
    assert (found.incidents, found.autonomy.value, found.compression, found.times) == (0, None, None, ())
    assert "No incident" in page(found)


class Links(HTMLParser):
    """Collects what a page would fetch, and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_the_page_needs_nothing_from_anywhere_and_escapes_what_it_shows() -> None:
    evil = Classification(label="<script>alert(1)</script>", confidence=0.9)
    bad = resolved(5, classification=evil)
    html = page(report(*mended([1, 2]), bad, said(bad, verdict="true_positive")))
    links = Links()
    links.feed(html)
    assert links.fetched == []
    assert "script" not in links.tags
    assert "&lt;script&gt;" in html
    assert links.tags.count("svg") >= 5


def test_the_command_reads_archives_and_writes_all_three_forms(tmp_path: Path) -> None:
    archive, html = tmp_path / "archive.jsonl", tmp_path / "report.html"
    archive.write_bytes(b"\n".join(map(encode, [*mended([1, 2]), said(resolved(1), verdict="true_positive")])))
    asked = CliRunner().invoke(app, ["report", str(archive), "--json", "--html", str(html), "--baseline-minutes", "20"])
    assert asked.exit_code == 0, asked.output
    found = Report.model_validate_json(asked.stdout)
    assert (found.incidents, found.returns.assumptions.baseline_repair_minutes) == (2, 20)
    assert html.read_text().startswith("<!doctype html>")
    shown = CliRunner().invoke(app, ["report", str(archive)]).stdout
    assert "repaired without a person" in shown
    assert "baseline repair minutes 30" in shown


def test_a_broken_archive_is_named_with_its_line(tmp_path: Path) -> None:
    archive = tmp_path / "archive.jsonl"
    archive.write_bytes(encode(incident(1)) + b"\n{")
    asked = CliRunner().invoke(app, ["report", str(archive)])
    assert f"{archive}:2" in str(asked.exception)
