"""Processes judged with their ancestors, and the counts of what is rare beneath."""

from __future__ import annotations

import doctest
from dataclasses import replace

import pytest

from detectors import processes, rarity
from detectors.processes import ProcessEvent, ProcessLineage, folder
from detectors.rarity import Rarity

DAEMON = ProcessEvent("start", "h/2", "/usr/sbin/sshd", "h/1", "/sbin/init", "root")
SHELL = ProcessEvent("start", "h/3", "/usr/bin/bash", "h/2", "/usr/sbin/sshd", "ann")
TOOL = ProcessEvent("start", "h/4", "/usr/bin/id", "h/3", "/usr/bin/bash", "ann")
PAYLOAD = ProcessEvent("start", "h/5", "/home/ann/downloads/x.bin", "h/2", "/usr/sbin/sshd", "ann")


def taught() -> ProcessLineage:
    lineage = ProcessLineage()
    for _ in range(300):
        for event in (DAEMON, SHELL, TOOL):
            lineage.learn(event)
        lineage.learn(ProcessEvent("connection", "h/2", "/usr/sbin/sshd", object="22"))
    return lineage


@pytest.mark.parametrize("module", [processes, rarity])
def test_the_example_runs(module: object) -> None:
    found = doctest.testmod(module)  # type: ignore[arg-type]  # mypy sees a list of modules as objects
    assert (found.attempted > 0, found.failed) == (True, 0)


def test_what_is_usual_is_no_evidence() -> None:
    lineage = taught()
    assert [lineage.judge(event).score for event in (DAEMON, SHELL, TOOL)] == [0.0, 0.0, 0.0]


def test_a_payload_is_found_by_where_it_is_and_what_it_does_and_says_so() -> None:
    lineage = taught()
    started = lineage.judge(PAYLOAD)
    called = lineage.judge(ProcessEvent("connection", "h/5", PAYLOAD.image, object="4444"))
    assert called.score > started.score > 4.0
    assert "folder of the program: home/*/downloads, never seen in 900" in called.reasons
    assert [one.weight for one in called.own] == sorted((one.weight for one in called.own), reverse=True)


def test_what_it_starts_inherits_although_it_is_usual_itself() -> None:
    lineage = taught()
    lineage.judge(PAYLOAD)
    child = lineage.judge(replace(SHELL, process="h/6", parent="h/5", parent_image=PAYLOAD.image))
    grandchild = lineage.judge(replace(TOOL, process="h/7", parent="h/6"))
    assert child.score > grandchild.score > 1.0
    assert "started by bash" in grandchild.reasons[-1]
    assert lineage.judge(replace(TOOL, process="h/8")).score == 0.0


def test_the_name_of_a_payload_means_nothing() -> None:
    renamed = replace(PAYLOAD, image="/home/bob/downloads/quarterly_report.exe")
    assert taught().judge(renamed).score == pytest.approx(taught().judge(PAYLOAD).score)


def test_a_process_id_used_again_is_another_process() -> None:
    lineage = taught()
    assert lineage.judge(PAYLOAD).score > 4.0
    assert lineage.judge(replace(TOOL, process=PAYLOAD.process)).score == 0.0


def test_nothing_surprises_a_detector_that_knows_nothing() -> None:
    assert ProcessLineage().judge(PAYLOAD).score == 0.0


def test_it_rests_as_bytes_and_goes_on_the_same() -> None:
    lineage = taught()
    lineage.judge(PAYLOAD)
    thawed = ProcessLineage()
    thawed.thaw(lineage.freeze())
    child = replace(SHELL, process="h/6", parent="h/5", parent_image=PAYLOAD.image)
    assert thawed.judge(child) == lineage.judge(child)
    assert thawed.freeze() == lineage.freeze()


def test_memory_is_bounded() -> None:
    lineage = ProcessLineage(Rarity(max_keys=50, max_values=20), max_processes=30)
    for i in range(2000):
        lineage.judge(ProcessEvent("start", f"h/{i}", f"/opt/{i:x}q/run{i:x}q", f"h/{i - 1}", f"/opt/p{i:x}q"))
    assert len(lineage.freeze()) < 60_000


def test_what_is_rare_is_forgotten_first() -> None:
    counts = Rarity(max_values=4)
    counts.learn([("port", "443")] * 50)
    counts.learn([("port", str(port)) for port in range(100)])
    assert counts.times(("port", "443")) == 50


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (r"C:\Users\ann.b\AppData\Local\Temp\x.exe", "users/*/appdata/local"),
        (r"C:\Program Files\Tool\1.2.3\t.exe", "program files/tool/#"),
        ("/home/bob/.cache/a", "home/*/.cache"),
        ("bare", ""),
    ],
)
def test_a_folder_is_told_without_what_differs_between_machines(image: str, expected: str) -> None:
    assert folder(image) == expected
