"""Playbooks: the shipped ones are sound, and every fault is named with its file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from actions.catalog import SHIPPED, Catalog, load, parse
from schemas.errors import ConfigurationError
from schemas.incident import Classification
from tests.actions.builders import REGRESSION, incident, signal

TEXT = (SHIPPED / "rollback-deployment.yaml").read_text()


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "p.yaml")
    return str(caught.value).splitlines()


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_the_shipped_playbooks_are_sound() -> None:
    assert {playbook.name for playbook in load()} == {path.stem for path in SHIPPED.glob("*.yaml")}
    assert len(load()) >= 3


CASES = [
    ("within_seconds: 60", "within_seconds: soon", "steps.0.verification.within_seconds"),
    ("within_seconds: 60", "within_seconds: 5", "steps.0.verification"),
    ("within_seconds: 60", "within_seconds: .nan", "steps.0.verification.within_seconds"),
    ("\nversion: 2", "\nversion: 0", "version"),
    ("name: rollback-deployment", "name: Roll Back", "name"),
    ("target: service", "target: everything", "steps.0.target"),
    ("connector: http.deployments", "connector: telnet.deployments", "steps.0.connector"),
    ("relation: present", "relation: probably", "steps.0.preconditions.0.relation"),
    ("classes: [deployment_regression]", "classes: []", "serves.classes"),
]


@pytest.mark.parametrize(("sound", "wrong", "field"), CASES)
def test_a_fault_is_named_with_its_line_and_field(sound: str, wrong: str, field: str) -> None:
    text = TEXT.replace(sound, wrong, 1)
    (fault,) = faults(text)
    assert fault.startswith(f"p.yaml:{line_of(text, wrong.strip())}: {field}: ")


@pytest.mark.parametrize(
    ("sound", "wrong", "complaint"),
    [
        ("method: PUT", "metod: PUT", "metod: Extra inputs"),
        ("operation: set", "operation: explode", "no operation explode"),
        ("{incident.service}", "{incident.servise}", "{incident.servise} is unknown"),
        ("{incident.service}", "{incident", "a lone '{'"),
        ('"{incident.service}", version', '"..", version', "must not be empty, '.' or '..'"),
        ("pointer: /version, equals", "pointer: version, equals", "pattern"),
    ],
)
def test_parameters_are_checked_as_the_connector_will(sound: str, wrong: str, complaint: str) -> None:
    (fault,) = faults(TEXT.replace(sound, wrong, 1))
    assert complaint in fault
    assert fault.startswith("p.yaml:")
    assert ": steps.0: " in fault


def test_all_faults_are_named_at_once() -> None:
    text = TEXT.replace("\nversion: 2", "\nversoin: 2").replace("within_seconds: 60", "within_seconds: -1")
    assert len(faults(text)) == 3


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "p.yaml:1: the file is empty"),
        ("- a\n- b", "p.yaml:1: playbook: Input should be"),
        ("name: a\nversion: 1\nname: b", "p.yaml:3: name: given twice"),
        ("name: [a", "p.yaml:1: "),
        ("a: &x [1]\nb: *x", "p.yaml:2: aliases are not read"),
        ("a: !!python/object/apply:os.system [id]", "p.yaml:1: "),
        ("a: \x00", "p.yaml:1: "),
    ],
)
def test_what_is_no_playbook_is_refused(text: str, complaint: str) -> None:
    assert any(fault.startswith(complaint) for fault in faults(text))


def test_a_reversible_step_states_its_revert() -> None:
    head, _, rest = TEXT.partition("    revert:\n")
    text = head + rest[rest.index("    # 5 s:") :]
    assert "states its revert" in faults(text)[0]


ISOLATE = (SHIPPED / "isolate-instance.yaml").read_text()


def test_what_expires_or_takes_an_instance_out_says_how() -> None:
    no_revert = ISOLATE.replace("    revert:", "    reverse:", 1)
    assert any("reverse: Extra inputs" in fault for fault in faults(no_revert))
    head, _, rest = ISOLATE.partition("    revert:\n")
    irreversible = (head + rest[rest.index("    # 5 s:") :]).replace("reversible: true", "reversible: false")
    assert "what expires must be taken back" in faults(irreversible)[0]
    blind = ISOLATE.replace("      instances: {pointer: /instances/*/state, healthy: serving}\n", "")
    assert "says where live state shows" in faults(blind)[0]
    assert (
        "is unknown"
        in faults(ISOLATE.replace('where: {id: "{target.instance}"}, relation', 'where: {id: "{it}"}, relation'))[0]
    )


def test_steps_have_distinct_names() -> None:
    step = TEXT[TEXT.index("  - name: rollback") :]
    assert "same name" in faults(TEXT + step)[0]


def test_files_are_read_from_folders_and_names_are_unique(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(TEXT.replace("name: rollback-deployment", "name: mine"))
    assert {playbook.name for playbook in load(tmp_path)} == {"mine"}
    with pytest.raises(ConfigurationError, match="another file defines mine"):
        load(tmp_path, tmp_path)
    (tmp_path / "broken.yaml").write_text("name: [")
    with pytest.raises(ConfigurationError, match=r"broken\.yaml:1"):
        load(tmp_path)


def test_the_version_follows_the_content() -> None:
    shipped = load()
    assert load().version == shipped.version
    longer = Catalog([parse(TEXT.replace("within_seconds: 60", "within_seconds: 61"), "p.yaml")])
    assert longer.version != Catalog([parse(TEXT, "p.yaml")]).version


def test_the_playbook_with_most_conditions_serves() -> None:
    general = parse(
        TEXT.replace('\n    - {kind: change, name: "deployment.*"}', " []").replace(
            "name: rollback-dep", "name: a-dep"
        ),
        "a",
    )
    special = parse(TEXT, "b")
    catalog = Catalog([general, special])
    assert catalog.serving(incident()) == special
    assert catalog.serving(incident(signals=(signal(),))) == general
    unknown = incident(classification=Classification(label="overload"))
    assert catalog.serving(unknown) is None
    assert catalog.serving(incident(classification=REGRESSION)) == special


def test_of_two_playbooks_the_one_that_can_act_is_chosen() -> None:
    here = parse(TEXT, "p.yaml")
    elsewhere = TEXT.replace("http.deployments", "http.elsewhere").replace("name: rollback-deployment", "name: z", 1)
    both = [here, there := parse(elsewhere, "q.yaml")]
    assert Catalog(both).serving(incident()) == here
    assert Catalog(both, ["http.elsewhere"]).serving(incident()) == there
    assert Catalog(both, ["http.elsewhere"]).version != Catalog(both).version
    assert Catalog(both).acting() == {"deployment_regression": here.name}
    assert Catalog(both, ["http.elsewhere"]).acting() == {"deployment_regression": there.name}


def test_a_playbook_that_only_calls_a_person_is_none_that_acts() -> None:
    assert "alert_noise" not in load().acting()


def test_evidence_that_a_connector_cannot_collect_is_a_fault() -> None:
    text = (SHIPPED / "container-isolation.yaml").read_text()
    wrong = text.replace("operation: container", "operation: universe")
    (fault,) = faults(wrong)
    assert fault.endswith("docker.engine has no operation universe; it has: container")
