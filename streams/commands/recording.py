"""Recordings for commands: archives that were named, or the topics themselves, read once into a temporary one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from learning.registry import Registry
from schemas.decision import Decision
from schemas.model import ModelVersion
from schemas.topics import DECISIONS, MODELS
from streams.progress import progress_bar
from streams.replay.arc import TOLD
from streams.replay.archive import RAW, Archive, write_archive
from streams.replay.kafka_log import KafkaLog
from streams.replay.span import Span
from streams.settings import Settings
from streams.tail import Tail

# A process more takes a second or two to start, as long as some hundred thousand records.
RECORDS_PER_PROCESS = 1_000_000


@contextmanager
def recorded(folders: Sequence[Path], settings: Settings, span: Span) -> Iterator[list[Archive]]:
    """Open archives, or make one of the topics, so that all that is played is played from the same records."""
    if folders:
        yield [Archive(folder, span) for folder in folders]
        return
    with tempfile.TemporaryDirectory(prefix="reflexarc-recording-") as scratch:
        log = KafkaLog(settings.kafka, RAW | TOLD | {DECISIONS.name}, span)
        with progress_bar("read", log.size()) as moved:
            write_archive(log, Path(scratch), span, time.time_ns(), moved)
        yield [Archive(Path(scratch), span)]


def versions_of_then(folder: Path | None, settings: Settings) -> list[ModelVersion]:
    """Find every version of what was learnt: in the registry here, and in the topic `models` or the archive's of it."""
    found = Registry(settings.learn.registry).versions()
    if folder is None:
        with Tail(settings.kafka, (MODELS,)) as tail:
            return found + [seen.record for seen in tail.to_end()]
    return found + [seen.record for seen in Archive(folder, Span()).seen() if isinstance(seen.record, ModelVersion)]


def decided_then(archive: Archive) -> list[Decision]:
    """List the decisions that were recorded in the span of an archive."""
    return [seen.record for seen in archive.seen() if isinstance(seen.record, Decision)]


def play_bar(archives: Iterable[Archive], played: Iterable[Settings]) -> AbstractContextManager[Callable[[int], None]]:
    """Show how far playing recordings with each of these settings is."""
    # Detection takes nearly all of the time, and is played once for all that share its settings.
    rounds = len({settings.detect.model_dump_json() for settings in played})
    return progress_bar("play", rounds * sum(archive.raw_records for archive in archives))


def workers_that_pay(recording: Archive) -> int:
    """Say how many processes to detect in."""
    return min(os.cpu_count() or 1, 1 + recording.raw_records // RECORDS_PER_PROCESS)
