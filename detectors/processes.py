"""Processes judged with their ancestors: is what this one does, and what started it, unlike what was seen before.

Called by `streams.kernel.detect_processes`, live and by the scoreboard. Each event becomes facts ("cmd.exe is started
by ...", "port of a connection"), whose rarity is counted by `detectors.rarity`. What lies beyond one decade is
evidence; a process holds the strongest of each kind, and inherits part of what its ancestors did: commands typed into a
shell are ordinary one by one, but not under a program that came out of a download folder and called out on a new port.

No name decides anything: a program is only known or new, and stays new when it is renamed.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ntpath import basename, dirname
from typing import Literal

import msgspec

from detectors.base import Contribution
from detectors.rarity import Fact, Rarity

PAPER = "Hassan et al., NoDoze: Combatting Threat Alert Fatigue with Automated Provenance Triage, NDSS 2019"

ProcessEventKind = Literal["start", "connection", "query", "file", "access", "thread"]

# What happens once in ten times is usual: evidence begins beyond one decade.
USUAL_DECADES = 1.0
# The share of its parent's score that a process inherits: average precision .91 with 0.5, .99 with 0.7, 1.0 with 0.9.
INHERITED = 0.7
# Processes whose score is remembered, 200 bytes each: those of a busy host of a day.
MAX_PROCESSES = 20_000
# Ephemeral ports mean nothing one by one (IANA: 49152 and above).
EPHEMERAL = 49_152

_FOLDER_DEPTH = 4
# Parts of a path that differ between machines and installs: GUIDs, versions and numbers, security ids.
_VARIABLE = re.compile(r"\{?[0-9a-f]{8}-[0-9a-f-]{20,}\}?|s-1-[\d-]+|\d[\d.]*")
_HOMES = frozenset({"users", "home"})

_ASKED = {
    "folder": "folder of the program",
    "image": "program",
    "children": "what its parent starts",
    "parents": "what it is started by",
    "rights": "rights it runs with",
    "folders": "folders of parent and child",
    "port": "port it connects to",
    "connects": "program that connects",
    "port of program": "port, for this program",
    "resolves": "program that resolves names",
    "accesses": "program that opens this process",
    "threads": "program that starts threads elsewhere",
}


@dataclass(frozen=True, slots=True)
class ProcessEvent:
    """One structured event of one process, with what of it is known; empty text is what is not."""

    kind: ProcessEventKind
    process: str
    """Which process, unique on its own: host and process id, or a GUID."""
    image: str
    """Path of the program."""
    parent: str = ""
    parent_image: str = ""
    rights: str = ""
    """User class and integrity, or effective user."""
    object: str = ""
    """What was touched: port, or program opened."""


@dataclass(frozen=True, slots=True)
class ProcessVerdict:
    """What is made of a process after an event of it."""

    process: str
    score: float
    """Decades of evidence, its own and inherited; never falls while the process is remembered."""
    own: tuple[Contribution, ...]
    """Its own evidence, strongest first."""
    inherited: float
    reasons: tuple[str, ...]


@dataclass(slots=True)
class _Process:
    image: str
    parent: str
    evidence: dict[str, float] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    inherited: float = 0.0

    @property
    def score(self) -> float:
        return sum(self.evidence.values()) + self.inherited


class ProcessLineage:
    """Judges each event by what came before it, then learns it.

    >>> lineage = ProcessLineage()
    >>> for i in range(200):
    ...     _ = lineage.judge(ProcessEvent("start", f"p{i}", "/usr/bin/date", "p", "/usr/sbin/cron"))
    >>> usual = lineage.judge(ProcessEvent("start", "q", "/usr/bin/date", "p", "/usr/sbin/cron"))
    >>> odd = lineage.judge(ProcessEvent("start", "r", "/home/ann/downloads/x", "p", "/usr/sbin/cron"))
    >>> child = lineage.judge(ProcessEvent("start", "s", "/usr/bin/date", "r", "/home/ann/downloads/x"))
    >>> usual.score, odd.score > 4, child.score > 2, odd.reasons[1]
    (0.0, True, True, 'folder of the program: home/*/downloads, never seen in 201')
    """

    def __init__(self, rarity: Rarity | None = None, *, max_processes: int = MAX_PROCESSES) -> None:
        self.rarity = rarity or Rarity()
        self._max_processes = max_processes
        self._processes: OrderedDict[str, _Process] = OrderedDict()

    def learn(self, event: ProcessEvent) -> None:
        """Count an event known to be harmless, and remember nothing of its process."""
        self.rarity.learn(fact for _, fact in facts(event))

    def judge(self, event: ProcessEvent) -> ProcessVerdict:
        """Judge an event, then learn it."""
        process = self._process(event)
        found = list(facts(event))
        for name, fact in found:
            decades = self.rarity.surprise(fact) - USUAL_DECADES
            if decades > process.evidence.get(name, 0.0):
                process.evidence[name] = decades
                process.said[name] = self._say(name, fact)
        parent = self._processes.get(process.parent)
        if parent is not None and parent is not process:
            process.inherited = max(process.inherited, INHERITED * parent.score)
        self.rarity.learn(fact for _, fact in found)
        return self._verdict(event.process, process)

    def freeze(self) -> bytes:
        """Everything it knows, as bytes that hold no code."""
        rows = [(key, p.image, p.parent, p.evidence, p.said, p.inherited) for key, p in self._processes.items()]
        return msgspec.msgpack.encode((self.rarity.freeze(), rows))

    def thaw(self, state: bytes) -> None:
        """Become what `freeze` was called on."""
        rarity, rows = msgspec.msgpack.decode(state, type=tuple[bytes, list[_Saved]])
        self.rarity.thaw(rarity)
        self._processes = OrderedDict(
            (key, _Process(image, parent, evidence, said, inherited))
            for key, image, parent, evidence, said, inherited in rows
        )

    def _process(self, event: ProcessEvent) -> _Process:
        process = self._processes.get(event.process)
        # Process ids are used again: another start is another process.
        if process is None or event.kind == "start":
            process = self._processes[event.process] = _Process(event.image, event.parent)
            if len(self._processes) > self._max_processes:
                self._processes.popitem(last=False)
        self._processes.move_to_end(event.process)
        return process

    def _say(self, name: str, fact: Fact) -> str:
        times, seen = self.rarity.times(fact), self.rarity.seen(fact[0])
        return f"{_ASKED[name]}: {fact[1]}, {f'{times} of {seen} times' if times else f'never seen in {seen}'}"

    def _verdict(self, key: str, process: _Process) -> ProcessVerdict:
        own = sorted(process.evidence.items(), key=lambda one: (-one[1], one[0]))
        reasons = [process.said[name] for name, _ in own]
        if process.inherited > 0.0:
            parent = self._processes.get(process.parent)
            name = program(parent.image) if parent is not None else "an ancestor"
            reasons.append(f"started by {name}, of which {process.inherited:.1f} decades are inherited")
        contributions = tuple(Contribution(name, decades) for name, decades in own)
        return ProcessVerdict(key, process.score, contributions, process.inherited, tuple(reasons))


_Saved = tuple[str, str, str, dict[str, float], dict[str, str], float]


def program(image: str) -> str:
    """Name of a program without its folder, of any system."""
    return basename(image).lower()


def folder(image: str) -> str:
    """Return the folder of a program without what differs between machines: users, versions, GUIDs, depth."""
    parts = [part for part in dirname(image).lower().replace("\\", "/").split("/") if part and not part.endswith(":")]
    if len(parts) > 1 and parts[0] in _HOMES:
        parts[1] = "*"
    return "/".join(_VARIABLE.sub("#", part) for part in parts[:_FOLDER_DEPTH])


def facts(event: ProcessEvent) -> Iterator[tuple[str, Fact]]:
    """Tell what an event says, each fact with its name among the kinds of evidence."""
    image = program(event.image)
    if event.kind == "start":
        parent = program(event.parent_image)
        yield "folder", ("folder", folder(event.image))
        yield "image", ("image", image)
        yield "children", (f"children {parent}", image)
        yield "parents", (f"parents {image}", parent)
        yield "folders", ("folders", f"{folder(event.parent_image)} > {folder(event.image)}")
        if event.rights:
            yield "rights", (f"rights {image}", event.rights)
    elif event.kind == "connection":
        yield "port", ("port", _port(event.object))
        yield "connects", ("connects", image)
        yield "port of program", (f"port {image}", _port(event.object))
    elif event.kind in _ACTS:
        yield _ACTS[event.kind], (f"{_ACTS[event.kind]} {program(event.object)}", image)


_ACTS: Mapping[str, str] = {"query": "resolves", "access": "accesses", "thread": "threads"}


def _port(port: str) -> str:
    return "ephemeral" if port.isdecimal() and int(port) >= EPHEMERAL else port
