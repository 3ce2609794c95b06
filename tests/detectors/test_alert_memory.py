"""Evidence of alert names: learned from labels, added up within a window, an incident opened once and joined."""

from __future__ import annotations

from detectors.alert_memory import HOUR, LASTS, WINDOW, AlertMemory, Heard, weights
from schemas.envelope import NANOS


def test_a_burst_counts_once_and_what_was_never_part_of_an_attack_speaks_for_nothing() -> None:
    network: list[Heard] = [
        *((second * NANOS, "scan", "recon") for second in range(100)),
        *((second * NANOS, "login", None) for second in range(100)),
        (5 * HOUR, "scan", None),
    ]
    assert weights([network]) == {"scan": 0.0}
    assert weights([network, [(0, "scan", "recon")]])["scan"] > 0


def test_weak_evidence_adds_up_within_the_window_only() -> None:
    def heard(apart: int) -> list[str | None]:
        memory = AlertMemory({"scan": 0.4, "shell": 0.4})
        return [memory.judge("scan", 0), memory.judge("shell", apart)]

    assert heard(WINDOW) == [None, "opens"]
    assert heard(WINDOW + 1) == [None, None]


def test_the_same_name_again_is_no_new_evidence() -> None:
    memory = AlertMemory({"scan": 0.4})
    assert [memory.judge("scan", second * NANOS) for second in range(5)] == [None] * 5


def test_an_incident_lasts_while_something_speaks_for_it_and_what_is_weak_joins_without_prolonging() -> None:
    memory = AlertMemory({"shell": 1.0, "login": -0.5, "cron": -1.5})
    assert memory.judge("shell", 0) == "opens"
    assert memory.judge("shell", LASTS) == "joins"
    assert memory.judge("login", 2 * LASTS) == "joins"
    assert memory.judge("cron", 2 * LASTS) is None
    assert memory.judge("unheard of", 2 * LASTS) is None
    assert memory.judge("login", 2 * LASTS + 1) is None
    assert memory.judge("shell", 2 * LASTS + 2) == "opens"
