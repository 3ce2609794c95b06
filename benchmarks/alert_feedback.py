"""What labels are worth to row 5: `python -m benchmarks.alert_feedback --data DIR --part A`.

Each network is judged knowing the attacks of none, one, two ... of the others, every choice of them once. What a person
has to tell of a network is when each phase of its attack was: ten spans of time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from benchmarks.scoreboard.alert_networks import Network, Outcome, judge_network, labelled, read_networks, total
from detectors.alert_memory import Learned, learn


def curve(networks: Sequence[Network]) -> Iterator[tuple[int, float, Outcome]]:
    """Yield of each number of networks that were labelled: how many, how many spans were told, what came of it."""
    for known in range(len(networks)):
        choices = [(i, chosen) for i in range(len(networks)) for chosen in combinations(_but(networks, i), known)]
        told = sum(len(set(one.phases) - {None}) for _, chosen in choices for one in chosen) / len(choices)
        yield known, told, total(judge_network(networks[i], _learn(chosen)) for i, chosen in choices)


def _but(networks: Sequence[Network], i: int) -> list[Network]:
    return [*networks[:i], *networks[i + 1 :]]


def _learn(chosen: Sequence[Network]) -> Learned | None:
    return learn(labelled(network) for network in chosen) if chosen else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", default="A")
    arguments = parser.parse_args()
    networks = read_networks(sorted((arguments.data / "ait_ads" / arguments.part).glob("*.parquet")))
    print("| networks labelled | spans told | phases found | false incidents a day | false share of incidents |")
    print("|---|---|---|---|---|")
    for known, told, found in curve(networks):
        print(
            f"| {known} | {told:.0f} | {found.share_found:.2f} | {found.false_a_day:.2f} | {found.false_share:.2f} |",
        )


if __name__ == "__main__":
    main()
