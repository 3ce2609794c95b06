"""The fleet as it is: real processes, real requests, telemetry into a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import httpx
import pytest

from examples.fleet import Fleet, FleetError
from examples.fleet.telemetry import read_lines

pytestmark = pytest.mark.integration

CART = {"lines": [{"sku": "a", "quantity": 2, "cents": 100}]}
# Two dozen reports of three instances: enough to tell a mean latency of 25 ms from one of 130 ms on a busy machine.
OBSERVE_SECONDS = 4.0


@pytest.fixture
def telemetry(tmp_path: Path) -> Path:
    return tmp_path / "telemetry.jsonl"


@pytest.fixture
def fleet(telemetry: Path) -> Iterator[Fleet]:
    with Fleet(None, telemetry_file=telemetry) as fleet:
        yield fleet


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.05)


def deploy(fleet: Fleet, version: str) -> None:
    fleet.deploy("checkout", version)
    until(lambda: bool(fleet.state("checkout")["converged"]))


def samples(telemetry: Path, service: str, metric: str, period: tuple[int, int]) -> list[float]:
    """Samples of all instances of a service, without the proxy's."""
    found = []
    for line in read_lines(telemetry):
        block = line["value"]
        instance = block["resource"].get("service.instance.id", "")
        if "series" not in block or block["resource"]["service.name"] != service or instance.endswith("proxy"):
            continue
        values = {series["name"]: row[0] for series, row in zip(block["series"], block["value"], strict=True)}
        if period[0] < block["time_unix_nano"][0] < period[1] and values.get(metric) is not None:
            found.append(values[metric])
    return found


def observe(telemetry: Path) -> Callable[[str, str], float]:
    """Watch for a while; returns the mean of a metric in that time."""
    began = time.time_ns()
    time.sleep(OBSERVE_SECONDS)
    period = began, time.time_ns()
    return lambda service, metric: mean(samples(telemetry, service, metric, period))


def order(fleet: Fleet, body: dict[str, Any] = CART) -> httpx.Response:
    return httpx.post(f"{fleet.proxy_url}/checkout/orders", json=body)


def states(fleet: Fleet) -> dict[str, str]:
    return {instance["id"]: instance["state"] for instance in fleet.state("checkout")["instances"]}


def test_a_bad_version_hurts_its_users_and_a_rollback_helps_them(fleet: Fleet, telemetry: Path) -> None:
    duration, errors = "http.server.request.duration.mean", "http.server.request.error_ratio"
    time.sleep(1)
    before = observe(telemetry)
    deploy(fleet, "v2")
    broken = observe(telemetry)
    deploy(fleet, "v1")
    healed = observe(telemetry)
    assert broken("checkout", duration) > 2 * before("checkout", duration)
    assert broken("checkout", errors) > 0.15
    assert before("checkout", errors) < 0.05
    assert healed("checkout", duration) < broken("checkout", duration) / 2
    assert healed("checkout", errors) < 0.05
    # The bystander.
    assert broken("payment", errors) < 0.05


def test_a_deployment_loses_no_request_and_is_announced(fleet: Fleet, telemetry: Path) -> None:
    time.sleep(0.5)
    for version in ("v3", "v1", "v3"):
        deploy(fleet, version)
    time.sleep(1)
    lost = [line["value"] for line in read_lines(telemetry) if "upstream" in str(line) or "Disconnected" in str(line)]
    assert lost == []
    failed = [line["value"] for line in read_lines(telemetry) if line["value"].get("severity_number", 0) >= 17]
    assert failed == []
    events = [line for line in read_lines(telemetry) if line["value"].get("event_name")]
    assert {line["key"] for line in events} == {"demo/checkout"}
    assert [line["value"]["event_name"] for line in events] == ["deployment.started", "deployment.finished"] * 3
    attributes = events[1]["value"]["attributes"]
    assert attributes == {
        "deployment.id": "checkout-1",
        "deployment.kind": "rollout",
        "deployment.status": "succeeded",
        "service.version": "v3",
        "service.version.previous": "v1",
    }


def test_isolation_and_a_crash_leave_the_service_up(fleet: Fleet) -> None:
    fleet.put("/v1/instances/checkout-1/isolation", {"isolated": True})
    # The load generator takes turns as well, so which of the two comes next is chance.
    assert {order(fleet).headers["X-Served-By"] for _ in range(30)} == {"checkout-2", "checkout-3"}
    fleet.inject("crash", instance="checkout-2")
    until(lambda: states(fleet)["checkout-2"] == "down")
    assert [order(fleet).status_code for _ in range(6)] == [201] * 6
    assert states(fleet) == {"checkout-1": "isolated", "checkout-2": "down", "checkout-3": "serving"}
    fleet.put("/v1/instances/checkout-1/isolation", {"isolated": False})
    deploy(fleet, "v1")
    assert set(states(fleet).values()) == {"serving"}


def test_a_slow_instance_is_slow_and_a_surge_is_felt(fleet: Fleet, telemetry: Path) -> None:
    time.sleep(0.5)
    usual = observe(telemetry)
    fleet.inject("slow-instance", instance="checkout-1", seconds=0.3)
    fleet.inject("traffic-surge", factor=2)
    surged = observe(telemetry)
    assert surged("checkout", "http.server.request.rate") > 1.5 * usual("checkout", "http.server.request.rate")
    assert surged("checkout", "http.server.request.duration.mean") > 0.08


def test_what_the_api_refuses_is_an_error(fleet: Fleet) -> None:
    with pytest.raises(FleetError, match="has no version v9"):
        fleet.deploy("checkout", "v9")


OWNER = """
import sys, time
from pathlib import Path
from examples.fleet import Fleet
fleet = Fleet(None, telemetry_file=Path(sys.argv[1]))
print(fleet.pid, flush=True)
time.sleep(60)
"""


def processes_of_session(session: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the fleet's processes in /proc")
@pytest.mark.parametrize("victim", ["owner", "supervisor"])
def test_no_process_outlives_a_killed_owner_or_supervisor(telemetry: Path, victim: str) -> None:
    command = [sys.executable, "-c", OWNER, str(telemetry)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        session = int(owner.stdout.readline())
        # Supervisor, fork server and its helper, three of checkout, one of payment, the load generator.
        assert len(processes_of_session(session)) == 8
        os.kill(owner.pid if victim == "owner" else session, signal.SIGKILL)
        until(lambda: not processes_of_session(session))
        owner.kill()
