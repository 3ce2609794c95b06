"""Settings of the policy: what is granted where, how sure one must be, and the limits.

The `policy` group of the settings file. As shipped nothing is granted and every rail is on.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

from actions.autonomy import EarningSettings
from actions.rails import Group, RailsSettings, Seconds
from schemas.action import Tier
from schemas.envelope import content_id

Probability = Annotated[float, Field(ge=0, le=1)]
# What is done about these cuts something off: a wrong one is an outage of our own making. 9 asks for a confidence of
# 0.9, 19 for 0.95, where a whole segment is cut off. The default of `min_confidence` says 4 of the others.
COST_RATIOS = {"segment_compromised": 19.0, "instance_compromised": 9.0, "malicious_traffic": 9.0, "node_fault": 9.0}


class Grant(Group):
    """A tier that a person grants; patterns (`*`, `?`) say where. The first grant that matches counts."""

    environment: str = "*"
    """Pattern of the environments it holds in."""
    service: str = "*"
    """Pattern of the services it holds for."""
    playbook: str = "*"
    """Pattern of the playbooks it holds for."""
    tier: Tier
    """How much may be done without a person."""
    earn_up_to: Tier | None = None
    """Tier it may rise to by its own record, without a person ratifying the promotion."""

    def matches(self, environment: str, service: str, playbook: str) -> bool:
        pairs = ((environment, self.environment), (service, self.service), (playbook, self.playbook))
        return all(fnmatchcase(name, pattern) for name, pattern in pairs)


class PolicySettings(Group):
    """What may be done. As shipped nothing is granted, so every playbook observes."""

    grants: tuple[Grant, ...] = ()
    min_confidence: Probability = 0.8
    """Below this a person decides, whatever the tier."""
    cost_ratios: dict[str, Annotated[float, Field(gt=0)]] = COST_RATIOS
    """Per class: how many times worse a wrong action is than a wait for a person. A class that is named here needs a
    confidence of ratio / (1 + ratio), whatever `min_confidence` is."""
    min_credibility: Probability = 0.1
    """Below this the incident is unfamiliar: fewer than one in ten of its class were as strange."""
    command_validity_seconds: Seconds = 120.0
    """A command older than this is not carried out: the world has moved on."""
    approval_validity_seconds: Seconds = 900.0
    """How long a person has to approve what was proposed."""
    earning: EarningSettings = EarningSettings()
    rails: RailsSettings = RailsSettings()

    @property
    def version(self) -> str:
        return content_id("policy", self.model_dump(mode="json"))

    def confidence_needed(self, label: str) -> float:
        """Return how sure one must be of a class to act: where that costs no more than to wait (Elkan, 2001)."""
        ratio = self.cost_ratios.get(label)
        return self.min_confidence if ratio is None else ratio / (1 + ratio)

    def grant_for(self, environment: str, service: str, playbook: str) -> Grant:
        matching = (grant for grant in self.grants if grant.matches(environment, service, playbook))
        return next(matching, Grant(tier="observe"))
