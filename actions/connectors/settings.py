"""Settings of the connectors, as they stand in the `connectors` group of the settings file.

Every connector is read-only until its `enabled` is set.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, SecretStr


class Group(BaseModel):
    """A group of settings: a misspelt name is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, which alone is spoken to in the clear where secrets are sent."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class HttpEndpoint(Group):
    """One HTTP API that actions may use."""

    base_url: HttpUrl
    """What the paths of its playbooks are appended to."""
    token: SecretStr | None = None
    """Sent as a bearer token."""
    enabled: bool = False
    """Whether actions may write to it. Until then it is only read."""
    ca_file: Path | None = None
    """Certificate authority of its TLS certificate, where the system's do not know it."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Of one request. With the retries, one call takes at most four times as long and 2 s more."""


class PostgresDatabase(Group):
    """One PostgreSQL database that actions may protect."""

    conninfo: SecretStr
    """Where it is and as whom, as libpq reads it: `host=db dbname=shop user=reflexarc sslmode=verify-full`, or a URI. \
    A password is better kept in `~/.pgpass` or a client certificate."""
    enabled: bool = False
    """Whether actions may change it. Until then it is only read."""
    protected_roles: tuple[str, ...] = ()
    """Roles that are never limited, and whose sessions are never ended. Superusers never are."""
    timeout_seconds: Annotated[float, Field(ge=1, le=60)] = 5.0
    """Of one look or change."""


class DockerEngine(Group):
    """One Docker or Podman Engine whose containers actions may isolate, pause, resize and restart."""

    socket: Path = Path("/var/run/docker.sock")
    """Unix socket of its API; Podman's is `/run/podman/podman.sock`."""
    enabled: bool = False
    """Whether actions may change its containers. Until then they are only read."""
    service_label: Annotated[str, Field(min_length=1)] = "com.docker.compose.service"
    """Label whose value is the name of the service that a container is an instance of."""
    protected: tuple[str, ...] = ()
    """Names of containers that are never changed."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Of one request; a restart may take its `grace_seconds` more."""


def _network(text: str) -> str:
    return str(ip_network(text))


NetworkText = Annotated[str, AfterValidator(_network)]


class LocalCommands(Group):
    """Commands on the executor's machine that a signed manifest allows."""

    manifest: Path
    """The manifest; its signature lies beside it, as the same name with `.sig`."""
    public_key: Path
    """The public key that belongs to the one it is signed with."""
    enabled: bool = False
    """Whether actions may run the `apply` of its commands. Until then only their `observe` is run."""


class HostAddresses(Group):
    """Addresses of one instance of a service."""

    service: str
    """As telemetry names it."""
    instance: str
    """As telemetry names it."""
    addresses: Annotated[tuple[NetworkText, ...], Field(min_length=1)]
    """Single addresses or networks."""


class NftablesHost(Group):
    """The packet filter of this machine, or of one network namespace on it."""

    namespace: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$")] | None = None
    """Network namespace, as `ip netns` names it. None: the one that the executor runs in."""
    enabled: bool = False
    """Whether actions may change it. Until then it is only read."""
    hosts: tuple[HostAddresses, ...] = ()
    """What a playbook may filter, by service and instance. An instance that is an address itself need not be listed."""
    protected: tuple[NetworkText, ...] = ()
    """Networks that always get through; loopback, link-local and multicast addresses do."""
    program: Path = Path("/usr/sbin/nft")
    """Where `nft` is."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Of one call of it."""


Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
LabelKey = Annotated[str, Field(pattern=r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


class ClusterAccess(Group):
    """One Kubernetes cluster, and the services in it that actions may be carried out on."""

    kubeconfig: Path | None = None
    """Where the cluster is and as whom, in a file as kubectl reads it. None: the cluster that the executor runs in, \
as the service account of its pod."""
    context: str | None = None
    """Context of that file; its current one when none is named."""
    namespaces: Annotated[tuple[Namespace, ...], Field(min_length=1)] = ("default",)
    """Namespaces of the services. A service that is in two of them is left alone."""
    service_label: LabelKey = "app.kubernetes.io/name"
    """Label of pods and workloads whose value is the name of the service they are of."""
    enabled: bool = False
    """Whether actions may change it. Until then it is only read."""
    protected: tuple[str, ...] = ()
    """Names of services, pods and nodes that are never changed."""
    nodes: tuple[str, ...] = ()
    """Patterns (`*`, `?`) of the names of nodes that may be cordoned; as shipped none."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Of one request."""


class ConnectorsSettings(Group):
    """Systems that actions may be carried out on, by kind and name; a playbook's `http.deployments` is `http` here."""

    argo: dict[str, ClusterAccess] = Field(default_factory=dict)
    docker: dict[str, DockerEngine] = Field(default_factory=dict)
    exec: dict[str, LocalCommands] = Field(default_factory=dict)
    http: dict[str, HttpEndpoint] = Field(default_factory=dict)
    kubernetes: dict[str, ClusterAccess] = Field(default_factory=dict)
    nftables: dict[str, NftablesHost] = Field(default_factory=dict)
    postgres: dict[str, PostgresDatabase] = Field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """All that are configured, as playbooks name them."""
        return frozenset(f"{kind}.{name}" for kind, entries in self for name in entries)
