"""How every engine is timed: from the first record that reaches its code to the last of those asked for.

Runs in the peers' environment as well, so it imports nothing but the standard library. An engine counts its records and
calls `Stopwatch.count`; with the last one the process prints its result and ends.
"""

from __future__ import annotations

import json
import os
import sys
import time


class Stopwatch:
    """Counts records up to `total`; then prints one JSON line and ends the process."""

    def __init__(self, total: int) -> None:
        self.seen = 0
        self.scored = 0
        self._total = total
        self._first = 0
        self._began = 0.0
        self._busy = 0.0

    def count(self, records: int = 1) -> None:
        """Note records that have been dealt with. The first call starts the clock, and what it brings is not timed."""
        self.seen += records
        if not self._began:
            self._first, self._began, self._busy = self.seen, time.perf_counter(), time.process_time()
        if self.seen >= self._total:
            self._finish()

    def _finish(self) -> None:
        result = {
            "records": self.seen - self._first,
            "seconds": time.perf_counter() - self._began,
            "cpu_seconds": time.process_time() - self._busy,
            "scored": self.scored,
        }
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
        os._exit(0)
