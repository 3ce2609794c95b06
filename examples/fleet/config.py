"""What every process of the fleet is told at its start.

Made by `examples.fleet.Fleet`, sent as one JSON line to the supervisor, which hands it to every process it forks.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class FleetConfig(BaseModel):
    """One fleet. Telemetry goes to Kafka, or to a file of JSON lines where there is no broker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str | None = None
    telemetry_file: Path | None = None
    topic_prefix: str = "reflexarc"
    environment: str = "demo"
    seed: int = 7
    token: str = Field(min_length=1, repr=False)
    requests_per_second: float = Field(default=60.0, gt=0)
    checkout_instances: int = Field(default=3, ge=1, le=8)


class InstanceSpec(BaseModel):
    """One instance of one service, as its process is told to be it."""

    model_config = ConfigDict(frozen=True)

    service: str
    instance: str
    version: str
    proxy_url: str
    config: FleetConfig

    @property
    def resource(self) -> dict[str, str | bool | int | float]:
        """OpenTelemetry resource of everything this instance publishes."""
        return {
            "service.name": self.service,
            "service.instance.id": self.instance,
            "service.version": self.version,
            "deployment.environment.name": self.config.environment,
        }
