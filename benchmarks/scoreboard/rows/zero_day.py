"""Row 8: attacks of a kind not seen before, among processes (OTRF) and system calls (ADFA-LD)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.measure import Measure, at_least, at_most
from benchmarks.scoreboard.intrusions import judge_campaigns, judge_live, judge_traces
from benchmarks.scoreboard.row import Row, Run
from benchmarks.scoreboard.sessions import Judged, widest_plateau

FALSE_POSITIVES = 0.05
# A twentieth is many normal traces, so its estimate is good to a few percent: little room is enough.
MARGIN = 0.9
FALSE_PROCESSES = 1


@dataclass(frozen=True, slots=True)
class Found:
    """Scores of the processes of each campaign, and of traces."""

    campaigns: Sequence[Judged]
    live: Sequence[Judged]
    """The same, as told (1) or not (0) by the live detect stage, at its own bar."""
    traces: Judged


class ZeroDayRow(Row[Found]):
    """`ProcessLineage` over recordings, `SequenceMemory` over traces."""

    numbers = (8,)
    title = "zero-day"
    sets = ("otrf", "adfa_ld")

    def detect(self, run: Run) -> Found:
        return Found(judge_campaigns(run), judge_live(run), judge_traces(run))

    def measure(
        self,
        number: int,  # noqa: ARG002 - there is only one
        found: Found,
        thresholds: Mapping[str, float],
        part: str,  # noqa: ARG002 - the goals are the same
    ) -> list[Measure]:
        process, trace = thresholds["otrf_one_false_process"], thresholds["adfa_ld_false_positives"]
        worst = float(max(_false(one, process) for one in found.campaigns))
        rate = found.traces.false_positive_rate(trace)
        return [
            at_least("otrf campaigns caught", _caught(found.campaigns, process), "share", anchor=1.0, goal=1.0),
            at_most("otrf most false processes in a campaign", worst, "processes", anchor=1.25, goal=FALSE_PROCESSES),
            at_least("otrf campaigns caught, live", _caught(found.live, 1.0), "share", anchor=1.0, goal=1.0),
            at_most(
                "otrf most false processes in a campaign, live",
                float(max(_false(one, 1.0) for one in found.live)),
                "processes",
                anchor=1.25,
                goal=FALSE_PROCESSES,
            ),
            at_least("otrf average precision", _average_precision(found.campaigns), "share", anchor=0.30, goal=0.60),
            at_least("adfa_ld recall, family unseen", found.traces.recall(trace), "share", anchor=0.30, goal=0.60),
            at_most("adfa_ld false-positive rate", rate, "share", anchor=0.051, goal=FALSE_POSITIVES),
        ]

    def fit(self, found: Found) -> dict[str, float]:
        processes = np.concatenate([one.scores for one in found.campaigns])
        normal = found.traces.scores[~found.traces.bad]
        return {
            "otrf_one_false_process": widest_plateau(
                processes, lambda at: _caught(found.campaigns, at) - sum(_false(one, at) for one in found.campaigns)
            ),
            "adfa_ld_false_positives": float(np.quantile(normal, 1.0 - MARGIN * FALSE_POSITIVES)),
        }


def _caught(campaigns: Sequence[Judged], threshold: float) -> float:
    return float(np.mean([one.recall(threshold) > 0.0 for one in campaigns]))


def _false(campaign: Judged, threshold: float) -> int:
    return int((campaign.flagged(threshold) & ~campaign.bad).sum())


def _average_precision(campaigns: Sequence[Judged]) -> float:
    from sklearn.metrics import average_precision_score  # noqa: PLC0415 - takes seconds to import

    bad, scores = (np.concatenate(list(of)) for of in ((c.bad for c in campaigns), (c.scores for c in campaigns)))
    return float(average_precision_score(bad, scores))


ROW = ZeroDayRow()
