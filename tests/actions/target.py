"""A deployment API on loopback that behaves like the fleet's: a desired version, instances that converge to it.

It counts what really changed, honours the Idempotency-Key, and can be told to fail.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

TOKEN = "s3cret"


class DeploymentTarget:
    """One service, `checkout`, on version 2 with 1 as known good."""

    def __init__(self) -> None:
        self.version = "2"
        self.known_good: str | None = "1"
        self.running = ["2", "2"]
        self.isolated: set[str] = set()
        self.generation = 1
        self.effects: list[str] = []
        self.keys: dict[str, str] = {}
        self.puts = 0
        self.gets = 0
        # Answers to give instead, one a request: a status, or "lost" (do it, then drop the connection).
        self.faults: list[int | str] = []
        self.converges = True
        self.slow = 0.0
        self.url = ""

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/v1/services/{service}", self._get)
        application.router.add_put("/v1/services/{service}/version", self._put)
        application.router.add_put("/v1/services/{service}/scale", self._scale)
        application.router.add_put("/v1/instances/{instance}/isolation", self._isolate)
        return application

    def state(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "known_good_version": self.known_good,
            "generation": self.generation,
            "instances": [self._instance(f"i{index}", version) for index, version in enumerate(self.running)],
        }

    def _instance(self, name: str, version: str) -> dict[str, str]:
        return {"id": name, "version": version, "state": "isolated" if name in self.isolated else "serving"}

    async def _scale(self, request: web.Request) -> web.Response:
        wanted = (await request.json())["instances"]
        self.running = (self.running + [self.version] * wanted)[:wanted]
        self.effects.append(f"scale {wanted}")
        return web.json_response(self.state(), status=202)

    async def _isolate(self, request: web.Request) -> web.Response:
        name, isolated = request.match_info["instance"], (await request.json())["isolated"]
        self.isolated = self.isolated | {name} if isolated else self.isolated - {name}
        self.effects.append(f"{'isolate' if isolated else 'restore'} {name}")
        return web.json_response(self.state())

    async def _get(self, request: web.Request) -> web.Response:
        self.gets += 1
        if request.match_info["service"] != "checkout":
            return web.json_response({"error": "no such service"}, status=404)
        return web.json_response(self.state())

    async def _put(self, request: web.Request) -> web.Response:
        self.puts += 1
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": "who are you"}, status=401)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            return web.json_response({"error": "told to fail"}, status=fault)
        await asyncio.sleep(self.slow)
        body = await request.json()
        self._set(request.headers["Idempotency-Key"], body["version"])
        if fault == "lost" and request.transport is not None:
            request.transport.close()
        return web.json_response(self.state(), status=202)

    def _set(self, key: str, version: str) -> None:
        if key in self.keys:
            return
        self.keys[key] = version
        self.effects.append(version)
        self.version = version
        self.generation += 1
        if self.converges:
            self.running = [version] * len(self.running)
