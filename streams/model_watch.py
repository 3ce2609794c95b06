"""Following what is learnt while a worker runs: every version on the topic `models` goes into its course.

Started by `streams.roles`. The files of the registry and the topic say the same; what only one of them has, counts, and
of two words on one version the later: an embedded broker forgets its topics, and a worker may run where no files are.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from learning.registry import Registry
from schemas.model import ModelVersion
from schemas.topics import MODELS
from streams.course import Course
from streams.settings import Settings
from streams.tail import Tail

log = logging.getLogger(__name__)

# Bounds how long stopping takes; a version that arrives wakes it.
POLL_SECONDS = 0.5


@asynccontextmanager
async def followed(settings: Settings) -> AsyncIterator[Course]:
    """Give the course of the settings, complete as of now, and keep it so.

    Raises:
        ConfigurationError: a file of the registry cannot be read.
        TemporaryError: the brokers do not answer, or the topic is not there yet.

    """
    course = Course(settings, Registry(settings.learn.registry).versions())
    tail = await asyncio.to_thread(Tail, settings.kafka, (MODELS,))
    stop = threading.Event()
    thread = threading.Thread(target=_follow, args=(tail, course, stop), name="models", daemon=True)
    try:
        for seen in await asyncio.to_thread(lambda: list(tail.to_end())):
            course.hear(seen.record)
        thread.start()
        yield course
    finally:
        stop.set()
        if thread.is_alive():
            await asyncio.to_thread(thread.join)
        tail.__exit__()


def _follow(tail: Tail, course: Course, stop: threading.Event) -> None:
    while not stop.is_set():
        seen = tail.poll(POLL_SECONDS)
        if seen is not None:
            version: ModelVersion = seen.record
            course.hear(version)
            log.info("%s %s is %s: %s", version.kind, version.id, version.status, version.reason)
