"""`python -m benchmarks.entity_models --data DIR [--set smd] [--part A]`: do PyOD's models add to the entity detector?

Each model is fitted once on the calm history of each machine, off the path as a refit would be, and judges the vectors
of the part after it; scores are smoothed as the entity detector's are and put in decades against those of the history.
Then: the model alone, the mean of both, the lesser of both (two witnesses that must agree), and the entity detector
where the model's surprise is beyond two decades (`gated`). Printed are VUS-PR and the highest event recall at one
false page a machine-day at most; the threshold is chosen on the part itself, for all alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray

from benchmarks.scoreboard import fit
from benchmarks.scoreboard.data import Machine, read_machines
from benchmarks.scoreboard.multivariate import QUIET_RECORDS, RECORDS_A_DAY
from benchmarks.scoreboard.pages import Paged, pages, tally, total
from benchmarks.scoreboard.vus import segments, vus_pr
from detectors.multivariate import SMOOTH, EntityDetector
from detectors.pyod_adapter import Hbos, IForest, Knn, Loda, Pca, PyodDetector

Floats = NDArray[np.float64]

MODELS: tuple[type[PyodDetector], ...] = (Hbos, Loda, Pca, Knn, IForest)
# The tail of the calm scores beyond which they are taken as exponential, and what is certain enough.
TAIL_SHARE = 0.02
MOST_DECADES = 30.0
# Every so many rows of the history give the calm scores; the first of them are the detector's youth.
HISTORY_STEP = 4
YOUTH = 2048
GATE_DECADES = 2.0


def entity_scores(machine: Machine) -> tuple[Floats, Floats]:
    """Energies over the history, and over the judged part with spreads that stand still."""
    detector, rows = EntityDetector(), np.arange(machine.history.shape[1])
    detector.admit(rows, np.zeros(len(rows), np.int64))
    calm = []
    for value in machine.history:
        found = detector.step(rows, value)
        detector.learn(rows, value, found)
        calm.append(found.smooth[0] if len(found.smooth) else 0.0)
    detector.fit(rows)
    return np.array(calm), np.array([detector.step(rows, value).smooth[0] for value in machine.value])


def decades(calm: Floats, score: Floats) -> Floats:
    """Surprise of scores against calm ones, exponential beyond the top of them."""
    ranked = np.sort(calm)
    beyond = ranked[-max(10, int(TAIL_SHARE * len(ranked))) :]
    threshold, excess = beyond[0], max(float((beyond - beyond[0]).mean()), 1e-9)
    base = -np.log10(len(beyond) / len(ranked))
    body = -np.log10((len(ranked) - np.searchsorted(ranked, score) + 1) / (len(ranked) + 1))
    tail = base + (score - threshold) / excess / np.log(10.0)
    surprise: Floats = np.where(score > threshold, np.minimum(tail, MOST_DECADES), np.minimum(body, base))
    return surprise


def smoothed(score: Floats) -> Floats:
    """The score as the entity detector smooths its energy."""
    found, last = np.empty_like(score), 0.0
    for at, one in enumerate(score):
        found[at] = last = last + SMOOTH * (one - last)
    return found


def figures(machines: Sequence[Machine], scores: Sequence[Floats]) -> str:
    """VUS-PR, recall and false pages a machine-day, as three cells."""
    volume = np.mean([vus_pr(machine.anomalous, score) for machine, score in zip(machines, scores, strict=True)])
    days = sum(len(score) for score in scores) / RECORDS_A_DAY

    def judged(threshold: float) -> Paged:
        return total(
            tally(pages(score, threshold, QUIET_RECORDS), segments(machine.anomalous))
            for machine, score in zip(machines, scores, strict=True)
        )

    threshold = fit.most_recall(fit.candidates(scores), judged, lambda found: found.false <= days)
    found = judged(threshold)
    return f"{volume:.3f} | {found.recall:.3f} | {found.false / days:.2f}"


def compared(machines: Sequence[Machine]) -> Iterator[str]:
    """Give the rows of a table of Markdown."""
    both = [entity_scores(machine) for machine in machines]
    energy = [judged for _, judged in both]
    entity = [decades(np.log(calm[YOUTH:] + 1e-9), np.log(judged + 1e-9)) for calm, judged in both]
    yield f"| entity | {figures(machines, energy)} | |"
    for model in MODELS:
        began, alone = process_time(), []
        for machine in machines:
            fitted = model().fit(machine.history)
            calm = smoothed(fitted.score(machine.history[::HISTORY_STEP]))
            alone.append(decades(calm, smoothed(fitted.score(machine.value))))
        spent = process_time() - began
        pairs = list(zip(entity, alone, strict=True))
        gated = [np.where(b > GATE_DECADES, e, e / 2.0) for e, b in zip(energy, alone, strict=True)]
        yield f"| {model.name} alone | {figures(machines, alone)} | {spent:.0f} s |"
        yield f"| mean of entity and {model.name} | {figures(machines, [(a + b) / 2.0 for a, b in pairs])} | |"
        yield f"| lesser of entity and {model.name} | {figures(machines, [np.minimum(a, b) for a, b in pairs])} | |"
        yield f"| entity gated by {model.name} | {figures(machines, gated)} | |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.entity_models", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", default="smd")
    parser.add_argument("--part", default="A")
    arguments = parser.parse_args()
    print("| score | VUS-PR | event recall | false pages a machine-day | CPU |\n|---|---|---|---|---|")
    for row in compared(read_machines([arguments.data / arguments.set / arguments.part])):
        print(row, flush=True)


if __name__ == "__main__":
    main()
