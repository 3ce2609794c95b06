"""The benchmark of storms: what it breaks has one incident each, and it is not made to be right."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from benchmarks.storm import Storm, play, storm


def test_each_cause_of_a_storm_has_one_incident() -> None:
    random = Random(7)
    made = [play(storm(random), random) for _ in range(6)]
    assert all(one.right for one in made)
    assert any(len(one.storm.causes) > 1 for one in made)
    assert sum(len(one.incidents) for one in made) < 0.1 * sum(len(one.storm.alarms) for one in made)


def test_an_incident_too_many_or_of_another_service_is_not_right() -> None:
    random = Random(7)
    made = play(storm(random), random)
    kept = [one for one in made.incidents if one.status != "merged"]
    assert not replace(made, incidents=[*kept, kept[0].model_copy(update={"id": "other"})]).right
    assert not replace(made, storm=Storm(("nobody",), made.storm.alarms)).right
