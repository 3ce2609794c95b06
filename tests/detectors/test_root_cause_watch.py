"""What began it in microservices and in a call graph: made systems with one fault each, watched tick by tick."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from detectors.root_cause_graph import CallGraphWatch, Served
from detectors.root_cause_patterns import Blame, PatternMemory, template, transitions
from detectors.root_cause_spans import Spans
from detectors.root_cause_watch import Found, RootCauseWatch, Tick

FAULT = 40
TRACES = 30


def tick(number: int, rng: np.random.Generator, fault: str = "") -> Tick:
    """Build a minute of shop -> cart -> store and shop -> mail, with a fault from `FAULT` on."""
    at_work = number >= FAULT and fault
    usage = {name: 10.0 + rng.normal() for name in ("shop", "cart", "store", "mail")}
    latency = dict.fromkeys(usage, 0.1)
    if at_work in {"usage", "unnoticed"}:
        usage["store"] = 200.0
    if at_work == "usage":
        latency["store"] = 0.2
    entity: list[str] = []
    operation: list[str] = []
    parent: list[int] = []
    taken: list[float] = []
    for _ in range(TRACES):
        root = len(entity)
        store = 2000.0 + 200 * rng.random()
        on_the_way = 300_000.0 if at_work == "network" else 500.0
        cart = store + 1000.0 + on_the_way
        entity += ["shop", "shop", "cart", "cart", "store", "shop", "mail"]
        operation += ["GET /", "GET cart", "GET cart", "read", "read", "send", "send"]
        parent += [-1, root, root + 1, root + 2, root + 3, root, root + 5]
        taken += [
            cart + on_the_way + 9000.0,
            cart + on_the_way + 1000.0,
            cart,
            store + on_the_way,
            store,
            2500.0,
            2000.0,
        ]
    spans = Spans(np.array(entity), np.array(operation), np.array(parent), np.array(taken))
    shop = ["INFO got request", *(["ERROR cart failed"] if at_work == "exception" else []), "INFO done"]
    cart_events = ["INFO reading", "ERROR no such key" if at_work == "exception" else "INFO read"]
    sequences = [("shop", shop), ("cart", cart_events), ("store", ["INFO found"])] * TRACES
    return Tick(usage, latency, spans, transitions(sequences))


def watch(fault: str) -> list[Found]:
    rng = np.random.default_rng(7)
    watching = RootCauseWatch()
    return [found for n in range(60) if (found := watching.step(tick(n, rng, fault))) is not None]


@pytest.mark.parametrize(("fault", "cause"), [("usage", "store"), ("network", "cart"), ("exception", "cart")])
def test_the_entity_at_fault_is_named_first_soon_after_the_fault(fault: str, cause: str) -> None:
    (found,) = watch(fault)
    assert FAULT <= found.opened <= FAULT + 2
    assert found.decided <= FAULT + 4
    assert found.suspects[0].entity == cause
    assert found.suspects[0].because


def test_a_caller_that_only_passes_errors_on_is_suspected_less() -> None:
    (found,) = watch("exception")
    assert [suspect.entity for suspect in found.suspects] == ["cart", "shop"]


@pytest.mark.parametrize("fault", ["", "unnoticed"])
def test_what_nobody_feels_is_no_incident(fault: str) -> None:
    assert watch(fault) == []


def test_a_caller_whose_errors_name_another_is_suspected_less() -> None:
    rng = np.random.default_rng(7)
    calm, broken = tick(0, rng), tick(FAULT, rng, "exception")
    both = {one: count for one, count in broken.patterns.items() if one[0] != "cart"}

    def decided(accusing: frozenset[str]) -> float:
        watching = RootCauseWatch()
        ticks = [Tick(patterns=calm.patterns)] * 30 + [Tick(patterns=both, accusing=accusing)] * 4
        (found,) = [one for now in ticks if (one := watching.step(now)) is not None]
        return next(one.score for one in found.suspects if one.entity == "shop")

    assert decided(frozenset({"shop"})) < decided(frozenset())


def test_errors_that_mostly_name_another_accuse() -> None:
    blame = Blame(["shop-579b9bff58-t2dbm", "cart-866bd68c97-xcqfx", "cart-db-0"])
    lines = [("shop-579b9bff58-t2dbm", "ERROR no instances of cart")] * 2
    lines += [("shop-579b9bff58-t2dbm", "ERROR in shop"), ("cart-866bd68c97-xcqfx", "ERROR in cart: no such key")]
    lines += [("cart-866bd68c97-xcqfx", "INFO asked cart-db-0")]
    assert blame.accusing(lines) == {"shop-579b9bff58-t2dbm"}


def test_an_entity_that_nobody_notices_is_no_incident() -> None:
    rng = np.random.default_rng(8)
    watching = RootCauseWatch()
    for number in range(60):
        usage = {"busy": 100.0 + rng.normal(), "idle": 30.0 if number >= FAULT else 1.0}
        assert watching.step(Tick(usage)) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("INFO order 17 sent", "INFO order 23 sent"),
        ("WARN got [id: 5, name: x] back", "WARN got [id: 6, name: y] back"),
        ("INFO user=anna logged in", "INFO user=berta logged in"),
    ],
)
def test_messages_that_differ_in_their_parameters_have_one_template(one: str, other: str) -> None:
    assert template(one) == template(other)
    assert template(one) != template("ERROR " + one)


def test_more_of_the_same_is_no_change_of_patterns() -> None:
    memory = PatternMemory()
    memory.learn(transitions([("cart", ["a", "b"])] * 20))
    assert memory.compare(transitions([("cart", ["a", "b"])] * 500))["cart"].nats < 3.0
    broken = memory.compare(transitions([("cart", ["a"])] * 10))["cart"]
    assert (broken.before, broken.after) == ("a", "$")
    assert broken.nats > 15.0


def test_a_place_that_varies_by_itself_needs_more_to_stand_out() -> None:
    def surprise(shares: Sequence[int]) -> float:
        memory = PatternMemory()
        for share in shares:
            window = transitions([("cart", ["a"])] * share + [("cart", ["a", "b"])] * (40 - share))
            memory.compare(window)
            memory.learn(window)
        return memory.compare(transitions([("cart", ["a"])] * 40))["cart"].nats

    assert surprise([10, 30] * 10) < surprise([20] * 20) / 2


def test_what_lasts_says_more_and_a_gap_ends_it() -> None:
    memory = PatternMemory()
    usual, other = (transitions([("cart", ["a"])] * n + [("cart", ["a", "b"])] * (20 - n)) for n in (10, 16))
    for _ in range(10):
        memory.compare(usual)
        memory.learn(usual)
    first, second = (memory.compare(other)["cart"].nats for _ in range(2))
    assert second > 1.3 * first
    memory.compare({})
    assert memory.compare(other)["cart"].nats < second


def served(rng: np.random.Generator, slow: str = "", failing: str = "") -> dict[str, Served]:
    """Build a tick of site -> search -> table and site -> list; what a callee takes or fails its callers do, too."""
    own = {"table": 0.01, "list": 0.02, "search": 0.02, "site": 0.05}
    took = {name: (0.3 if name == slow else 0.0) + value * rng.uniform(0.95, 1.05) for name, value in own.items()}
    failed = {name: 0.1 if name == failing else 0.0 for name in own}
    for caller, called in (("search", "table"), ("site", "search"), ("site", "list")):
        took[caller] += took[called]
        failed[caller] = max(failed[caller], failed[called])
    return {name: Served(took[name], 1.0 - failed[name], 500.0) for name in own}


CALLS: dict[str, Sequence[str]] = {"site": ["search", "list"], "search": ["table"]}


@pytest.mark.parametrize("at_fault", ["site", "search", "table", "list"])
@pytest.mark.parametrize("kind", ["latency", "availability"])
def test_the_component_whose_own_loss_it_is_is_blamed_once(at_fault: str, kind: str) -> None:
    rng = np.random.default_rng(9)
    watching = CallGraphWatch(CALLS)
    assert not any(watching.step(served(rng)) for _ in range(240))
    fault = {"slow": at_fault} if kind == "latency" else {"failing": at_fault}
    first = watching.step(served(rng, **fault))
    assert (first[0].component, first[0].kind) == (at_fault, kind)
    assert watching.step(served(rng, **fault)) == ()


def test_an_extreme_of_a_component_that_has_extremes_is_no_incident() -> None:
    def blamed(spikes: Sequence[int]) -> bool:
        rng = np.random.default_rng(9)
        watching = CallGraphWatch(CALLS)
        for number in range(240):
            watching.step(served(rng, slow="table" if number in spikes else ""))
        return bool(watching.step(served(rng, slow="table")))

    assert blamed([])
    assert not blamed(range(20, 240, 20))
