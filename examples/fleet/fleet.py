"""`Fleet`: start, drive and stop the fleet from Python. Used by the demo, the tests and `python -m examples.fleet`."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from examples.fleet.config import FleetConfig
from examples.fleet.services import Kind

# A start takes a second or two on an idle laptop, and 20 where ten other programs want its two cores.
START_SECONDS = 60.0
# Every process has three seconds to finish its requests, and they stop one group after another.
STOP_SECONDS = 10.0
# The control API answers in milliseconds; it never waits for what it sets going.
REQUEST_SECONDS = 10.0


class FleetError(Exception):
    """The fleet could not be started, or refused a request."""


class Fleet:
    """A running fleet. It ends with `stop()`, with the `with` block, or with this process, however that ends."""

    def __init__(
        self,
        bootstrap_servers: str | None,
        topic_prefix: str = "reflexarc",
        environment: str = "demo",
        seed: int = 7,
        *,
        telemetry_file: Path | None = None,
        token: str | None = None,
        requests_per_second: float = 60.0,
    ) -> None:
        self.token = token or secrets.token_urlsafe(24)
        config = FleetConfig(
            bootstrap_servers=bootstrap_servers,
            telemetry_file=telemetry_file,
            topic_prefix=topic_prefix,
            environment=environment,
            seed=seed,
            token=self.token,
            requests_per_second=requests_per_second,
        )
        self._process = _start_supervisor()
        try:
            urls = self._handshake(config)
        except BaseException:
            self.stop()
            raise
        self.control_url: str = urls["control_url"]
        self.proxy_url: str = urls["proxy_url"]

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self._process.pid

    def deploy(self, service: str, version: str, kind: Kind = "rollout") -> dict[str, Any]:
        """Deploy a version; returns at once, the roll takes a second or two."""
        return self.put(f"/v1/services/{service}/version", {"version": version, "kind": kind})

    def state(self, service: str) -> dict[str, Any]:
        """State of a service."""
        return self._request("GET", f"/v1/services/{service}")

    def inject(self, fault: str, **parameters: str | float) -> dict[str, Any]:
        """Inject a fault: `slow-instance` or `crash` (instance=...), `traffic-surge` (factor=...)."""
        return self.put(f"/v1/faults/{fault}", dict(parameters))

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make a change through the control API."""
        return self._request("PUT", path, body)

    def stop(self) -> None:
        """Stop every process of the fleet. Stopping twice is fine."""
        assert self._process.stdin is not None  # noqa: S101 - made with a pipe
        assert self._process.stdout is not None  # noqa: S101 - made with a pipe
        if not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        import httpx  # noqa: PLC0415 - the fleet's own processes import this package and need no HTTP client of theirs

        headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": str(uuid.uuid4())}
        url = f"{self.control_url}{path}"
        # A proxy from the environment would see the token.
        response = httpx.request(method, url, json=body, headers=headers, timeout=REQUEST_SECONDS, trust_env=False)
        if response.is_error:
            raise FleetError(f"{method} {path}: {response.status_code} {response.text}")
        answer: dict[str, Any] = response.json()
        return answer

    def _handshake(self, config: FleetConfig) -> dict[str, str]:
        assert self._process.stdin is not None  # noqa: S101 - made with a pipe
        assert self._process.stdout is not None  # noqa: S101 - made with a pipe
        self._process.stdin.write(config.model_dump_json().encode() + b"\n")
        self._process.stdin.flush()
        # Ends the wait below by ending the process: a pipe cannot be read with a timeout everywhere.
        deadline = threading.Timer(START_SECONDS, self._process.kill)
        deadline.start()
        line = self._process.stdout.readline()
        deadline.cancel()
        if not line:
            raise FleetError("the fleet did not start; its standard error says why")
        urls: dict[str, str] = json.loads(line)
        return urls


def _start_supervisor() -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "examples.fleet.entry"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        # Ctrl-C in the owner's terminal is the owner's to handle.
        start_new_session=True,
    )
