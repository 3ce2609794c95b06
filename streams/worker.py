"""Run the apps of a process in one event loop, until a signal, a crash or a stall ends it.

The last step of `reflexarc worker` and `reflexarc up`. There is no restarting inside: an app that crashed ends the
process with exit code 1, and the supervisor (systemd, Kubernetes, `reflexarc up`) starts it again from its snapshots.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import uvloop

from streams.app import StageApp
from streams.watchdog import Watchdog

log = logging.getLogger(__name__)

# Opens what the apps need (producer, ledger) and yields them; closes it after they have stopped.
Apps = Callable[[], AbstractAsyncContextManager[Sequence[StageApp]]]
# Called when all apps are up.
Ready = Callable[[], Awaitable[None]]

# Stopping an app is a commit, a snapshot and leaving its group: seconds. Kubernetes kills after 30.
STOP_SECONDS = 20.0
# Records are tracked by the garbage collector while they are turned into columns, up to 20 000 at a time. Python's
# default of 700 objects scans them again and again: reading a record took 3.5 microseconds with it, 1.4 without.
_GC_THRESHOLDS = (100_000, 50, 100)
# How long a thread that computes may keep the others waiting for Python's lock. A record passes through some ten
# threads on its way from one topic to the next, four times until there is a command: with Python's default of 5 ms
# each may wait that long behind a batch of telemetry.
_SWITCH_SECONDS = 0.0005


def collect_garbage_rarely() -> None:
    """Look for garbage as seldom as a process that handles telemetry should."""
    gc.set_threshold(*_GC_THRESHOLDS)


def run_worker(apps: Apps, ready: Ready | None = None, *, stop_seconds: float = STOP_SECONDS) -> int:
    """Run apps until SIGINT or SIGTERM (0), or until one crashes or will not stop (1); returns the exit code."""
    collect_garbage_rarely()
    sys.setswitchinterval(_SWITCH_SECONDS)
    # As a policy, because Faust's consumer thread makes a loop of its own.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    return asyncio.run(_until_signalled(apps, ready, stop_seconds))


async def _until_signalled(apps: Apps, ready: Ready | None, stop_seconds: float) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with apps() as members:
        code = await serve(members, stop, ready=ready, stop_seconds=stop_seconds)
        if code:
            # At once: saving and closing would wait for what has failed, a minute for each partition when the brokers
            # are away, and threads that are left behind would keep this process alive, deaf.
            logging.shutdown()
            os._exit(code)
    return code


async def serve(
    apps: Sequence[StageApp],
    stop: asyncio.Event,
    *,
    ready: Ready | None = None,
    stop_seconds: float = STOP_SECONDS,
    die: Callable[[int], object] = os._exit,
) -> int:
    """Start apps, run them until `stop` is set or one fails, and stop them; returns the exit code.

    `die` ends the process at once. It is called from another thread when an app no longer gets anywhere.
    """
    try:
        with Watchdog(apps, die=die):
            intended = await _run(apps, stop, ready)
    finally:
        stopped = await _stop(apps, stop_seconds)
    return int(not intended or not stopped)


async def _run(apps: Sequence[StageApp], stop: asyncio.Event, ready: Ready | None) -> bool:
    """Return whether the apps were asked to stop, rather than one having failed."""
    asked = asyncio.create_task(stop.wait())
    ends = [asyncio.create_task(app.end()) for app in apps]
    up = asyncio.create_task(_start(apps, ready))
    try:
        await asyncio.wait([asked, up, *ends], return_when=asyncio.FIRST_COMPLETED)
        if up.done():
            up.result()
        await asyncio.wait([asked, *ends], return_when=asyncio.FIRST_COMPLETED)
        return asked.done()
    finally:
        for task in (asked, up, *ends):
            task.cancel()


async def _start(apps: Sequence[StageApp], ready: Ready | None) -> None:
    await asyncio.gather(*(app.start() for app in apps))
    if ready is not None:
        await ready()


async def _stop(apps: Sequence[StageApp], seconds: float) -> bool:
    """Return whether all stopped cleanly, in time."""
    # What Faust itself calls crashed does not stop any more.
    stops = [asyncio.create_task(app.stop(), name=app.name) for app in apps if app.started and not app.crashed]
    if not stops:
        return True
    done, late = await asyncio.wait(stops, timeout=seconds)
    for task in late:
        log.error("%s did not stop in %.0f s", task.get_name(), seconds)
        task.cancel()
    faults = {task.get_name(): _fault(task) for task in done}
    for name, fault in faults.items():
        if fault is not None:
            log.error("%s did not stop cleanly", name, exc_info=fault)
    return not late and not any(faults.values())


def _fault(task: asyncio.Task[None]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()
