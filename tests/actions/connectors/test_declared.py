"""What every connector owes its users: the rights it needs and what it can do, declared and in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
