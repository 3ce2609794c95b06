"""Matchers as Alertmanager has them, and who mutes whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.inhibition import Inhibitions, Rule, labels_of, matcher
from schemas.errors import ConfigurationError
from schemas.signal import Signal
from tests.streams.test_correlate import signal

NODE_DOWN = Rule((matcher("alertname=NodeDown"),), (matcher('severity=~"warning|info"'),), ("node",))


def alert(name: str, state: str = "firing", **labels: str) -> Signal:
    one = signal(10, f"{name}-{labels}", state, name=name, kind="alert")
    return one.model_copy(update={"attributes": labels})


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("a=b", "b", True),
        ('a = "b"', "b", True),
        ('a="say \\"b\\""', 'say "b"', True),
        ("a!=b", "b", False),
        ("a!=b", "", True),
        ("a=~b|c", "c", True),
        ("a=~b", "bb", False),  # anchored
        ('a!~"b.*"', "bb", False),
        ('a=~"b\\\\.c"', "b\\xc", True),  # a regular expression is left as it is
        ("a=", "", True),
    ],
)
def test_matchers(text: str, value: str, *, holds: bool) -> None:
    one = matcher(text)
    assert one.name == "a"
    assert one.matches({"a": value}) is holds
    assert value or one.matches({}) is holds  # what is not there is empty


@pytest.mark.parametrize("text", ["", "a", "=b", "{a=b}", 'a=~"("'])
def test_what_is_no_matcher_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(ConfigurationError, match="not a "):
        matcher(text)


def test_what_a_signal_is_about_cannot_be_said_otherwise_by_its_labels() -> None:
    found = labels_of(alert("NodeDown", service="forged", alertname="forged", pod="p"))
    assert found["service"] == "checkout"
    assert found["alertname"] == "NodeDown"
    assert (found["pod"], found["environment"], found["instance"]) == ("p", "demo", "checkout-1")


def test_a_target_is_muted_while_a_source_with_the_same_labels_fires() -> None:
    held = Inhibitions([NODE_DOWN])
    here, there = alert("Slow", severity="info", node="n1"), alert("Slow", severity="info", node="n2")
    down = alert("NodeDown", severity="critical", node="n1")
    assert held.turn(here) == held.turn(there) == {}
    assert held.turn(down) == {here.subject: "demo/checkout"}
    assert held.by(here.subject) == "while alertname=NodeDown fires with the same node"
    assert held.by(there.subject) is held.by(down.subject) is None
    assert held.turn(down.model_copy(update={"state": "cleared"})) == {here.subject: "demo/checkout"}
    assert held.by(here.subject) is None


def test_what_is_on_both_sides_mutes_neither_itself_nor_its_like() -> None:
    held = Inhibitions([Rule((matcher("kind=alert"),), (matcher("severity=info"),))])
    one, other = alert("A", severity="info"), alert("B", severity="info")
    held.turn(one)
    held.turn(other)
    assert held.by(one.subject) is held.by(other.subject) is None
    held.turn(alert("C", severity="critical"))
    assert held.by(one.subject) is not None


def test_a_label_that_both_lack_is_shared() -> None:
    held = Inhibitions([NODE_DOWN])
    held.turn(alert("NodeDown"))
    held.turn(slow := alert("Slow", severity="info"))
    assert held.by(slow.subject) is not None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40))
def test_it_depends_on_what_fires_alone(turns: list[tuple[int, bool]]) -> None:
    kinds = [
        alert("NodeDown", node="n1"),
        alert("NodeDown", node="n2"),
        *(alert(name, severity="info", node=node) for name in "AB" for node in ("n1", "n2")),
    ]
    folded = Inhibitions([NODE_DOWN])
    firing: dict[str, Signal] = {}
    told: dict[str, str | None] = {}
    for number, fires in turns:
        one = kinds[number]
        concerned = folded.turn(one if fires else one.model_copy(update={"state": "cleared"}))
        firing.pop(one.subject, None)
        if fires:
            firing[one.subject] = one
        anew = Inhibitions([NODE_DOWN], reversed(firing.values()))
        now = {subject: folded.by(subject) for subject in firing}
        assert now == {subject: anew.by(subject) for subject in firing}
        # Whoever is not told of is as before.
        assert all(now[s] == told.get(s, now[s]) for s in now if s != one.subject and s not in concerned)
        told = now
