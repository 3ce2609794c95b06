"""Attacks nobody has seen before: processes of OTRF campaigns, and system calls of ADFA-LD (row 8).

Called by `benchmarks.scoreboard.rows.zero_day`. Another part is judged by what part A taught; in part A each campaign
is judged by the others, each half of the normal traces by the other half, and each family of attacks by a model that
knows nothing of it.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.scoreboard.row import Run
from benchmarks.scoreboard.sessions import Judged, teacher
from detectors.processes import ProcessEvent, ProcessEventKind, ProcessLineage
from detectors.sequence_memory import SequenceMemory
from schemas.envelope import NANOS
from schemas.signal import Signal
from schemas.topics import RAW_LOGS
from streams.batch import Batch
from streams.kernel.base import Emit
from streams.kernel.detect import DetectRules
from streams.kernel.detect_logs import LogDetect
from streams.kernel.log_signals import PROCESS

_KINDS: dict[str, ProcessEventKind] = {
    "proc_create": "start",
    "net_conn": "connection",
    "dns_query": "query",
    "lsass_access": "access",
    "remote_thread": "thread",
}
_SYSMON: Mapping[ProcessEventKind, str] = {
    "start": "ProcessCreate",
    "connection": "NetworkConnect",
    "query": "DnsQuery",
    "access": "ProcessAccess",
    "thread": "CreateRemoteThread",
}
# What the live stage is given follows each other a millisecond apart: it needs the order, not the times.
_APART = NANOS // 1000
# Column of what an event touches.
_OBJECTS = {"connection": "dst_port", "access": "parent_or_target", "thread": "parent_or_target"}
HARMLESS, UNLABELLED = 0, -1


@dataclass(frozen=True, slots=True)
class Trace:
    """System calls of one process."""

    calls: list[int]
    family: str
    """Of the attack; empty for normal ones."""


def judge_campaigns(run: Run) -> list[Judged]:
    """Judge the processes started in each labelled recording, by their highest score, knowing harmless ones."""
    campaigns = _read_campaigns(run.folders("otrf"))
    taught = _read_campaigns(teacher(run, "otrf"))
    judged = []
    for at, campaign in enumerate(campaigns):
        others = taught or campaigns[:at] + campaigns[at + 1 :]
        lineage = ProcessLineage()
        for row in (row for other in others for row in other if row["attack"] == HARMLESS):
            for event in _event(row):
                lineage.learn(event)
        judged.append(_judge_campaign(lineage, campaign))
    return judged


def _judge_campaign(lineage: ProcessLineage, rows: Sequence[dict[str, Any]]) -> Judged:
    scores: dict[str, float] = {}
    bad: dict[str, bool] = {}
    for row in rows:
        for event in _event(row):
            score = lineage.judge(event).score
            if event.kind == "start" or event.process in scores:
                scores[event.process] = max(scores.get(event.process, 0.0), score)
                bad[event.process] = bad.get(event.process, False) or row["attack"] > HARMLESS
    return Judged(np.array(list(scores.values())), np.array(list(bad.values())))


def _event(row: Mapping[str, Any]) -> Iterator[ProcessEvent]:
    kind = _KINDS.get(row["kind"])
    if kind is None or row["pguid"] < 0:
        return
    start = kind == "start"
    # Machine and service accounts end in a dollar sign or belong to the authority.
    system = row["user"].endswith("$") or "NT AUTHORITY" in row["user"]
    yield ProcessEvent(
        kind,
        f"{row['host']}/{row['pguid']}",
        row["image"],
        parent=f"{row['host']}/{row['ppguid']}",
        parent_image=row["parent_or_target"] if start else "",
        rights=f"{'system' if system else 'user'} {row['integrity']}" if start else "",
        object=row[_OBJECTS[kind]] if kind in _OBJECTS else "",
    )


def judge_live(run: Run) -> list[Judged]:
    """Say which processes of each labelled recording the live detect stage tells, knowing harmless ones."""
    campaigns, taught = _read_campaigns(run.folders("otrf")), _read_campaigns(teacher(run, "otrf"))
    return [
        _told_live(taught or campaigns[:at] + campaigns[at + 1 :], campaign) for at, campaign in enumerate(campaigns)
    ]


def _told_live(others: Sequence[Sequence[dict[str, Any]]], campaign: Sequence[dict[str, Any]]) -> Judged:
    calm = [(f"known {i}", row) for i, rows in enumerate(others) for row in rows if row["attack"] == HARMLESS]
    rows = [one for one in (*calm, *(("judged", row) for row in campaign)) if any(_event(one[1]))]
    learning = sum(where != "judged" for where, _ in rows)
    kernel = LogDetect(DetectRules(signal_partitions=1, process_learning=learning * _APART), 0)
    values = [_record(where, row, (at + 1) * _APART) for at, (where, row) in enumerate(rows)]
    batch = Batch(RAW_LOGS.name, 0, values, [b"lab/hosts"] * len(values), range(len(values)), [0] * len(values))
    outputs = kernel.take(RAW_LOGS, batch)
    signals = [one.record for one in outputs if isinstance(one, Emit) and isinstance(one.record, Signal)]
    told = {signal.attributes["process.id"] for signal in signals if signal.name == PROCESS}
    bad: dict[str, bool] = {}
    for row in campaign:
        for event in _event(row):
            if event.kind == "start" or event.process in bad:
                bad[event.process] = bad.get(event.process, False) or row["attack"] > HARMLESS
    flagged = [f"lab/hosts/judged {process}" in told for process in bad]
    return Judged(np.array(flagged, np.float64), np.array(list(bad.values())))


def _record(where: str, row: Mapping[str, Any], time_unix_nano: int) -> bytes:
    """Write an event as a log record in Sysmon's words."""
    (event,) = _event(row)
    said = {
        "ProcessGuid": str(row["pguid"]),
        "Image": event.image,
        "ParentProcessGuid": str(row["ppguid"]),
        "ParentImage": event.parent_image,
        "User": row["user"],
        "IntegrityLevel": row["integrity"],
        "DestinationPort" if event.kind == "connection" else "TargetImage": event.object,
    }
    host = {"deployment.environment.name": "lab", "service.name": "hosts", "host.name": f"{where} {row['host']}"}
    record = {"time_unix_nano": time_unix_nano, "event_name": _SYSMON[event.kind], "resource": host, "attributes": said}
    return orjson.dumps({"schema_version": 1, "severity_number": 9, "body": "", **record})


def _read_campaigns(folders: Sequence[Path]) -> list[list[dict[str, Any]]]:
    """Events of the recordings that have labels, in the order of time."""
    campaigns: dict[str, list[dict[str, Any]]] = {}
    for folder in folders:
        from pyarrow import parquet  # noqa: PLC0415 - not needed to run ReflexArc, nor for the sets that are no Parquet

        for row in parquet.read_table(folder / "host_events.parquet").to_pylist():
            if row["attack"] != UNLABELLED:
                campaigns.setdefault(f"{folder.name}/{row['recording']}", []).append(row)
    return [sorted(rows, key=lambda row: row["ts"]) for rows in campaigns.values()]


def judge_traces(run: Run) -> Judged:
    """Judge traces of system calls, each attack by a model that knows nothing of its family."""
    traces, taught = _read_traces(run.folders("adfa_ld")), _read_traces(teacher(run, "adfa_ld"))
    if taught:
        known = sorted({trace.family for trace in taught if trace.family})
        return _judge_taught(traces, taught, known)
    folds = [_judge_fold(traces, half) for half in (0, 1)]
    return Judged(np.concatenate([one.scores for one in folds]), np.concatenate([one.bad for one in folds]))


def _judge_taught(traces: Sequence[Trace], taught: Sequence[Trace], known: Sequence[str]) -> Judged:
    """Only families that the teacher has none of: the others would be no zero-day."""
    unseen = [trace for trace in traces if trace.family not in known]
    memory = SequenceMemory().fit(_calls(taught, [""]), _calls(taught, known))
    return Judged(memory.score([trace.calls for trace in unseen]), np.array([bool(trace.family) for trace in unseen]))


def _judge_fold(traces: Sequence[Trace], half: int) -> Judged:
    """Learn every other normal trace and all families but one; judge the rest of the normal ones and that family."""
    normal = [trace for trace in traces if not trace.family]
    taught, judged = normal[half::2], normal[1 - half :: 2]
    families = sorted({trace.family for trace in traces if trace.family})
    scores, bad = [], []
    for family in families:
        others = [one for one in families if one != family]
        memory = SequenceMemory().fit([one.calls for one in taught], _calls(traces, others))
        for calls, is_bad in (([one.calls for one in judged], False), (_calls(traces, [family]), True)):
            scores.append(memory.score(calls))
            bad.append(np.full(len(calls), is_bad))
    return Judged(np.concatenate(scores), np.concatenate(bad))


def _calls(traces: Sequence[Trace], families: Sequence[str]) -> list[list[int]]:
    return [trace.calls for trace in traces if trace.family in families]


def _read_traces(folders: Sequence[Path]) -> list[Trace]:
    lines = [f for folder in folders for f in gzip.decompress((folder / "traces.jsonl.gz").read_bytes()).splitlines()]
    rows = [orjson.loads(line) for line in lines]
    return [Trace(row["syscalls"], row["family"] if row["kind"] == "attack" else "") for row in rows]
