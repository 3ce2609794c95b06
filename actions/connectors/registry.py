"""The kinds of connectors there are, and those the settings configure.

The catalogue asks for the parameters that a kind's operations take; the executor asks for the configured ones. A
playbook names a connector as `<kind>.<name>`: the kind fixes what it can do, the name is looked up in the settings.
"""

from __future__ import annotations

from collections.abc import Mapping

from actions.connectors.argo import ArgoConnector
from actions.connectors.base import Connector
from actions.connectors.docker import DockerConnector
from actions.connectors.exec import ExecConnector
from actions.connectors.http import HttpConnector
from actions.connectors.kubernetes.connector import KubernetesConnector
from actions.connectors.nftables import NftablesConnector
from actions.connectors.postgres import PostgresConnector
from actions.connectors.settings import ConnectorsSettings

KINDS: Mapping[str, type[Connector]] = {
    "argo": ArgoConnector,
    "docker": DockerConnector,
    "exec": ExecConnector,
    "http": HttpConnector,
    "kubernetes": KubernetesConnector,
    "nftables": NftablesConnector,
    "postgres": PostgresConnector,
}


def kind_of(connector: str) -> type[Connector] | None:
    """Class of a connector by its name in a playbook."""
    return KINDS.get(connector.partition(".")[0])


def build(settings: ConnectorsSettings) -> dict[str, Connector]:
    """Make every configured connector."""
    return {
        **{f"argo.{name}": ArgoConnector(cluster) for name, cluster in settings.argo.items()},
        **{f"docker.{name}": DockerConnector(engine) for name, engine in settings.docker.items()},
        **{f"exec.{name}": ExecConnector(commands) for name, commands in settings.exec.items()},
        **{f"http.{name}": HttpConnector(endpoint) for name, endpoint in settings.http.items()},
        **{f"kubernetes.{name}": KubernetesConnector(cluster) for name, cluster in settings.kubernetes.items()},
        **{f"nftables.{name}": NftablesConnector(host) for name, host in settings.nftables.items()},
        **{f"postgres.{name}": PostgresConnector(database) for name, database in settings.postgres.items()},
    }


async def close(connectors: Mapping[str, Connector]) -> None:
    """Release the connections of all."""
    for connector in connectors.values():
        await connector.close()
