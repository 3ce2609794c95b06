"""Placeholders in playbooks: `{incident.service}` and a few others, a closed set, replaced as text in text.

Called by the catalogue to check a playbook and by the policy to fill one in. Nothing is evaluated; a value that
contains a placeholder stays the text it is. `{{` and `}}` are literal braces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from schemas.envelope import Entity
from schemas.errors import PermanentError
from schemas.incident import Incident

NAMES = frozenset(
    {
        "incident.id",
        "incident.environment",
        "incident.service",
        "incident.label",
        "incident.severity",
        "target.environment",
        "target.service",
        "target.instance",
    }
)
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def values_for(incident: Incident, target: Entity) -> dict[str, str]:
    """Values of the placeholders; a name that has none here is absent."""
    values = {
        "incident.id": incident.id,
        "incident.environment": incident.environment,
        "incident.service": incident.service,
        "incident.label": incident.classification.label,
        "incident.severity": incident.severity,
        "target.environment": target.environment,
        "target.service": target.service,
    }
    return values if target.instance is None else values | {"target.instance": target.instance}


def render(value: Any, values: Mapping[str, str]) -> Any:
    """Fill in every string within `value`.

    Raises:
        PermanentError: a placeholder is unknown or has no value here.

    """
    if isinstance(value, str):
        return _TOKEN.sub(lambda match: _replace(match, values), value)
    if isinstance(value, Mapping):
        return {key: render(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [render(item, values) for item in value]
    return value


def _replace(match: re.Match[str], values: Mapping[str, str]) -> str:
    token = match.group()
    if token in {"{{", "}}"}:
        return token[0]
    name = match.group(1)
    if name is None:
        raise PermanentError(f"a lone {token!r} in {match.string!r:.200}; a literal one is doubled")
    if name not in values:
        known = ", ".join(sorted(NAMES))
        why = "has no value for this target" if name in NAMES else f"is unknown; there are: {known}"
        raise PermanentError(f"placeholder {{{name}}} {why}")
    return values[name]
