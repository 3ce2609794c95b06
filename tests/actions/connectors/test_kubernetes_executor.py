"""A whole executor on a cluster: a pod is taken out of service with its evidence kept, proved, and let go in time."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import yaml

from actions.connectors.settings import ClusterAccess, ConnectorsSettings
from actions.forensics import ForensicsSettings
from schemas.envelope import Entity
from schemas.incident import RootCause
from schemas.outcome import EXPIRY, Result
from streams.embedded import EmbeddedValkey
from tests.actions.connectors.shipped import commands
from tests.actions.target import DeploymentTarget
from tests.actions.world import World, of_now, until
from tests.parts import Broker
from tests.parts.cluster import NAMESPACE, TOKEN, FakeCluster

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tansu: Broker, valkey: EmbeddedValkey, topic_prefix: str, target: DeploymentTarget) -> World:
    return World(tansu.bootstrap_servers, valkey.url, topic_prefix, target)


def kubeconfig(folder: Path, cluster: FakeCluster) -> Path:
    path = folder / "kubeconfig"
    document = {
        "current-context": "shop",
        "contexts": [{"name": "shop", "context": {"cluster": "shop", "user": "bot"}}],
        "clusters": [{"name": "shop", "cluster": {"server": str(cluster.url)}}],
        "users": [{"name": "bot", "user": {"token": TOKEN}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


async def test_a_pod_is_isolated_proved_and_let_go_again(world: World, cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.workload("deployments", "checkout", "checkout:1", 3)
    ill = cluster.pods("checkout")[0]["metadata"]["name"]
    cluster.logs[ill] = b"GET /.env\n"
    entity = Entity(environment="demo", service="checkout", instance=ill)
    cause = RootCause(entity=entity, what="errors", signal_id="signal-1", score=0.9, because="it alone is ill")
    (wanted,) = commands("container-isolation-kubernetes", root_causes=(cause,)).values()
    command = wanted.model_copy(update=of_now() | {"approved_by": "ada", "effect_seconds": 2.0})
    access = ClusterAccess(kubeconfig=kubeconfig(tmp_path, cluster), namespaces=(NAMESPACE,), enabled=True)

    def quarantined() -> list[str]:
        return [pod["metadata"]["name"] for pod in cluster.all("pods") if len(pod["metadata"]["labels"]) == 1]

    world.show("firing")
    connectors = ConnectorsSettings(kubernetes={"cluster": access})
    forensics = ForensicsSettings(folder=tmp_path / "evidence")
    async with world.executor(connectors=connectors, forensics=forensics):
        world.ask(command)
        await until(quarantined)
        assert quarantined() == [ill]
        assert len(cluster.pods("checkout")) == 3, "another takes its place"
        world.show("cleared")
        async with world.telemetry():
            first, second = await world.outcomes(2)
    assert (first.result, first.verification) == (Result.VERIFIED, "better"), first.reason
    assert (second.result, second.undoes, second.approved_by) == (Result.VERIFIED, command.id, EXPIRY), second.reason
    assert quarantined() == []
    assert len(cluster.pods("checkout")) == 3

    package = Path(first.before["forensics"]["package"])
    assert (package / "main.log").read_bytes() == cluster.logs[ill]
    assert len(orjson.loads((package / "signals.json").read_bytes())) == 1
