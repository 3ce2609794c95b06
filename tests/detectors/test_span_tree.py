"""Spans that are held: own times, the other end of calls, bounds."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from detectors.span_tree import MOST_CALLED, TRACE_NANOS, Held, SpanTree

SECOND = 1_000_000_000


def held(key: str, start: float, end: float, **changes: Any) -> Held:
    given: dict[str, Any] = {
        "parent": "",
        "environment": "demo",
        "service": "shop",
        "instance": "",
        "name": "n",
        "kind": "internal",
        "failed": False,
        "peer": "",
    }
    return Held(key=key, start=int(start * SECOND), end=int(end * SECOND), **(given | changes))


def taken(tree: SpanTree, before: int = 10**9) -> dict[str, Held]:
    return {span.key: span for _, spans in tree.take(before) for span in spans}


def tree(*spans: Held, most: int = 100) -> SpanTree:
    made = SpanTree(SECOND, most)
    for span in spans:
        made.add(span)
    return made


FAMILY = (
    held("a", 0, 10),
    held("b", 1, 3, parent="a"),
    held("c", 2, 4, parent="a"),  # beside b for a second
    held("d", 9, 12, parent="a"),  # goes on after a
    held("e", 20, 21, parent="a"),  # long after
    held("f", 1.5, 2, parent="b"),
)


@given(st.permutations(FAMILY))
def test_own_time_is_what_no_child_lasted_in_whatever_order_spans_come(spans: list[Held]) -> None:
    fresh = [held(one.key, one.start / SECOND, one.end / SECOND, parent=one.parent) for one in spans]
    found = taken(tree(*fresh))
    assert {key: span.own for key, span in found.items()} == {
        "a": 6 * SECOND,
        "b": 1.5 * SECOND,
        "c": 2 * SECOND,
        "d": 3 * SECOND,
        "e": SECOND,
        "f": 0.5 * SECOND,
    }


def test_a_call_is_to_the_service_of_its_child_whatever_it_says_itself() -> None:
    spans = [
        held("b", 1, 2, parent="a", service="cart", kind="server"),
        held("a", 0, 3, kind="client", peer="an-alias"),
        held("c", 0, 3, kind="client", peer="stripe"),
        held("d", 0, 3, kind="server", peer="who-asks"),
    ]
    found = taken(tree(*spans))
    assert (found["a"].peer, found["a"].calls) == ("cart", ["cart"])
    assert found["c"].calls == ["stripe"]
    assert found["d"].calls == []


def test_services_of_other_environments_are_not_called() -> None:
    spans = [held("b", 1, 2, parent="a", service="cart", environment="prod"), held("a", 0, 3, kind="client")]
    assert taken(tree(*spans))["a"].calls == []


def test_a_span_calls_so_many_services_and_no_more() -> None:
    children = [held(f"c{i}", 1, 2, parent="a", service=f"s{i}") for i in range(MOST_CALLED + 5)]
    assert len(taken(tree(held("a", 0, 3), *children))["a"].calls) == MOST_CALLED


def test_of_a_span_that_lasts_longer_than_children_are_kept_no_own_time_is_known() -> None:
    assert taken(tree(held("a", 0, TRACE_NANOS / SECOND + 1)))["a"].own is None


def test_a_span_that_is_sent_again_counts_once() -> None:
    made = tree(held("a", 0, 3), held("b", 1, 2, parent="a"), held("b", 1, 2, parent="a"))
    assert len(made) == 2
    assert taken(made)["a"].own == 2 * SECOND


def test_ticks_are_let_go_in_order_of_time() -> None:
    made = tree(held("c", 0, 5.5), held("b", 0, 2.9), held("a", 0, 2.1))
    assert [(tick, [span.key for span in spans]) for tick, spans in made.take(5)] == [(2, ["a", "b"])]
    assert len(made) == 1
    assert [tick for tick, _ in made.take(6)] == [5]


def test_what_is_held_is_bounded_and_the_rest_is_counted() -> None:
    made = tree(*(held(str(i), 0, 1, parent=f"p{i}") for i in range(50)), most=10)
    assert len(made) <= 11
    assert made.dropped == 45
    taken(made)
    assert len(made) == 0


def test_children_of_parents_that_never_come_are_forgotten() -> None:
    made = tree(held("b", 1, 2, parent="a"))
    taken(made, before=3)
    assert len(made) == 1
    taken(made, before=3 + TRACE_NANOS // SECOND)
    assert len(made) == 0


@given(st.permutations(FAMILY), st.integers(0, 6))
def test_a_restored_tree_goes_on_as_the_one_it_was_saved_of(spans: list[Held], cut: int) -> None:
    fresh = [held(one.key, one.start / SECOND, one.end / SECOND, parent=one.parent) for one in spans]
    made = tree(*fresh[:cut])
    restored = SpanTree(SECOND, 100, made.freeze())
    for one in fresh[cut:]:
        made.add(one)
        restored.add(held(one.key, one.start / SECOND, one.end / SECOND, parent=one.parent))
    assert restored.freeze() == made.freeze()
    assert taken(restored) == taken(made)
