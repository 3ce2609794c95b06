"""What every connector owes its users: the rights it needs and what it can do, declared and in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from actions.connectors.argo import ArgoConnector
from actions.connectors.kubernetes.connector import ClusterConnector, KubernetesConnector
from actions.connectors.registry import KINDS
from actions.connectors.settings import ConnectorsSettings
from streams.settings_doc import rows

PAGE = (Path(__file__).parents[3] / "docs" / "connectors.md").read_text()


def section(kind: str) -> str:
    found = re.search(rf"^## {kind}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/connectors.md has no section {kind}"
    return found[1]


@pytest.mark.parametrize("kind", KINDS)
def test_permissions_are_declared_and_documented(kind: str) -> None:
    declared = {f"| {item.access} | {item.resource} | {item.why} |" for item in KINDS[kind].permissions}
    assert declared
    assert [line for line in declared if line not in section(kind)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_operations_are_documented(kind: str) -> None:
    assert [name for name in KINDS[kind].operations if f"`{name}`" not in section(kind)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_read_only_unless_enabled(kind: str) -> None:
    assert kind in ConnectorsSettings.model_fields
    enabled = {row.name: row.default for row in rows()}[f"connectors.{kind}.<name>.enabled"]
    assert enabled == "`false`"


def granted(kind: str) -> set[tuple[str, str, str]]:
    """Read the ClusterRoles that the documentation gives."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", section(kind), re.MULTILINE | re.DOTALL)
    roles = [role for block in blocks for role in yaml.safe_load_all(block)]
    return {
        (verb, group, resource)
        for role in roles
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


@pytest.mark.parametrize("kind", [KubernetesConnector, ArgoConnector])
def test_the_cluster_roles_in_the_documentation_grant_what_is_needed(kind: type[ClusterConnector]) -> None:
    needed = {(verb, right.group, resource) for right in kind.rights for verb, resource in right.each()}
    name = next(name for name, known in KINDS.items() if known is kind)
    assert needed - granted(name) == set()
