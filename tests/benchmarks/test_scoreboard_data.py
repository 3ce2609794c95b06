"""The scoreboard on the labelled sets: own scorer against published figures, and detectors blind to names and units."""

import os
from pathlib import Path

import numpy as np
import orjson
import pytest

pytest.importorskip("pyarrow", reason="the scoreboard reads parquet with pyarrow")

from pyarrow import parquet

from benchmarks.scoreboard import load_thresholds, nab, univariate
from benchmarks.scoreboard.data import Series, read_nab

DATA = Path(os.environ.get("REFLEXARC_DATA", ""))
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (DATA / "nab").is_dir(), reason="set REFLEXARC_DATA to the folder of labelled sets"),
]


@pytest.mark.parametrize(
    ("peer", "expected"), [("ARTime", 78.1), ("numenta", 71.2), ("contextOSE", 74.1), ("random", 19.5)]
)
def test_own_scorer_equals_the_peers_figures(peer: str, expected: float) -> None:
    thresholds = orjson.loads((DATA / "nab/common/peer_thresholds.json").read_bytes())
    table = parquet.read_table(DATA / "nab/A/peers/peer_scores.parquet", columns=["file", "i", peer])
    file, record, value = (np.array(table[column].to_pylist()) for column in ("file", "i", peer))
    files = []
    for series in read_nab([DATA / "nab/A"]):
        mine = file == series.name
        score = value[mine][np.argsort(record[mine])]
        files.append((score >= thresholds[peer]["standard"]["threshold"], series.windows))
    assert nab.corpus_score(files, nab.STANDARD) == pytest.approx(expected, abs=0.06)


def test_names_scale_and_whole_hour_shifts_change_no_page() -> None:
    corpus = [series for series in read_nab([DATA / "nab/A"]) if len(series.value) < 3000]
    hour = 3600 * 1_000_000_000
    moved = [
        Series(f"other-{n}", s.time_unix_nano + 1234 * hour, 1024.0 * s.value, s.windows) for n, s in enumerate(corpus)
    ]
    threshold = load_thresholds()["nab_standard"]
    before = [univariate.paged(one, threshold).tolist() for one in univariate.detect(corpus)]
    after = [univariate.paged(one, threshold).tolist() for one in univariate.detect(moved)]
    assert before == after
    assert any(before)
