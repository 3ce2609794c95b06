"""Settings of the connectors, as they stand in the `connectors` group of the settings file.

Every connector is read-only until its `enabled` is set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr


class Group(BaseModel):
    """A group of settings: a misspelt name is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


class ConnectorsSettings(Group):
    """Systems that actions may be carried out on, by kind and name; a playbook's `http.deployments` is `http` here."""

    http: dict[str, HttpEndpoint] = Field(default_factory=dict)
    postgres: dict[str, PostgresDatabase] = Field(default_factory=dict)
