"""How much may be raised: at most a share of it may be false, over all series of a partition and over time.

Asked by `detectors.bank` at every tick. LORD with decaying memory (Ramdas, Yang, Wainwright & Jordan, "Online control
of the false discovery rate with decaying memory", NeurIPS 2017; the payout is that of LORD++): the day begins with a
wealth of `share` false discoveries, and each discovery earns `share` more, to be spent within the day after it. All
looks of that day have the same part of it. Where nothing is wrong for long, `share` of a signal a day is false; in a
storm of strong evidence weaker evidence is let through.

What is raised within a minute is one discovery, however many series it shows in: they move together.
"""

from __future__ import annotations

from math import exp

import numpy as np

MEMORY_SECONDS = 86_400.0
TOGETHER_SECONDS = 60.0
# No more than this is earned at a time: p-values that are too small shall not feed on themselves.
MOST_EARNED = 1.0


class FalseShare:
    """The wealth of a partition."""

    def __init__(self) -> None:
        # Discoveries, faded as of the second of the last look, that second, and that of the last discovery.
        self.earned = np.zeros(1)
        self.now = np.zeros(1)
        self.last = np.full(1, -TOGETHER_SECONDS)

    def pass_time(self, now: float) -> None:
        """Let the memory fade until `now`, seconds of event time."""
        self.earned[0] *= exp(-max(now - self.now[0], 0.0) / MEMORY_SECONDS)
        self.now[0] = max(now, self.now[0])

    def discovered(self) -> bool:
        """Something is raised now; returns whether that is a discovery of its own."""
        alone = bool(self.now[0] - self.last[0] >= TOGETHER_SECONDS)
        if alone:
            self.earned[0] = min(self.earned[0] + 1.0, MOST_EARNED)
            self.last[0] = self.now[0]
        return alone

    def level(self, share: float, looks_a_day: float) -> float:
        """Largest p-value of a look that may be raised now."""
        return share * (1.0 + float(self.earned[0])) / max(looks_a_day, 1.0)
