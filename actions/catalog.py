"""The catalogue of playbooks: YAML files in, checked playbooks out, every fault with its file, line and field.

Read once at the start by the decide stage, and by `reflexarc playbooks check|list|explain`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from actions.playbook import Playbook
from schemas.envelope import content_id
from schemas.errors import ConfigurationError
from schemas.incident import Incident

SHIPPED = Path(__file__).parent / "playbooks"

Location = tuple[str | int, ...]


class Catalog:
    """Playbooks by name, and the connectors that are configured."""

    def __init__(self, playbooks: Iterable[Playbook], connectors: Collection[str] = ()) -> None:
        self._connectors = frozenset(connectors)
        self._by_name = {playbook.name: playbook for playbook in sorted(playbooks, key=lambda item: item.name)}

    def __iter__(self) -> Iterator[Playbook]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> Playbook | None:
        return self._by_name.get(name)

    def serving(self, incident: Incident, not_served: Collection[str] = ()) -> Playbook | None:
        """Choose the playbook for an incident.

        Of several, one whose connectors are configured; then one whose system did not say of this target that it
        knows nothing of it (`not_served`); then that with most conditions; then the first by name.
        """
        fitting = [playbook for playbook in self if playbook.serves_incident(incident)]
        return max(
            fitting,
            key=lambda item: (self._can_act(item), item.name not in not_served, len(item.serves.signals)),
            default=None,
        )

    def acting(self) -> dict[str, str]:
        """Name, by class, the playbook that acts on it; of several as `serving` chooses."""
        names: dict[str, str] = {}
        for playbook in sorted(self, key=lambda item: not self._can_act(item)):
            for label in playbook.serves.classes if playbook.steps else ():
                names.setdefault(label, playbook.name)
        return names

    def _can_act(self, playbook: Playbook) -> bool:
        # One that only calls a person is the last to be chosen.
        return bool(playbook.steps) and all(step.connector in self._connectors for step in playbook.steps)

    @property
    def version(self) -> str:
        """Identity of the content of all playbooks, and of what decides between them."""
        playbooks = [playbook.model_dump(mode="json") for playbook in self]
        return content_id("catalog", playbooks, sorted(self._connectors))


def load(*paths: Path, connectors: Collection[str] = ()) -> Catalog:
    """Read these files, and every `*.yaml` of the folders among them; the shipped ones when none is given.

    `connectors` are those configured, by the names that playbooks have for them.

    Raises:
        ConfigurationError: naming every fault of every file.

    """
    playbooks: dict[str, Playbook] = {}
    faults: list[str] = []
    for path in (file for given in paths or (SHIPPED,) for file in _files(given)):
        try:
            playbook = parse(path.read_text(encoding="utf-8"), str(path))
        except ConfigurationError as error:
            faults.append(str(error))
            continue
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{path}:1: cannot be read: {error}")
            continue
        if playbook.name in playbooks:
            faults.append(f"{path}:1: name: another file defines {playbook.name} too")
        playbooks[playbook.name] = playbook
    if faults:
        raise ConfigurationError("\n".join(faults))
    return Catalog(playbooks.values(), connectors)


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.yaml")) if path.is_dir() else [path]


def parse(text: str, file: str) -> Playbook:
    """Check one playbook.

    Raises:
        ConfigurationError: one line a fault, as `file:line: field: what is wrong`.

    """
    try:
        alias = next((event for event in yaml.parse(text) if isinstance(event, yaml.AliasEvent)), None)
        if alias is not None:
            # A reader sees every step in full, and no file expands into gigabytes.
            line = alias.start_mark.line + 1 if alias.start_mark else 1
            raise ConfigurationError(f"{file}:{line}: aliases are not read; write it out")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{file}:{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{file}:1: {error}") from None
    if node is None:
        raise ConfigurationError(f"{file}:1: the file is empty")
    lines = dict(_lines(node, (), file))
    try:
        return Playbook.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_faults(error, lines, file))) from None


def _faults(error: ValidationError, lines: Mapping[Location, int], file: str) -> Iterator[str]:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    places = [fault["loc"] for fault in faults]
    for fault, at in zip(faults, places, strict=True):
        # A list whose only item is at fault is reported as too short as well; the item's own fault says it better.
        if fault["type"] == "too_short" and any(other[: len(at)] == at and other != at for other in places):
            continue
        # What is missing has no line of its own: that of what should hold it.
        held = next(at[:length] for length in range(len(at), -1, -1) if at[:length] in lines)
        yield f"{file}:{lines[held]}: {'.'.join(map(str, at)) or 'playbook'}: {fault['msg']}"


def _lines(node: yaml.Node, at: Location, file: str) -> Iterator[tuple[Location, int]]:
    """Walk the document: the line of every value, by its path. Refuse what YAML would silently overwrite."""
    yield at, node.start_mark.line + 1
    seen = set()
    for key, line, child in _children(node):
        if key in seen:
            raise ConfigurationError(f"{file}:{line}: {key}: given twice")
        seen.add(key)
        yield from _lines(child, (*at, key), file)
        yield (*at, key), line


def _children(node: yaml.Node) -> list[tuple[Any, int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        return [(key.value, key.start_mark.line + 1, value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(index, value.start_mark.line + 1, value) for index, value in enumerate(node.value)]
    return []
