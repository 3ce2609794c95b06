"""Stand-ins for the fleet's processes and broker, so that its logic can be tested without either."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from examples.fleet.processes import Child, ChildError
from examples.fleet.services import Deployment, Service
from schemas.envelope import Record
from schemas.topics import Topic


@dataclass
class FakeChild:
    """A process that does what it is told at once."""

    url: str = "http://127.0.0.1:1"
    alive: bool = True
    pid: int = 1
    values: list[float] = field(default_factory=list)

    def send(self, value: float) -> None:
        self.values.append(value)

    def kill(self) -> None:
        self.alive = False

    async def stop(self) -> None:
        self.alive = False


class MemoryPublisher:
    def __init__(self) -> None:
        self.records: list[tuple[Topic, str, Record]] = []

    def publish(self, topic: Topic, key: str, record: Record) -> None:
        self.records.append((topic, key, record))

    def close(self) -> None:
        pass


class World:
    """A `Service` on fake processes; notes what was launched, announced, and how many served at each pause."""

    def __init__(self, size: int = 3, urls: list[str] | None = None, name: str = "checkout") -> None:
        self.launched: list[tuple[str, str]] = []
        self.announced: list[tuple[str, str, str | None]] = []
        self.serving_at_pauses: list[int] = []
        self.now = 0.0
        self.broken_versions: set[str] = set()
        self._urls = urls or []
        self.service = Service(
            name,
            size,
            launch=self._launch,
            announce=self._announce,
            clock=lambda: self.now,
            sleep=self._pause,
        )

    async def converged(self) -> None:
        async with asyncio.timeout(5):
            while not self.service.snapshot()["converged"]:
                await yield_once()

    def states(self) -> dict[str, tuple[str, str]]:
        return {i["id"]: (i["version"], str(i["state"])) for i in self.service.snapshot()["instances"]}

    async def _launch(self, _service: str, place: str, version: str) -> Child:
        if version in self.broken_versions:
            raise ChildError("does not start")
        self.launched.append((place, version))
        await yield_once()
        return FakeChild(self._urls.pop(0)) if self._urls else FakeChild()

    def _announce(self, _service: str, deployment: Deployment, status: str | None) -> None:
        self.announced.append((deployment.kind, deployment.version, status))

    async def _pause(self, _seconds: float) -> None:
        self.serving_at_pauses.append(len(self.service.serving()))
        await yield_once()


async def yield_once() -> None:
    """Let every other task take a step."""
    await asyncio.sleep(0)
