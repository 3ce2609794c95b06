"""The supervisor: the process that runs the proxy and the control API and forks everything else.

Started by `examples.fleet.Fleet` (through `entry`), which sends one JSON line of configuration on standard input and
reads one JSON line with the two URLs from standard output. When standard input ends, the fleet ends: so it cannot
outlive its owner, however that one died.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack

import orjson
import uvloop
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web

from examples.fleet import instance, load, processes
from examples.fleet.config import FleetConfig, InstanceSpec
from examples.fleet.control import Control
from examples.fleet.load import LoadSpec
from examples.fleet.proxy import Proxy
from examples.fleet.services import Deployment, Service
from examples.fleet.telemetry import INFO, Publisher, Telemetry, open_publisher


class Supervisor:
    """Everything of one fleet, wired."""

    def __init__(self, config: FleetConfig, publisher: Publisher) -> None:
        self._config = config
        self._publisher = publisher
        self._proxy_url = ""
        sizes = {"payment": 1, "checkout": config.checkout_instances}
        self.services = {
            name: Service(name, size, launch=self._launch, announce=self._announce) for name, size in sizes.items()
        }

    async def start(self, stack: AsyncExitStack) -> dict[str, str]:
        """Start everything in the order of need, registering how to stop it; return the URLs."""
        # No limit on connections: the proxy must not be the queue that its clients wait in. Cookies and compression
        # are between its clients and the services.
        connector, cookies = TCPConnector(limit=0), DummyCookieJar()
        session = ClientSession(connector=connector, cookie_jar=cookies, auto_decompress=False)
        await stack.enter_async_context(session)
        proxy = Proxy(self.services, session)
        self._proxy_url = await _listen(stack, proxy.app())
        for service in self.services.values():
            stack.push_async_callback(service.stop)
        await asyncio.gather(*(service.start() for service in self.services.values()))
        generator = await self._start_load()
        stack.push_async_callback(generator.stop)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        reporting = group.create_task(instance.report_forever(lambda seconds: self._report(proxy, seconds)))
        stack.callback(reporting.cancel)
        control = Control(self.services, generator, token=self._config.token, environment=self._config.environment)
        return {"control_url": await _listen(stack, control.app()), "proxy_url": self._proxy_url}

    async def _launch(self, service: str, place: str, version: str) -> processes.ChildProcess:
        spec = InstanceSpec(
            service=service, instance=place, version=version, proxy_url=self._proxy_url, config=self._config
        )
        return await processes.start(place, instance.run, spec)

    async def _start_load(self) -> processes.ChildProcess:
        spec = LoadSpec(
            url=f"{self._proxy_url}/checkout/orders",
            requests_per_second=self._config.requests_per_second,
            seed=self._config.seed,
        )
        return await processes.start("load", load.run, spec)

    def _telemetry(self, service: str, place: str | None) -> Telemetry:
        about = {"service.name": service, "deployment.environment.name": self._config.environment}
        named = {} if place is None else {"service.instance.id": place}
        return Telemetry(about | named, self._publisher)

    def _report(self, proxy: Proxy, seconds: float) -> None:
        for name, window in proxy.windows.items():
            self._telemetry(name, self.services[name].observer).metrics(time.time_ns(), window.drain(seconds))
            self.services[name].judge_version()

    def _announce(self, service: str, deployment: Deployment, status: str | None) -> None:
        event = "started" if status is None else "finished"
        attributes = {
            "deployment.id": deployment.id,
            "deployment.kind": deployment.kind,
            "service.version": deployment.version,
            "service.version.previous": deployment.previous,
        }
        body = f"{deployment.kind} of {service} from {deployment.previous} to {deployment.version} {event}"
        self._telemetry(service, None).log(
            time.time_ns(),
            INFO,
            body,
            attributes if status is None else attributes | {"deployment.status": status},
            event_name=f"deployment.{event}",
        )


async def _listen(stack: AsyncExitStack, app: web.Application) -> str:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def run(config: FleetConfig) -> None:
    """Run the fleet until standard input ends."""
    owner_gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), owner_gone.set)
    publisher = open_publisher(config)
    async with AsyncExitStack() as stack:
        stack.callback(publisher.close)
        urls = await Supervisor(config, publisher).start(stack)
        sys.stdout.write(orjson.dumps(urls).decode() + "\n")
        sys.stdout.flush()
        await owner_gone.wait()


def main() -> None:
    """Take the configuration from standard input and run."""
    uvloop.run(run(FleetConfig.model_validate_json(sys.stdin.buffer.readline())))
