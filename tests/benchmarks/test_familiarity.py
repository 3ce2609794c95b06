"""The benchmark of the memory of labelled incidents, on the labelled set where it is there."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from benchmarks.familiarity import CLASSES, left_out, main, memory

DATA = Path(os.environ.get("REFLEXARC_DATA", ""))


def test_each_is_judged_by_the_others_and_by_those_of_other_classes() -> None:
    known, new = left_out(memory(tuple(CLASSES)[:3], Random(1), per_class=15).examples)
    assert len(known) == len(new) == 45
    assert all(label in found.p_values for label, found in known)
    assert all(label not in found.p_values for label, found in new)
    assert sum(not found.familiar for _, found in new) >= 0.9 * len(new)
    assert sum(not found.familiar for _, found in known) <= 0.1 * len(known)


@pytest.mark.skipif(not (DATA / "dbsherlock" / "A").exists(), reason="needs REFLEXARC_DATA with dbsherlock")
def test_the_promises_hold_on_real_runs(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow", reason="reads parquet")
    assert main(["--data", str(DATA), "--part", "A"]) == 0
    said = dict(line.rsplit("%  [", 1)[0].rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    found = {name.strip(): float(share) for name, share in said.items()}
    # Of 58: the command prints the intervals.
    assert found["coverage"] >= 89.0
    assert found["one class in the set"] >= 85.0
    assert found["new, called unfamiliar"] >= 65.0
    assert found["known, called unfamiliar"] <= 10.0
