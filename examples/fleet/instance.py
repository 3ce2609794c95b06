"""One instance of a service: an HTTP server in a process of its own that measures what it serves.

Forked by the supervisor (`examples.fleet.processes`); the proxy sends it requests; what it measures goes to
`examples.fleet.telemetry`.
"""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any

from aiohttp import ClientSession, web

from examples.fleet import checkout, payment
from examples.fleet.config import InstanceSpec
from examples.fleet.processes import on_value, stop_signal
from examples.fleet.telemetry import (
    ERROR,
    INFO,
    REPORT_SECONDS,
    WARN,
    ProcessUsage,
    RequestWindow,
    Telemetry,
    open_publisher,
)

# One access log line in fifty requests: about one a second over the fleet, enough to see the traffic's shape.
ACCESS_LOG_EVERY = 50
# What a service knows may happen and answers with a status of its own; anything else is a bug and a 500.
EXPECTED_FAILURES: dict[type[Exception], int] = {
    checkout.PaymentUnavailableError: 502,
    payment.AcquirerUnavailableError: 503,
}

Operation = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
PATHS = {"checkout": "/orders", "payment": "/authorisations"}


class Instance:
    """Serves one operation over HTTP, measures every request and logs those that fail."""

    def __init__(self, operation: Operation, telemetry: Telemetry) -> None:
        self._operation = operation
        self._telemetry = telemetry
        self._window = RequestWindow()
        self._served = 0
        self.extra_seconds = 0.0

    async def serve(self, request: web.Request) -> web.Response:
        """Handle one request; its duration is what the client would measure, less the network."""
        started = time.perf_counter()
        response = await self._answer(request)
        duration = time.perf_counter() - started
        self._window.add(duration, failed=response.status >= 500)
        self._served += 1
        if self._served % ACCESS_LOG_EVERY == 0:
            body = f"{request.method} {request.path} {response.status} {duration * 1000:.1f} ms"
            self._log(INFO, body, request, response.status)
        return response

    def report(self, usage: ProcessUsage, seconds: float) -> None:
        """Publish the metrics of the last `seconds`."""
        self._telemetry.metrics(time.time_ns(), self._window.drain(seconds) | usage.sample(seconds))

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            if self.extra_seconds:
                await asyncio.sleep(self.extra_seconds)
            return web.json_response(await self._operation(await request.json()), status=201)
        except Exception as error:  # noqa: BLE001 - the edge of the service: whatever went wrong becomes a response
            return self._failure(request, error)

    def _failure(self, request: web.Request, error: Exception) -> web.Response:
        status = EXPECTED_FAILURES.get(type(error), 500)
        what = {"exception.type": type(error).__name__, "exception.message": str(error)}
        if status == 500:
            trace = "".join(traceback.format_exception(error))
            self._log(
                ERROR, f"Unhandled exception in {request.method} {request.path}\n{trace}", request, status, **what
            )
        else:
            self._log(WARN, f"{request.method} {request.path} failed: {error}", request, status, **what)
        return web.json_response({"error": type(error).__name__}, status=status)

    def _log(self, severity: int, body: str, request: web.Request, status: int, **more: str) -> None:
        about: dict[str, str | bool | int | float] = {
            "http.request.method": request.method,
            "url.path": request.path,
            "http.response.status_code": status,
        }
        self._telemetry.log(time.time_ns(), severity, body, about | more)


async def report_forever(report: Callable[[float], None]) -> None:
    """Call `report(seconds since the last call)` every `REPORT_SECONDS`."""
    last = time.monotonic()
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        now = time.monotonic()
        report(now - last)
        last = now


async def run(spec: InstanceSpec, connection: Connection) -> None:
    """Process body: serve until SIGTERM, then finish what is in flight."""
    stop = stop_signal()
    publisher = open_publisher(spec.config)
    # The group ends this process when reporting fails: an instance that serves unseen would look like one in silence.
    async with ClientSession() as session, asyncio.TaskGroup() as group:
        instance = Instance(_operation(spec, session), Telemetry(spec.resource, publisher))
        on_value(connection, lambda seconds: setattr(instance, "extra_seconds", seconds))
        runner, port = await _listen(PATHS[spec.service], instance)
        connection.send(f"http://127.0.0.1:{port}")
        usage = ProcessUsage()
        reporting = group.create_task(report_forever(lambda seconds: instance.report(usage, seconds)))
        await stop.wait()
        reporting.cancel()
        await runner.cleanup()
    publisher.close()


def _operation(spec: InstanceSpec, session: ClientSession) -> Operation:
    rng = random.Random(f"{spec.config.seed}/{spec.instance}/{spec.version}")
    if spec.service == "payment":
        return payment.build(rng)
    return checkout.build(spec.version, session, spec.proxy_url, rng)


async def _listen(path: str, instance: Instance) -> tuple[web.AppRunner, int]:
    app = web.Application()
    app.router.add_post(path, instance.serve)
    # Above the longest time a request may take (the payment timeout), so that a replaced instance loses none.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, int(runner.addresses[0][1])
