"""Recordings for commands: archives that were named, or the topics themselves, read once into a temporary one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from streams.progress import progress_bar
from streams.replay.arc import TOLD
from streams.replay.archive import RAW, Archive, write_archive
from streams.replay.kafka_log import KafkaLog
from streams.replay.span import Span
from streams.settings import Settings

# A process more takes a second or two to start, as long as some hundred thousand records.
RECORDS_PER_PROCESS = 1_000_000


@contextmanager
def recorded(folders: Sequence[Path], settings: Settings, span: Span) -> Iterator[list[Archive]]:
    """Open archives, or make one of the topics, so that all that is played is played from the same records."""
    if folders:
        yield [Archive(folder, span) for folder in folders]
        return
    with tempfile.TemporaryDirectory(prefix="reflexarc-recording-") as scratch:
        log = KafkaLog(settings.kafka, RAW | TOLD, span)
        with progress_bar("read", log.size()) as moved:
            write_archive(log, Path(scratch), span, time.time_ns(), moved)
        yield [Archive(Path(scratch), span)]


def play_bar(archives: Iterable[Archive], played: Iterable[Settings]) -> AbstractContextManager[Callable[[int], None]]:
    """Show how far playing recordings with each of these settings is."""
    # Detection takes nearly all of the time, and is played once for all that share its settings.
    rounds = len({settings.detect.model_dump_json() for settings in played})
    return progress_bar("play", rounds * sum(archive.raw_records for archive in archives))


def workers_that_pay(recording: Archive) -> int:
    """Say how many processes to detect in."""
    return min(os.cpu_count() or 1, 1 + recording.raw_records // RECORDS_PER_PROCESS)
