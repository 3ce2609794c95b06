"""The documents say what the code does: settings, schemas, commands, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas.export import write_schemas
from streams.cli import app
from streams.settings_doc import markdown, rows
from tests.docs.pages import PAGES, README, ROOT, commands, name

SETTINGS = {row.name: row for row in rows()}
# Lists of groups are one setting, too: what is configured is the whole list.
LISTS = {found.partition("[]")[0] for found in SETTINGS if "[]" in found}


def table(page: Path) -> list[list[str]]:
    lines = [line for line in page.read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if re.match(r"`[a-z]+\.", row[0])]


def default_of(setting: str) -> str:
    return "empty" if setting in LISTS else SETTINGS[setting].default


def test_settings_are_documented_as_they_are() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == markdown(), "reflexarc settings > docs/settings.md"


def test_every_setting_says_what_it_means() -> None:
    assert [row.name for row in rows() if not row.meaning] == []


def test_the_readme_names_existing_settings_with_their_defaults() -> None:
    found = table(README)
    assert len(found) >= 15
    for names, default, _ in found:
        settings = re.findall(r"`([^`]+)`", names)
        assert default == ", ".join(dict.fromkeys(default_of(setting) for setting in settings)), names


def test_variables_that_are_named_belong_to_settings() -> None:
    known = {f"REFLEXARC_{'__'.join(setting.upper().split('.'))}" for setting in SETTINGS}
    # What a line of shell continues with `...__` is a pattern, not a variable.
    named = {v for page in PAGES for v in re.findall(r"REFLEXARC_[A-Z_]+__[A-Z_]+", page.read_text())}
    assert named - {"REFLEXARC_GROUP__FIELD"} <= known
    assert "REFLEXARC_KAFKA__BOOTSTRAP_SERVERS" in named


def test_schemas_are_published_as_they_are(tmp_path: Path) -> None:
    fresh = {path.name: path.read_bytes() for path in write_schemas(tmp_path)}
    published = {path.name: path.read_bytes() for path in (ROOT / "docs" / "schemas").iterdir()}
    assert published == fresh, "make schemas"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_that_are_named_exist(page: Path) -> None:
    for words in commands(page, "reflexarc"):
        asked = CliRunner().invoke(app, [*words.split(), "--help"])
        assert asked.exit_code == 0, f"reflexarc {words}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words.partition(" ")[0] for words in commands(page, "make")} <= targets


def test_the_readme_names_the_commands_that_matter() -> None:
    """The two tests above look at something."""
    assert {"up", "worker", "executor", "console", "topics", "stop"} <= commands(README, "reflexarc")
    assert {"demo", "test"} <= commands(README, "make")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    linked = [page.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text)]
    inline = re.findall(r"`((?:streams|actions|detectors|schemas|console|docs|tests|examples)/[\w./-]+)`", text)
    assert [str(path) for path in [*linked, *(ROOT / path for path in inline)] if not path.exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_tests_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)((?:::[A-Za-z_]+)+)`", page.read_text())
    for path, names in named:
        source = (ROOT / path).read_text()
        for part in names.removeprefix("::").split("::"):
            assert re.search(rf"^\s*(async def|def|class) {part}\b", source, re.MULTILINE), f"{path}{names}"
