"""What every record has in common: version, identity, entity, and how unknown things are treated.

Two rules hold on every topic:

* An unknown FIELD is ignored on reading, so a producer may add fields before its consumers know them. A field
  whose absence changes the meaning of the rest is not an addition: it needs a new version.
* An unknown VERSION is a dead letter. Guessing at a record from the future is how wrong actions are taken.

Identities are made from content, never from a clock or a random source: a repeat is recognised as one, and a
replay produces the very same records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

SCHEMA_VERSION: Literal[1] = 1
NANOS = 1_000_000_000

type_adapter_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

# Event time. 2**63 - 1 nanoseconds is the year 2262: the range of an int64, and of OTLP's fixed64 in practice.
TimeUnixNano = Annotated[int, Field(gt=0, lt=2**63, description="nanoseconds since the Unix epoch")]
# Names and labels come from outside. 1024 characters hold every real metric or template name seen; a longer
# one is an accident or an attack, and each would be kept in memory and printed on someone's terminal.
Name = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
AttributeValue = str | bool | int | float
Attributes = Annotated[Mapping[str, AttributeValue], Field(max_length=128)]


class Model(BaseModel):
    """Base of every value inside a record: immutable, finite numbers only, unknown fields ignored."""

    model_config = type_adapter_config


class Record(Model):
    """Base of every record on a topic."""

    schema_version: Literal[1] = SCHEMA_VERSION


# Names of learnt models: of versions on the topic `models`, by id.
Models = Annotated[
    tuple[str, ...],
    Field(description="ids of the learnt models whose settings made it (topic models); none: as people set them"),
]


class Entity(Model):
    """What a piece of telemetry is about: a service instance in an environment.

    `instance` is None for what concerns the service as a whole (a deployment, a service-level alert).
    """

    environment: Name = "default"
    service: Name
    instance: Name | None = None

    @property
    def scope(self) -> str:
        """Environment and service: what incidents, policies and locks are about, and the key from signals on."""
        return f"{self.environment}/{self.service}"

    def __str__(self) -> str:
        return self.scope if self.instance is None else f"{self.scope}/{self.instance}"


# In order of preference: the first present names the instance (OpenTelemetry resource conventions).
_INSTANCE_KEYS = ("service.instance.id", "k8s.pod.name", "container.id", "host.name")
_SERVICE_KEYS = ("service.name", "db.system", "host.name")
_ENVIRONMENT_KEYS = ("deployment.environment.name", "deployment.environment", "k8s.cluster.name")


def entity_of(resource: Mapping[str, AttributeValue]) -> Entity:
    """Name the entity that an OpenTelemetry resource describes; `unknown` where no service is given."""
    service = _first(resource, _SERVICE_KEYS) or "unknown"
    return Entity(
        environment=_first(resource, _ENVIRONMENT_KEYS) or "default",
        service=service,
        instance=_first(resource, _INSTANCE_KEYS),
    )


def _first(resource: Mapping[str, AttributeValue], keys: tuple[str, ...]) -> str | None:
    return next((str(resource[key])[:1024] for key in keys if resource.get(key)), None)


def content_id(*parts: object) -> str:
    """128-bit identity of some content, as 32 hex digits: BLAKE2b over its canonical (sorted) JSON."""
    # The standard library's encoder, since labels may hold integers beyond 64 bits, which faster ones refuse.
    payload = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str).encode()
    return blake2b(payload, digest_size=16).hexdigest()
