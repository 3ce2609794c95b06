"""What a backtest reports, and how it tells two configurations apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actions.settings import Grant, PolicySettings
from benchmarks.adversary.world import ENVIRONMENT, FAULT_AT, SERVICE, T0, at
from learning.occurrence import Occurrence
from learning.returns import Assumptions
from schemas.control import Control
from schemas.envelope import NANOS
from streams.replay.backtest import Backtest, Replayed
from streams.replay.compare import compare
from streams.replay.figures import Figures, Handled, figures
from streams.replay.page import page
from streams.settings import Settings
from tests.streams.replay.recorded import bad_rollout, kept

SERVES = {"rollback-deployment": ("deployment_regression",)}
ASSUMED = Assumptions(baseline_repair_minutes=10)


def settings(tier: str) -> Settings:
    return Settings(policy=PolicySettings.model_validate({"grants": ({"tier": tier},)}))


@pytest.fixture(scope="module")
def backtest(tmp_path_factory: pytest.TempPathFactory) -> Backtest:
    return Backtest(kept(tmp_path_factory.mktemp("recorded") / "archive", bad_rollout()))


@pytest.fixture(scope="module")
def acting(backtest: Backtest) -> Replayed:
    return backtest.play(settings("autonomous"))


def happened(
    identity: str = "INC-1",
    service: str = SERVICE,
    *,
    began: float = FAULT_AT,
    took: float | None = 600,
    label: str = "deployment_regression",
) -> Occurrence:
    return Occurrence(
        id=identity,
        title=f"what was wrong with {service}",
        environment=ENVIRONMENT,
        service=service,
        started_unix_nano=at(began),
        ended_unix_nano=None if took is None else at(began + took),
        label=label,
    )


def measured(replayed: Replayed, *truth: Occurrence, labelled: bool = True) -> Figures:
    return figures(replayed, list(truth) if labelled else None, SERVES, ASSUMED, seconds=2.0)


def test_found_and_missed_are_told_by_the_list(acting: Replayed) -> None:
    found = measured(acting, happened(), happened("INC-2", "search"))
    assert (found.found and found.found.value, [one.id for one in found.missed]) == (0.5, ["INC-2"])
    (incident,) = found.incidents
    assert (incident.truth, incident.harm, incident.verdict) == ("INC-1", None, "act")
    assert found.false_incidents.value == 0
    guarded = {"false_positive_rate": 0.0, "missed_incidents": 0.5, "harmful_proposals": 0.0}
    assert found.figures == {**guarded, "brier_score": pytest.approx(0.01)}  # said with a confidence of 0.9


def test_the_delay_counts_from_when_it_began(acting: Replayed) -> None:
    opened = (measured(acting).incidents[0].opened_unix_nano - T0) / NANOS
    assert measured(acting, happened(began=opened - 5)).delays == (5.0,)
    assert measured(acting, happened(began=opened + 3)).delays == (0.0,)
    assert measured(acting, labelled=False).delays == (0.0,)


def test_what_lies_outside_the_recording_is_not_missed(acting: Replayed) -> None:
    found = measured(acting, happened(), happened("before", began=-9000), happened("after", began=9000))
    assert (found.found and found.found.n, found.missed) == (1, ())


def test_a_proposal_where_nothing_was_wrong_is_harmful(acting: Replayed) -> None:
    found = measured(acting)
    assert (found.false_incidents.value, found.harmful.value) == (1.0, 1.0)
    assert found.incidents[0].harm == "nothing was wrong"


def test_a_proposal_for_another_class_than_it_was_is_harmful(acting: Replayed) -> None:
    found = measured(acting, happened(label="saturation"))
    assert found.incidents[0].harm == "it was saturation, which rollback-deployment is not for"


def test_without_a_list_what_people_said_then_counts(acting: Replayed) -> None:
    unknown = measured(acting, labelled=False)
    assert (unknown.found, unknown.false_incidents.n, unknown.incidents[0].harm) == (None, 0, None)
    said = Control(
        id="c",
        kind="feedback",
        by="someone",
        time_unix_nano=at(200),
        incident_id=unknown.incidents[0].id,
        verdict="false_positive",
    )
    assert measured(replace(acting, told=(said,)), labelled=False).incidents[0].harm == "nothing was wrong"


def test_repair_is_estimated_from_the_decision_and_never_beyond_what_people_take(acting: Replayed) -> None:
    (decision,) = acting.made.decisions
    decided = (decision.time_unix_nano - at(FAULT_AT)) / NANOS
    within = decision.actions[0].verification.within_seconds
    found = measured(acting, happened())
    assert found.repair.baseline.value == 600
    assert found.repair.estimated.value == pytest.approx(decided + within)
    assert measured(acting, happened(took=1)).repair.estimated.value == 1
    assert measured(acting, happened(label="saturation")).repair.estimated.value == 600, "a harmful one mends nothing"
    assert measured(acting, happened(took=None)).repair.baseline.value == ASSUMED.baseline_repair_minutes * 60


def test_speed_is_told(acting: Replayed) -> None:
    speed = measured(acting).speed
    assert speed.records_per_second == acting.raw_records / 2
    assert speed.times_real_time == pytest.approx((acting.last_millis - acting.first_millis) / 2000)


def test_the_same_twice_is_no_difference(acting: Replayed) -> None:
    told = compare(measured(acting), measured(acting)).differences
    assert told == ("A and B open the same incidents and decide the same about them, byte for byte.",)


def test_what_b_acts_on_and_a_leaves_to_people_is_said_with_its_harm(backtest: Backtest, acting: Replayed) -> None:
    asking = backtest.play(settings("approve"))
    good, bad = happened(), happened(label="saturation")
    told = compare(measured(asking, good), measured(acting, good)).differences
    assert told[0] == "B acts on 1 incident that A left to people; none of them is known to be harmful."
    told = compare(measured(asking, bad), measured(acting, bad)).differences
    assert told == (
        (
            "B acts on 1 incident that A left to people; 1 of them was harmful "
            f"({ENVIRONMENT}/{SERVICE}: it was saturation, which rollback-deployment is not for)."
        ),
    )
    assert compare(measured(acting, bad), measured(asking, bad)).differences[0].startswith("A acts on 1 incident")


def test_decisions_that_change_otherwise_are_said(backtest: Backtest) -> None:
    one, other = measured(backtest.play(settings("approve"))), measured(backtest.play(settings("observe")))
    (told,) = compare(one, other).differences
    assert told.startswith("Of 1 incident, A would ask and B would only observe (")


def _moved(one: Handled, **changes: object) -> Handled:
    return one.model_copy(update=changes)


def test_incidents_of_one_alone_and_other_names_are_said(acting: Replayed) -> None:
    mine = measured(acting, happened())
    without = mine.model_copy(update={"incidents": ()})
    assert compare(without, mine).differences == (
        (
            "B opens 1 incident that A does not; 1 of them on the list of what really happened: "
            f"deployment_regression in {ENVIRONMENT}/{SERVICE}."
        ),
        "B acts on 1 incident that A does not open; none of them is known to be harmful.",
    )
    # Another onset makes another id: it is still the same incident.
    renamed = mine.model_copy(update={"incidents": (_moved(mine.incidents[0], id="x", label="saturation"),)})
    assert compare(mine, renamed).differences == ("1 incident that A calls deployment_regression, B calls saturation.",)


def test_the_page_shows_all_of_it_and_escapes_what_comes_from_outside(backtest: Backtest, acting: Replayed) -> None:
    hostile = happened("INC-2", "<script>alert(1)</script>")
    one = measured(backtest.play(settings("approve")), happened(), hostile)
    shown = page(one, compare(one, measured(acting, happened(), hostile)))
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "B acts on 1 incident that A left to people" in shown
    assert shown.count("<svg") >= 4
    assert one.digest in shown
    assert "http" not in shown.replace("http.server", ""), "it needs nothing from anywhere"


def test_grants_are_what_decides(tmp_path: Path) -> None:
    nothing = Settings(policy=PolicySettings(grants=(Grant(tier="observe"),)))
    found = measured(Backtest(kept(tmp_path / "archive", bad_rollout())).play(nothing), happened())
    assert (found.would_act, found.commands, found.decisions) == (0, 0, {"observe": {"observe": 1}})
