"""Which records are meant: a range of time, ranges of offsets, or both, as a person writes them on the command line.

Made by the commands `archive` and `backtest`, applied by `streams.replay.kafka_log` and `streams.replay.archive`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from schemas.envelope import Model
from schemas.errors import ConfigurationError

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_OFFSETS = re.compile(r"(?P<topic>[\w.-]+?)(?:/(?P<partition>\d+))?:(?P<first>\d*)-(?P<until>\d*)")


class Place(NamedTuple):
    """One partition of a topic, by the catalogue's name of it (no prefix)."""

    topic: str
    partition: int


class OffsetRange(Model):
    """Offsets of a topic, or of one of its partitions. `until` is the first that is left out."""

    topic: str
    partition: int | None = None
    first: int = 0
    until: int | None = None

    def holds(self, place: Place) -> bool:
        return self.topic == place.topic and self.partition in {None, place.partition}


class Span(Model):
    """What to read. Times are broker timestamps in milliseconds, `until` left out; None: no bound."""

    since_millis: int | None = None
    until_millis: int | None = None
    offsets: tuple[OffsetRange, ...] = ()

    def offsets_of(self, place: Place) -> tuple[int, int | None]:
        """Return the first offset that is meant, and the first that no longer is.

        The range of a partition goes before that of its topic.
        """
        mine = sorted((one for one in self.offsets if one.holds(place)), key=lambda one: one.partition is None)
        return (mine[0].first, mine[0].until) if mine else (0, None)

    def has(self, millis: int) -> bool:
        """Whether a record of this time is meant. One without a time is, as nothing is known against it."""
        if millis <= 0:
            return True
        return (self.since_millis or 0) <= millis and (self.until_millis is None or millis < self.until_millis)

    @property
    def bounds_time(self) -> bool:
        return self.since_millis is not None or self.until_millis is not None


def span(since: str | None, until: str | None, offsets: Iterable[str], now_millis: int) -> Span:
    """Read a span as it is written: `2h`, `2026-05-04T10:00`, `raw.metrics/3:1000-2000`.

    Raises:
        ConfigurationError: it cannot be read so.

    """
    made = Span(
        since_millis=None if since is None else moment(since, now_millis),
        until_millis=None if until is None else moment(until, now_millis),
        offsets=tuple(offset_range(text) for text in offsets),
    )
    if made.since_millis is not None and made.until_millis is not None and made.since_millis >= made.until_millis:
        raise ConfigurationError(f"nothing lies between {since} and {until}")
    return made


def moment(text: str, now_millis: int) -> int:
    """Read a moment: how long ago (`90s`, `2h`, `30d`), or a time in ISO 8601, in UTC where it names no zone."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now_millis - int(timedelta(**{_UNITS[ago[2]]: float(ago[1])}).total_seconds() * 1000)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is no time: write 2h, 30d or 2026-05-04T10:00+02:00") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def offset_range(text: str) -> OffsetRange:
    """Read a range of offsets: `TOPIC:FIRST-UNTIL` or `TOPIC/PARTITION:FIRST-UNTIL`, either bound may be left out."""
    found = _OFFSETS.fullmatch(text)
    if found is None or not (found["first"] or found["until"]):
        raise ConfigurationError(f"{text!r} is no range of offsets: write raw.metrics/3:1000-2000 or raw.logs:1000-")
    return OffsetRange(
        topic=found["topic"],
        partition=int(found["partition"]) if found["partition"] else None,
        first=int(found["first"] or 0),
        until=int(found["until"]) if found["until"] else None,
    )
