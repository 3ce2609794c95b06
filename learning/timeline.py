"""Which learnt model was live when: the versions of every kind over event time.

Made from the versions of a registry or of the topic `models`, asked by the kernels through `streams.course`. Pure and
immutable: a new version makes a new timeline, and whoever asks sees one or the other, never half of both.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from schemas.model import Held, ModelVersion

Live = tuple[ModelVersion, ...]


class Timeline:
    """Versions by the event time in which they hold; of each kind one at a time."""

    def __init__(self, versions: Iterable[ModelVersion] = ()) -> None:
        """Take the last word on each version, in whatever order they come."""
        self._versions: dict[str, ModelVersion] = {}
        for one in versions:
            known = self._versions.get(one.id)
            if known is None or known.changed_unix_nano <= one.changed_unix_nano:
                self._versions[one.id] = one
        edges = (edge for _, span in self.spans for edge in (span.from_unix_nano, span.until_unix_nano))
        self._edges = sorted({edge for edge in edges if edge is not None})
        self._live: list[Live] = [(), *map(self._from, self._edges)]

    def at(self, time_unix_nano: int) -> Live:
        """Give what is live at an event time, by kind."""
        return self._live[bisect_right(self._edges, time_unix_nano)]

    @property
    def spans(self) -> tuple[tuple[str, Held], ...]:
        """Every span in which a version was live, by its id."""
        return tuple((one.id, span) for _, one in sorted(self._versions.items()) for span in one.held)

    def and_then(self, version: ModelVersion) -> Timeline:
        """Give the timeline with one more word."""
        return Timeline((*self._versions.values(), version))

    def _from(self, edge: int) -> Live:
        since: dict[str, tuple[int, str]] = {}
        for one in self._versions.values():
            for span in one.held:
                if span.from_unix_nano <= edge and (span.until_unix_nano is None or edge < span.until_unix_nano):
                    # Two that claim the same time: what was said to begin later was meant to replace the other.
                    since[one.kind] = max(since.get(one.kind, (0, "")), (span.from_unix_nano, one.id))
        return tuple(self._versions[identity] for _, (_, identity) in sorted(since.items()))
