"""One run: start the fleet and the arc, let the detectors learn what is normal, break the service, and watch.

What happens is judged from the topics alone (`story`); the fleet's control API is used to break it and to show it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import IO

import httpx
import orjson

from examples.demo.story import Story
from examples.demo.view import View
from examples.fleet import Fleet
from schemas.topics import ACTIONS, DECISIONS, INCIDENTS, LEARNING, RAW_METRICS, SIGNALS
from streams.server_process import free_port
from streams.tail import Seen, Tail
from streams.up import Installation, Supervisor

SERVICE = "checkout"
BAD_VERSION = "v2"
TOPICS = (RAW_METRICS, SIGNALS, INCIDENTS, DECISIONS, ACTIONS, LEARNING)
# A series is judged after 24 ticks of a second, and its scale counts as known after 40.
WARM_SECONDS = 40.0
# Group joins take 3 s, imports as much again on a slow laptop; then the warm-up itself.
WARM_TIMEOUT_SECONDS = 90.0
# Detection takes seconds, the rollback and its verification some fifteen; a slow machine gets three times that.
RECOVERY_TIMEOUT_SECONDS = 75.0
QUIET_SECONDS = 40.0
POLL_SECONDS = 0.1


class Scenario:
    """A run on an installation."""

    def __init__(self, ready: Installation, story: Story, view: View, output: IO[str]) -> None:
        self._ready = ready
        self._story = story
        self._view = view
        self._output = output
        self.verdict = "The run was stopped."

    async def run(self, fault: str, stop: asyncio.Event) -> bool:
        """Run to the end; returns whether it went as it should."""
        self._view.say("Starting the fleet and the arc")
        port = free_port()
        async with self._fleet() as fleet, self._arc(fleet, port), self._reading(), self._showing(fleet):
            if not await self._warm_up(stop, port):
                return False
            if fault == "none":
                return await self._stay_quiet(stop)
            self._view.say(f"Deploying {BAD_VERSION} of {SERVICE}, which is broken")
            await asyncio.to_thread(fleet.deploy, SERVICE, BAD_VERSION)
            return await self._recover(stop, fleet)

    def report(self, *, passed: bool) -> bytes:
        """Return the figures as JSON: seconds after the fault, by step."""
        story = self._story
        seconds = {m.name: round(story.seconds_since_fault(m.time_unix_nano) or 0.0, 3) for m in story.milestones}
        facts = {
            "passed": passed,
            "verdict": self.verdict,
            "seconds_after_fault": seconds,
            "incidents": sorted(story.incidents.values()),
            "commands": len(story.commands),
            "outcome": None if story.outcome is None else story.outcome.model_dump(mode="json"),
        }
        return orjson.dumps(facts, option=orjson.OPT_INDENT_2)

    async def _warm_up(self, stop: asyncio.Event, port: int) -> bool:
        self._view.say(f"Learning what is normal ({WARM_SECONDS:.0f} s). Console: http://127.0.0.1:{port}")
        if await self._until(lambda: self._story.warm_seconds >= WARM_SECONDS, WARM_TIMEOUT_SECONDS, stop, warm=True):
            return True
        self.verdict = f"The detectors did not warm up within {WARM_TIMEOUT_SECONDS:.0f} s."
        return False

    async def _stay_quiet(self, stop: asyncio.Event) -> bool:
        self._view.say(f"No fault: for {QUIET_SECONDS:.0f} s nothing may be done")
        acted = await self._until(lambda: bool(self._story.commands), QUIET_SECONDS, stop)
        story = self._story
        if stop.is_set() and not acted:
            return False
        self.verdict = (
            f"Something was done although nothing was wrong: {next(iter(story.commands.values())).playbook}."
            if acted
            else f"Nothing was done in {QUIET_SECONDS:.0f} s without a fault ({len(story.incidents)} incidents opened)."
        )
        return not acted

    async def _recover(self, stop: asyncio.Event, fleet: Fleet) -> bool:
        self._view.say("Waiting for the arc: nobody else will mend this")
        story = self._story
        if not await self._until(lambda: story.outcome is not None, RECOVERY_TIMEOUT_SECONDS, stop):
            self.verdict = f"No outcome within {RECOVERY_TIMEOUT_SECONDS:.0f} s."
            return False
        assert story.outcome is not None  # noqa: S101 - just waited for
        self._view.say("The arc has reported")
        state = await asyncio.to_thread(fleet.state, SERVICE)
        self.verdict = (
            f"Recovery verified: {story.outcome.reason}; {SERVICE} runs {state['version']} again."
            if story.verified
            else f"Not recovered: {story.outcome.result}, {story.outcome.reason}"
        )
        return story.verified

    async def _until(
        self, reached: Callable[[], bool], seconds: float, stop: asyncio.Event, *, warm: bool = False
    ) -> bool:
        """Wait until something has come about, time is up (false) or the run is stopped."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not stop.is_set() and not reached():
            spent = loop.time() - began
            if spent > seconds:
                return False
            self._view.progress(self._story.warm_seconds / WARM_SECONDS if warm else spent / seconds)
            await asyncio.sleep(POLL_SECONDS)
        return reached()

    @asynccontextmanager
    async def _fleet(self) -> AsyncIterator[Fleet]:
        kafka = self._ready.settings.kafka
        fleet = await asyncio.to_thread(Fleet, kafka.bootstrap_servers, kafka.topic_prefix)
        try:
            yield fleet
        finally:
            await asyncio.to_thread(fleet.stop)

    @asynccontextmanager
    async def _arc(self, fleet: Fleet, port: int) -> AsyncIterator[None]:
        variables = {
            **self._ready.variables,
            "REFLEXARC_CONNECTORS__HTTP__DEPLOYMENTS__BASE_URL": fleet.control_url,
            "REFLEXARC_CONNECTORS__HTTP__DEPLOYMENTS__TOKEN": fleet.token,
            "REFLEXARC_CONSOLE__PORT": str(port),
        }
        supervisor, done = Supervisor(variables, output=self._output, say=self._view.say), asyncio.Event()
        running = asyncio.create_task(supervisor.run(done, self._ready.check))
        try:
            yield
        finally:
            done.set()
            await running

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        """Feed the story with everything that is published, from a thread of its own."""
        loop, done = asyncio.get_running_loop(), threading.Event()
        reader = asyncio.create_task(asyncio.to_thread(self._read, loop, done))
        try:
            yield
        finally:
            done.set()
            await reader

    def _read(self, loop: asyncio.AbstractEventLoop, done: threading.Event) -> None:
        with Tail(self._ready.settings.kafka, TOPICS) as tail:
            while not done.is_set():
                seen = tail.poll(POLL_SECONDS)
                if seen is not None:
                    loop.call_soon_threadsafe(self._take, seen)

    def _take(self, seen: Seen) -> None:
        if self._story.add(seen):
            self._view.event(seen)

    @asynccontextmanager
    async def _showing(self, fleet: Fleet) -> AsyncIterator[None]:
        async def show() -> None:
            while True:
                with suppress(httpx.HTTPError):
                    state = await asyncio.to_thread(fleet.state, SERVICE)
                    places = "  ".join(f"{i['id']} {i['version']} {i['state']}" for i in state["instances"])
                    self._view.fleet(f"wanted {state['version']}, known good {state['known_good_version']}:  {places}")
                await asyncio.sleep(0.5)

        showing = asyncio.create_task(show())
        try:
            yield
        finally:
            showing.cancel()
