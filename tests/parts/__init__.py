"""Real parts for tests and benchmarks: brokers, and brokers that fail on request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Broker:
    """A running broker. Tests ask its name only where `streams.embedded` says that Tansu differs."""

    name: Literal["tansu", "apache-kafka"]
    bootstrap_servers: str
