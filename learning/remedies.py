"""What people's words about a fix mean: which kind of remedy it was, and whether such a remedy can be taken back.

Used by `learning.assess`. A fixed table on purpose: who doubts a rank can read why, and nothing is sent anywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Reversibility = Literal["reversible", "repeatable", "irreversible", "unknown"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """A kind of remedy, the words it is told by, and the playbook class that offers it, if one is shipped."""

    name: str
    words: str
    reversibility: Reversibility
    label: str = ""

    def is_told_in(self, text: str) -> bool:
        return re.search(rf"\b(?:{self.words})", text, re.IGNORECASE) is not None


# The first that matches counts, so the harshest come first: "restarted, then restored from backup" is a restore.
REMEDIES = (
    Remedy("restore or delete data", r"restor\w+|delet\w+|drop(?:ped|ping)?\b|truncat\w+|purg\w+", "irreversible"),
    Remedy("failover", r"fail(?:ed)?[ -]?over|promot\w+", "irreversible"),
    Remedy("fix forward", r"hotfix\w*|patch\w*|code (?:fix|change)|bug ?fix\w*", "irreversible"),
    Remedy("roll back", r"roll(?:ed|ing)?[ -]?back|revert\w*|downgrad\w+", "reversible", "deployment_regression"),
    Remedy(
        "scale out",
        r"scal(?:e|ed|ing)\b|add(?:ed|ing)? (?:instance|replica|node|capacity)",
        "reversible",
        "traffic_surge",
    ),
    Remedy("isolate", r"isolat\w+|drain\w*|cordon\w*|quarantin\w+|out of rotation", "reversible", "instance_fault"),
    Remedy(
        "throttle or cancel",
        r"throttl\w+|rate[ -]?limit\w*|kill\w* (?:the )?(?:query|queries|session)|"
        r"cancel\w*|shed\w*",
        "reversible",
        "database_overload",
    ),
    Remedy("block", r"block(?:ed|ing)?\b|den(?:y|ied)\b|blacklist\w*|firewall\w*", "reversible"),
    Remedy("toggle", r"(?:feature )?(?:flag|toggle)\w*|disabl\w+|enabl\w+", "reversible"),
    # Cannot be taken back, but may be done again: what it loses comes back by itself.
    Remedy("restart", r"restart\w*|reboot\w*|bounc\w+|recycl\w+|kill(?:ed)? (?:the )?pod", "repeatable"),
    Remedy(
        "free resources", r"clear(?:ed|ing)?\b|flush\w*|rotat\w+|clean(?:ed|ing)?\b|expand\w*|renew\w*", "repeatable"
    ),
    Remedy(
        "none needed",
        r"self[- ]?(?:heal|resol|recover)\w*|recovered (?:by itself|on its own)|no action|"
        r"false (?:alarm|positive)|transient|auto[- ]?resolv\w*",
        "unknown",
    ),
)
NOTHING_DONE = "none needed"


def remedy_of(resolution: str) -> Remedy | None:
    """Say which kind of remedy a text tells of; None where it tells of none that is known here."""
    return next((remedy for remedy in REMEDIES if remedy.is_told_in(resolution)), None)
