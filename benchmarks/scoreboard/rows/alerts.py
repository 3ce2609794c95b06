"""Row 5: attacks among the alerts of a network (AIT-ADS): alerts of other systems, by their names and reporters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.measure import Measure, at_least, at_most
from benchmarks.scoreboard.alert_networks import Network, Outcome, judge_network, labelled, read_networks, total
from benchmarks.scoreboard.row import Row, Run
from detectors.alert_memory import Learned, learn

# What the names were learned to mean is stored with the thresholds, under names that begin so.
STORED = "ait_ads name "
PRIOR = "ait_ads prior"
PAGES = "ait_ads pages"
FITTED_ON = "A"


class AlertRow(Row[Sequence[Network]]):
    """`AlertMemory` per network: knowing nothing, and knowing what people said of the alerts of other networks."""

    numbers = (5,)
    title = "alerts"
    sets = ("ait_ads",)

    def detect(self, run: Run) -> Sequence[Network]:
        files = [file for folder in run.folders("ait_ads") for file in sorted(folder.glob("*.parquet"))]
        return read_networks(run.track(files, "networks", len(files)))

    def measure(
        self,
        number: int,  # noqa: ARG002 - there is only one
        found: Sequence[Network],
        thresholds: Mapping[str, float],
        part: str,
    ) -> list[Measure]:
        bare = total(judge_network(network, None) for network in found)
        # On the part that the names were learned on, each network is judged by the others.
        own = FITTED_ON in part.split("+")
        each = [_others(found, i) if own else _stored(thresholds) for i in range(len(found))]
        told = total(judge_network(network, learned) for network, learned in zip(found, each, strict=True))
        pages = told.beyond(thresholds[PAGES])
        return [
            at_least("ait_ads phases found", told.share_found, "share", anchor=17 / 39, goal=31 / 39),
            at_most("ait_ads false incidents a day", told.false_a_day, "incidents", anchor=1.1, goal=1.0),
            at_most("ait_ads false share of pages", pages.false_share, "share", anchor=0.70, goal=0.30),
            Measure("ait_ads phases in what pages", pages.share_found, "share"),
            at_most("ait_ads false share of incidents", told.false_share, "share", anchor=0.70, goal=0.30),
            Measure("ait_ads time open on days without attack", told.open_in_peace, "share"),
            at_least("ait_ads alerts compressed", told.compressed, "share", anchor=0.9893, goal=0.95),
            Measure("ait_ads phases with a telling alert, lost", told.share_lost, "share"),
            Measure("ait_ads phases found without labels", bare.share_found, "share"),
            Measure("ait_ads false incidents a day without labels", bare.false_a_day, "incidents"),
        ]

    def fit(self, found: Sequence[Network]) -> dict[str, float]:
        learned = learn(labelled(network) for network in found)
        told = total(judge_network(network, _others(found, i)) for i, network in enumerate(found))
        names = {f"{STORED}{name}": round(weight, 4) for name, weight in sorted(learned.weights.items())}
        return names | {PRIOR: round(learned.prior, 4), PAGES: _pages(told)}


def _stored(thresholds: Mapping[str, float]) -> Learned:
    weights = {name.removeprefix(STORED): one for name, one in thresholds.items() if name.startswith(STORED)}
    return Learned(thresholds[PRIOR], weights)


def _others(networks: Sequence[Network], i: int) -> Learned:
    return learn(labelled(network) for network in (*networks[:i], *networks[i + 1 :]))


def _pages(told: Outcome) -> float:
    """Halfway from the strongest incident that was false to the next stronger that was true."""
    false = max((one.peak for one in told.incidents if not one.true), default=0.0)
    return round((false + min((one.peak for one in told.incidents if one.peak > false), default=false)) / 2, 4)


ROW = AlertRow()
