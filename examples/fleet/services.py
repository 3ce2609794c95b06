"""Services as desired states: a version, a number of instances, who is isolated; and the loop that makes them so.

The control API sets what is wanted (`set_version`, `set_scale`, `isolate`) and returns at once; one task per service
replaces, starts and stops instances one after another until the world is as wanted. The proxy asks which instances
may get requests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from examples.fleet.processes import Child, ChildError

Kind = Literal["rollout", "rollback"]
Launch = Callable[[str, str, str], Awaitable[Child]]
"""Start (service, instance, version) and wait until it serves."""

VERSIONS: dict[str, tuple[str, ...]] = {"checkout": ("v1", "v2", "v3"), "payment": ("v1", "v2")}
MAX_INSTANCES = 8
# Between two instances of a roll: time for the one just replaced to show in telemetry before the next follows. Three
# instances take about a second, so that a rollout is an interval on a chart and not a point.
ROLL_PAUSE_SECONDS = 0.3
# A version is known good once it has served this long, this often, and this well; a bad one shows within seconds.
KNOWN_GOOD_SECONDS = 30.0
KNOWN_GOOD_REQUESTS = 200
KNOWN_GOOD_ERROR_RATIO = 0.02


class InstanceState(StrEnum):
    """What an instance is doing."""

    STARTING = "starting"
    SERVING = "serving"
    ISOLATED = "isolated"  # runs, gets no requests
    DOWN = "down"  # its process is gone


@dataclass
class Instance:
    """One place in the service; its process may be replaced."""

    id: str
    version: str
    child: Child | None = None
    isolated: bool = False

    @property
    def state(self) -> InstanceState:
        if self.child is None:
            return InstanceState.STARTING
        if not self.child.alive:
            return InstanceState.DOWN
        return InstanceState.ISOLATED if self.isolated else InstanceState.SERVING


@dataclass(frozen=True)
class Deployment:
    """One change of version."""

    id: str
    kind: Kind
    version: str
    previous: str


Announce = Callable[[str, Deployment, str | None], None]
"""Publish the event (service, deployment, status); the status of a deployment that begins is None."""


class Service:
    """One service: its desired state, its instances, and the task that converges them."""

    def __init__(
        self,
        name: str,
        size: int,
        *,
        launch: Launch,
        announce: Announce,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self.version = "v1"
        self.known_good_version = "v1"
        self.generation = 1
        self.instances: dict[str, Instance] = {}
        self._size = size
        self._launch = launch
        self._announce = announce
        self._clock = clock
        self._sleep = sleep
        self._deployment: Deployment | None = None
        self._deployments = 0
        self._converging: asyncio.Task[None] | None = None
        self._served_since, self._served, self._failed = clock(), 0, 0

    async def start(self) -> None:
        """Start all instances at once; nobody is served yet, so nothing needs to roll."""
        await asyncio.gather(*(self._replace(place) for place in self._places()))

    async def stop(self) -> None:
        """Stop everything."""
        if self._converging is not None:
            self._converging.cancel()
        await asyncio.gather(*(i.child.stop() for i in self.instances.values() if i.child is not None))

    def set_version(self, version: str, kind: Kind) -> Deployment | None:
        """Want this version everywhere. None: that is so already."""
        if version == self.version:
            if self._deployment is None and self._next_step() is not None:
                self._converge()  # something is down: the same version again brings it back
            return self._deployment
        self._finish("superseded")
        self._deployments += 1
        deployment_id = f"{self.name}-{self._deployments}"
        self._deployment = Deployment(deployment_id, kind, version, previous=self.version)
        self.version = version
        self._announce(self.name, self._deployment, None)
        self._changed()
        return self._deployment

    def set_scale(self, instances: int) -> None:
        """Want this many instances."""
        if instances != self._size:
            self._size = instances
            self._changed()
        elif self._next_step() is not None:
            self._converge()

    def isolate(self, instance: Instance, *, isolated: bool) -> None:
        """Want this instance to get no requests; it keeps running, for whoever wants to look into it."""
        if isolated != instance.isolated:
            instance.isolated = isolated
            self.generation += 1

    def serving(self) -> list[Instance]:
        """Instances that may get requests."""
        return [i for i in self.instances.values() if i.state is InstanceState.SERVING]

    def served(self, *, failed: bool) -> None:
        """Take note of one answer given to a client."""
        self._served += 1
        self._failed += failed

    def judge_version(self) -> None:
        """Call the running version known good if it has earned it. Called now and then."""
        if self._converging is not None or self._clock() - self._served_since < KNOWN_GOOD_SECONDS:
            return
        if self._served >= KNOWN_GOOD_REQUESTS and self._failed <= KNOWN_GOOD_ERROR_RATIO * self._served:
            self.known_good_version = self.version
        self._begin_trial()

    @property
    def observer(self) -> str:
        """Who else speaks of this service in telemetry: the proxy, of what its users get."""
        return f"{self.name}-proxy"

    def snapshot(self) -> dict[str, Any]:
        """State as the control API shows it."""
        return {
            "service": self.name,
            "version": self.version,
            "known_good_version": self.known_good_version,
            "generation": self.generation,
            "converged": self._converging is None and self._next_step() is None,
            "deployment_id": None if self._deployment is None else self._deployment.id,
            "observers": [self.observer],
            "instances": [{"id": i.id, "version": i.version, "state": i.state} for i in self.instances.values()],
        }

    def _changed(self) -> None:
        self.generation += 1
        self._converge()

    def _converge(self) -> None:
        if self._converging is None:
            self._converging = asyncio.create_task(self._step_until_converged())

    async def _step_until_converged(self) -> None:
        # What is wanted may change at any step: each step is chosen anew, so the latest wish always wins.
        status = "succeeded"
        try:
            while (step := self._next_step()) is not None:
                await step()
                await self._sleep(ROLL_PAUSE_SECONDS)
        except ChildError:
            status = "failed"
        finally:
            self._converging = None
        self._finish(status)
        self._begin_trial()

    def _next_step(self) -> Callable[[], Awaitable[None]] | None:
        wanted = self._places()
        for surplus in self.instances.keys() - set(wanted):
            return lambda: self._remove(surplus)
        for place in wanted:
            current = self.instances.get(place)
            if current is None or current.version != self.version or current.state is InstanceState.DOWN:
                return lambda: self._replace(place)
        return None

    async def _replace(self, place: str) -> None:
        """Start the new process beside the old one, swap, then let the old one finish: no request is lost."""
        version = self.version
        old = self.instances.get(place)
        if old is None:
            self.instances[place] = Instance(place, version)
        try:
            child = await self._launch(self.name, place, version)
        except ChildError:
            if old is None:
                del self.instances[place]
            raise
        isolated = old is not None and old.isolated
        self.instances[place] = Instance(place, version, child, isolated)
        if old is not None and old.child is not None:
            await old.child.stop()

    async def _remove(self, place: str) -> None:
        removed = self.instances.pop(place)
        if removed.child is not None:
            await removed.child.stop()

    def _places(self) -> list[str]:
        return [f"{self.name}-{n}" for n in range(1, self._size + 1)]

    def _finish(self, status: str) -> None:
        if self._deployment is not None:
            finished, self._deployment = self._deployment, None
            self._announce(self.name, finished, status)

    def _begin_trial(self) -> None:
        self._served_since, self._served, self._failed = self._clock(), 0, 0
