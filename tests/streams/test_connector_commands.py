"""`reflexarc connectors`: what rights are needed, and whether they are held, before anything depends on them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from actions import signing
from actions.connectors.registry import KINDS
from streams.cli import app

MANIFEST = """
commands:
  noop:
    observe: [/bin/echo, "{}"]
    apply: [PROGRAM]
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["connectors", *arguments])


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "reflexarc.toml"
    monkeypatch.setenv("REFLEXARC_CONFIG", str(path))
    return path


def allow(folder: Path, program: str) -> str:
    """Sign a manifest; gives the settings of its connector."""
    manifest, key = folder / "commands.yaml", folder / "key"
    public = signing.new_key(key)
    manifest.write_text(MANIFEST.replace("PROGRAM", program))
    signing.signature_of(manifest).write_bytes(signing.sign(manifest.read_bytes(), signing.private_key(key)))
    return f'[connectors.exec.host]\nmanifest = "{manifest}"\npublic_key = "{public}"\n'


def test_the_rights_of_every_kind_are_listed() -> None:
    found = run("rights")
    assert found.exit_code == 0
    assert [line for line in found.output.splitlines() if not line.startswith(" ")] == list(KINDS)
    assert "pods/eviction" not in run("rights", "argo").output
    assert run("rights", "telnet").exit_code != 0


def test_what_is_held_is_said_for_each_that_is_configured(tmp_path: Path, configuration: Path) -> None:
    endpoint = '[connectors.http.deployments]\nbase_url = "http://localhost:9"\nenabled = true\n'
    configuration.write_text(allow(tmp_path, "/bin/true") + endpoint)
    found = run("check")
    assert found.exit_code == 0, found.output
    assert "exec.host: read-only" in found.output
    assert "  held    run /bin/true: noop" in found.output
    assert "http.deployments: enabled\n  cannot be told before it is used" in found.output


def test_what_is_missing_fails_and_the_others_are_still_asked(tmp_path: Path, configuration: Path) -> None:
    engine = f'[connectors.docker.engine]\nsocket = "{tmp_path}/none.sock"\n'
    configuration.write_text(engine + allow(tmp_path, "/nowhere/program"))
    found = run("check")
    assert found.exit_code == 1
    assert "docker.engine: read-only\n  cannot be asked: " in found.output
    assert "  MISSING run /nowhere/program: noop" in found.output


def test_without_any_connector_it_says_so(configuration: Path) -> None:
    configuration.write_text("")
    found = run("check")
    assert (found.exit_code, "no connector is configured" in found.output) == (0, True)
