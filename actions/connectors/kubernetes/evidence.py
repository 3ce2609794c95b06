"""Evidence of a pod: how it was made, what runs in it, whom it talks to, what its containers said, what happened to it.

Processes and connections are what the shell of each container reads of /proc, since the API knows neither. It is a
process more in there, and a container that was taken over may have a shell that lies; the log of the node's runtime
and kernel is for those who can reach it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from copy import deepcopy
from typing import Annotated, Any

from pydantic import Field

from actions.connectors.base import Files, Params
from actions.connectors.kubernetes.cluster import Cluster, Object, path
from actions.connectors.kubernetes.exec import Printed
from actions.connectors.kubernetes.objects import Name, Service
from actions.connectors.kubernetes.quarantine import check_service
from actions.connectors.sockets import TABLES, readable
from schemas.errors import PermanentError

# Both need nothing but what a shell has built in, since images often leave `ps`, and all else, out; where `cat` and
# `tr` are, they are quicker. A tab or newline in an argument would forge a line: with `tr` they are blanks, without it
# the arguments end at the first newline, and stand with no blanks between them. The environment is never read.
_LIST_PROCESSES = r"""
printf 'pid\tparent\tuser\tstate\tname\targuments\n'
for process in /proc/[0-9]*; do
    name= state= parent= user= arguments=
    while read -r key value rest; do
        case $key in
            Name:) name=$value${rest:+ $rest} ;;
            State:) state=$value ;;
            PPid:) parent=$value ;;
            Uid:) user=$value; break ;;
        esac
    done <"$process/status" || continue
    if command -v tr >/dev/null 2>&1; then
        arguments=$(tr '\000-\037' ' ' <"$process/cmdline")
    else
        IFS= read -r arguments <"$process/cmdline"
    fi
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "${process#/proc/}" "$parent" "$user" "$state" "$name" "$arguments"
done 2>/dev/null
"""
_LIST_SOCKETS = r"""
for table in tcp tcp6 udp udp6; do
    printf '%s\n' "$table"
    if command -v cat >/dev/null 2>&1; then
        cat "/proc/net/$table"
    else
        while IFS= read -r line; do printf '%s\n' "$line"; done <"/proc/net/$table"
    fi
done 2>/dev/null
:
"""


class Collect(Params):
    """Its object, its processes, its connections, the last `log_mib` of each log, of this run and the last, its events.

    What vanishes first is read first.
    """

    pod: Name
    service: Service
    log_mib: Annotated[int, Field(ge=1, le=15)] = 8

    async def collect(self, cluster: Cluster, package: Files) -> None:
        namespace = await cluster.home(self.service)
        at = path("v1", "pods", namespace, self.pod)
        found = await cluster.get(at)
        if found is None:
            raise PermanentError(f"pod {self.pod} is gone")
        check_service(cluster, found, self.service)
        await package.add_document("pod.json", _without_secrets(found))
        running = _running(found)
        for name in running:
            await package.add(f"{name}.processes.txt", _processes(cluster, at, name))
        if running:
            await package.add("connections.txt", _connections(cluster, at, running))
        for name in _containers(found):
            await package.add(f"{name}.log", self._log(cluster, at, name, previous=False))
        for name in _restarted(found):
            await package.add(f"{name}.previous.log", self._log(cluster, at, name, previous=True))
        query = {"fieldSelector": f"involvedObject.uid={found['metadata']['uid']}", "limit": "500"}
        await package.add("events.json", _read(cluster, path("v1", "events", namespace), query))

    def _log(self, cluster: Cluster, at: str, container: str, *, previous: bool) -> AsyncIterator[bytes]:
        # The API counts `limitBytes` from the beginning of what `tailLines` chose: lines are some 100 bytes.
        size = self.log_mib * 1024 * 1024
        query = {"container": container, "timestamps": "true", "limitBytes": str(size), "tailLines": str(size // 100)}
        return _read(cluster, f"{at}/log", query | ({"previous": "true"} if previous else {}))


async def _read(cluster: Cluster, at: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
    yield await cluster.text(at, query)


def _containers(pod: Object) -> list[str]:
    kinds = ("containers", "initContainers", "ephemeralContainers")
    return [item["name"] for kind in kinds for item in pod["spec"].get(kind) or ()]


def _running(pod: Object) -> list[str]:
    kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    held = [item for kind in kinds for item in (pod.get("status") or {}).get(kind) or ()]
    return [item["name"] for item in held if "running" in (item.get("state") or {})]


async def _processes(cluster: Cluster, at: str, container: str) -> AsyncIterator[bytes]:
    printed = await _shell(cluster, at, container, _LIST_PROCESSES)
    yield printed.output
    if printed.problem is not None:
        raise PermanentError(printed.problem)


async def _connections(cluster: Cluster, at: str, containers: list[str]) -> AsyncIterator[bytes]:
    """Give what the first container says that has a shell: they share one network."""
    problems = []
    for container in containers:
        printed = await _shell(cluster, at, container, _LIST_SOCKETS)
        if printed.problem is None:
            yield "".join(_sockets(printed.output.decode(errors="replace"))).encode()
            return
        problems.append(f"{container}: {printed.problem}")
    raise PermanentError("; ".join(problems))


async def _shell(cluster: Cluster, at: str, container: str, script: str) -> Printed:
    printed = await cluster.run(at, container, ["sh", "-c", script])
    if not printed.output and printed.problem is None:
        return Printed(b"", "its shell printed nothing")
    return printed


def _sockets(listed: str) -> Iterator[str]:
    table = ""
    for line in listed.splitlines():
        if line in TABLES:
            table = line
        elif line.split()[:1] != ["sl"]:  # the head of each table
            try:
                yield readable(table, line)
            except ValueError:
                # A shell may print what it likes.
                yield f"{line}\n"


def _restarted(pod: Object) -> list[str]:
    held = (pod.get("status") or {}).get("containerStatuses") or ()
    return [item["name"] for item in held if item.get("restartCount")]


def _without_secrets(pod: Object) -> dict[str, Any]:
    """Leave out the values of the environment, which is where passwords are given to containers."""
    copied: dict[str, Any] = deepcopy(dict(pod))
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in copied["spec"].get(kind) or ():
            for item in container.get("env") or ():
                item.pop("value", None)
    return copied
