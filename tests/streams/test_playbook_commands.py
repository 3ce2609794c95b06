"""`reflexarc playbooks`: faults are named and fail the command; what is sound is listed and explained."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from actions.catalog import SHIPPED
from streams.cli import app

TEXT = (SHIPPED / "rollback-deployment.yaml").read_text()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["playbooks", *arguments])


def test_the_shipped_ones_are_checked_by_default() -> None:
    found = run("check")
    assert found.exit_code == 0
    assert "rollback-deployment" in found.output


def test_every_fault_of_every_file_is_named_with_line_and_field(tmp_path: Path) -> None:
    bad, worse = tmp_path / "bad.yaml", tmp_path / "worse.yaml"
    bad.write_text(TEXT.replace("within_seconds: 60", "within_seconds: soon", 1))
    worse.write_text(TEXT.replace("relation: present", "relation: probably", 1))
    found = run("check", str(tmp_path))
    assert found.exit_code == 1
    line = next(n for n, text in enumerate(bad.read_text().splitlines(), 1) if "soon" in text)
    assert f"{bad}:{line}: steps.0.verification.within_seconds: " in found.output
    assert f"{worse}:" in found.output
    assert "steps.0.preconditions.0.relation: " in found.output


def test_a_single_file_may_be_checked(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: [")
    sound = tmp_path / "sound.yaml"
    sound.write_text(TEXT)
    assert run("check", str(sound)).exit_code == 0


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"name: ["])
def test_what_cannot_be_read_is_a_fault_and_no_crash(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.yaml").write_bytes(content)
    found = run("check", str(tmp_path))
    assert found.exit_code == 1
    assert f"{tmp_path / 'odd.yaml'}:1: " in found.output


def test_two_files_must_not_define_the_same_playbook(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(TEXT)
    found = run("check", str(tmp_path))
    assert found.exit_code == 1
    assert "another file defines rollback-deployment too" in found.output


def test_a_folder_without_playbooks_is_not_sound(tmp_path: Path) -> None:
    assert run("check", str(tmp_path)).exit_code == 1
    assert run("check", str(tmp_path / "none-such")).exit_code != 0


def test_they_are_listed_with_what_they_serve() -> None:
    listed = run("list").output.splitlines()
    assert "rollback-deployment v2: deployment_regression: rollback" in listed


def test_one_is_explained_with_its_conditions_revert_and_expiry() -> None:
    told = run("explain", "isolate-instance").output
    for part in (
        "serves: instance_fault",
        "only if /instances/*/state",
        "revert: http.deployments",
        "judged from 5 s to 60 s",
        "taken back after 1800 s unless renewed",
    ):
        assert part in told


def test_an_unknown_one_is_refused_with_those_there_are() -> None:
    found = run("explain", "none-such")
    assert found.exit_code != 0
    assert "rollback-deployment" in str(found.exception)
