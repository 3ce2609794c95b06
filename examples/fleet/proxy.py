"""The proxy: the one address of every service, in front of its instances.

Requests to `/<service>/<path>` go round robin to the instances that serve. An instance that refuses the connection is
left out for a while and the next one is tried; an answer that never came is not retried, because the request may have
had its effect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import count

from aiohttp import ClientConnectorError, ClientError, ClientSession, ClientTimeout, web

from examples.fleet.services import Instance, Service
from examples.fleet.telemetry import RequestWindow

# Longer than any healthy request by two orders of magnitude, shorter than the patience of the load generator's users.
UPSTREAM_TIMEOUT = ClientTimeout(total=4.0)
# An instance that refused a connection is tried again after this long.
EJECTION_SECONDS = 2.0


class Proxy:
    """Forwards requests and measures each as its client sees it."""

    def __init__(
        self, services: Mapping[str, Service], session: ClientSession, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._services = services
        self._session = session
        self._clock = clock
        self._turns = {name: count() for name in services}
        self._ejected_until: dict[str, float] = {}
        self.windows = {name: RequestWindow() for name in services}

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{service}/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.Response:
        service = self._services.get(request.match_info["service"])
        if service is None:
            return web.json_response({"error": "no such service"}, status=404)
        started = self._clock()
        response = await self._forward(service, request)
        failed = response.status >= 500
        self.windows[service.name].add(self._clock() - started, failed=failed)
        service.served(failed=failed)
        return response

    async def _forward(self, service: Service, request: web.Request) -> web.Response:
        body = await request.read()
        for instance in self._candidates(service):
            try:
                return await self._send(instance, request, body)
            except ClientConnectorError:
                self._ejected_until[instance.id] = self._clock() + EJECTION_SECONDS
            except ClientError as error:
                return _unanswered(502, type(error).__name__)
            except TimeoutError:
                return _unanswered(504, "upstream timeout")
        return _unanswered(503, "no instance serves")

    async def _send(self, instance: Instance, request: web.Request, body: bytes) -> web.Response:
        assert instance.child is not None  # noqa: S101 - serving means there is a process
        url = f"{instance.child.url}/{request.match_info['path']}"
        headers = {"Content-Type": request.headers.get("Content-Type", "application/octet-stream")}
        sent = self._session.request(request.method, url, data=body, headers=headers, timeout=UPSTREAM_TIMEOUT)
        async with sent as answer:
            return web.Response(
                status=answer.status,
                body=await answer.read(),
                headers={"Content-Type": answer.content_type, "X-Served-By": instance.id},
            )

    def _candidates(self, service: Service) -> list[Instance]:
        """Order the serving instances by turn; ejected ones come last, for when there is no other."""
        serving = service.serving()
        if not serving:
            return []
        turn = next(self._turns[service.name]) % len(serving)
        now = self._clock()
        return sorted(serving[turn:] + serving[:turn], key=lambda i: self._ejected_until.get(i.id, 0.0) > now)


def _unanswered(status: int, why: str) -> web.Response:
    return web.json_response({"error": why}, status=status)
