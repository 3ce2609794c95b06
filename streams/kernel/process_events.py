"""Structured events of processes, read from log records: OpenTelemetry's names, Sysmon's and Falco's.

Called by `streams.kernel.detect_processes`. Which event it is says `event.name`; what it is about say attributes, under
the first of these names that is present:

* OpenTelemetry's registry (`process.executable.path`, `process.pid`, `network.peer.port`), and the Elastic Common
  Schema where that goes further (`process.entity_id`, `process.parent.executable`);
* Sysmon's event data (`Image`, `ProcessGuid`, `ParentImage`, `DestinationPort`);
* Falco's output fields (`proc.exepath`, `proc.pid`, `proc.pname`, `fd.sport`).
"""

from __future__ import annotations

from collections.abc import Mapping

from detectors.processes import ProcessEvent, ProcessEventKind
from schemas.envelope import AttributeValue, Entity
from streams.decoding.native import LogRow

# By `event.name`, in lower case.
KINDS: Mapping[str, ProcessEventKind] = {
    "process.start": "start",
    "process.create": "start",
    "process.exec": "start",
    "processcreate": "start",
    "execve": "start",
    "network.connection": "connection",
    "network.connect": "connection",
    "networkconnect": "connection",
    "connect": "connection",
    "dns.query": "query",
    "dnsquery": "query",
    "process.access": "access",
    "processaccess": "access",
    "process.remote_thread": "thread",
    "createremotethread": "thread",
}
_PROCESS = ("process.entity_id", "process.pid", "ProcessGuid", "SourceProcessGuid", "ProcessId", "proc.pid")
_IMAGE = (
    "process.executable.path",
    "process.executable",
    "process.executable.name",
    "Image",
    "SourceImage",
    "proc.exepath",
    "proc.name",
)
_PARENT = (
    "process.parent.entity_id",
    "process.parent_pid",
    "process.parent.pid",
    "ParentProcessGuid",
    "ParentProcessId",
    "proc.ppid",
)
_PARENT_IMAGE = (
    "process.parent.executable.path",
    "process.parent.executable",
    "ParentImage",
    "proc.pexepath",
    "proc.pname",
)
_USER = ("process.owner", "process.user.name", "user.name", "User")
_INTEGRITY = ("process.integrity_level", "IntegrityLevel")
_PORT = ("network.peer.port", "destination.port", "server.port", "DestinationPort", "fd.sport")
_TARGET = ("process.target.executable", "TargetImage", "fd.name")
# Machine and service accounts of Windows end in a dollar sign or belong to the authority.
_SYSTEM_USERS = frozenset({"root", "system"})
# A path is at most this long; what is longer is a payload.
_MAX_CHARACTERS = 512


def read_process_event(log: LogRow, entity: Entity) -> ProcessEvent | None:
    """Return what a record says of a process; None where it says nothing of one, or does not say of which."""
    kind = KINDS.get(log.event_name.lower())
    if kind is None:
        return None
    said = log.attributes
    process, image = _first(said, _PROCESS), _first(said, _IMAGE)
    if not process or not image:
        return None
    start = kind == "start"
    parent = _first(said, _PARENT)
    return ProcessEvent(
        kind,
        f"{entity}/{process}",
        image,
        parent=f"{entity}/{parent}" if parent else "",
        parent_image=_first(said, _PARENT_IMAGE) if start else "",
        rights=_rights(said) if start else "",
        object=_first(said, _PORT if kind == "connection" else _TARGET),
    )


def _rights(said: Mapping[str, AttributeValue]) -> str:
    user, integrity = _first(said, _USER), _first(said, _INTEGRITY)
    if not user and not integrity:
        return ""
    system = user.endswith("$") or "NT AUTHORITY" in user.upper() or user.lower() in _SYSTEM_USERS
    return f"{'system' if system else 'user'} {integrity}".rstrip()


def _first(said: Mapping[str, AttributeValue], names: tuple[str, ...]) -> str:
    for name in names:
        value = said.get(name)
        if value is not None and value != "":
            return str(value)[:_MAX_CHARACTERS]
    return ""
