"""Kafka that fails on request: the mock cluster inside confluent-kafka's librdkafka, in a process of its own.

Used through the `mock_cluster` fixture. Serves Faust, aiokafka and confluent-kafka over TCP: produce, groups, commits,
transactions. Keeps 5 MB or 100 thousand records a partition, has no disk and no replication; topics appear when first
asked for, with 4 partitions, unless created here.

    with MockCluster(brokers=3) as cluster:
        cluster.broker_down(1)
        cluster.fail(ApiKey.OFFSET_COMMIT, KafkaError.NOT_COORDINATOR, times=2)

The test's process sends one JSON line a call; the process with the cluster ends when that pipe closes, so it cannot
outlive the test. The calls are part of librdkafka's experimental test interface (rdkafka_mock.h), hence the check.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import confluent_kafka

# Versions of librdkafka whose mock interface was checked by tests/integration/test_mock_cluster.py.
_CHECKED = ("2.16.",)
_PRODUCER = 0  # rd_kafka_type_t
_ERROR_BYTES = 512
# From rdkafka_mock.h, without the cluster itself, which comes first.
_CALLS: dict[str, list[type[ctypes._SimpleCData[Any]]]] = {
    "broker_set_down": [ctypes.c_int32],
    "broker_set_up": [ctypes.c_int32],
    "broker_set_rtt": [ctypes.c_int32, ctypes.c_int],
    "coordinator_set": [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int32],
    "partition_set_leader": [ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32],
    "topic_create": [ctypes.c_char_p, ctypes.c_int, ctypes.c_int],
    "group_initial_rebalance_delay_ms": [ctypes.c_int32],
    "clear_request_errors": [ctypes.c_int16],
}
# The rest return an error code.
_SILENT = {"push_request_errors_array", "clear_request_errors", "group_initial_rebalance_delay_ms"}


class ApiKey(IntEnum):
    """Requests that can be made to fail, by their number in the Kafka protocol."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22


class MockCluster:
    """A cluster of its own; context manager. Brokers are numbered from 1."""

    def __init__(self, *, brokers: int = 3) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.parts.mock_cluster", str(brokers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )
        self.bootstrap_servers: str = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def broker_down(self, broker: int) -> None:
        """Close the broker's connections and refuse new ones."""
        self._call("broker_set_down", broker)

    def broker_up(self, broker: int) -> None:
        self._call("broker_set_up", broker)

    def round_trip(self, broker: int, milliseconds: int) -> None:
        """Let every answer of the broker take this long."""
        self._call("broker_set_rtt", broker, milliseconds)

    def fail(self, api: ApiKey, error: int, *, times: int = 1) -> None:
        """Answer the next requests of this kind with a code of `confluent_kafka.KafkaError`."""
        self._call("push_request_errors_array", api, *[error] * times)

    def stop_failing(self, api: ApiKey) -> None:
        self._call("clear_request_errors", api)

    def create_topic(self, topic: str, *, partitions: int = 4, replicas: int = 1) -> None:
        self._call("topic_create", topic, partitions, replicas)

    def move_coordinator(self, group: str, broker: int) -> None:
        self._call("coordinator_set", "group", group, broker)

    def move_leader(self, topic: str, partition: int, broker: int) -> None:
        self._call("partition_set_leader", topic, partition, broker)

    def rebalance_delay(self, milliseconds: int) -> None:
        """How long a new group waits for further members: 3 s unless set."""
        self._call("group_initial_rebalance_delay_ms", milliseconds)

    def _call(self, name: str, *arguments: int | str) -> None:
        if self._process.stdin is None:
            raise RuntimeError("started without a pipe")
        self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            self._process.communicate()
            raise RuntimeError(f"the mock cluster ended with {self._process.returncode}")
        answer: dict[str, str] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ok"]


class _Library:
    """The cluster, in the process that holds it."""

    def __init__(self, brokers: int) -> None:
        version, _ = confluent_kafka.libversion()
        if not version.startswith(_CHECKED):
            raise RuntimeError(f"the mock cluster was not checked with librdkafka {version}, only with {_CHECKED}")
        # The extension module depends on librdkafka wherever its wheel put that; symbols are found through it.
        self._lib = ctypes.CDLL(confluent_kafka.cimpl.__file__)
        for name in ("conf_new", "new", "mock_cluster_new"):
            self._function(name).restype = ctypes.c_void_p
        client = self._client()
        self._cluster = ctypes.c_void_p(self._function("mock_cluster_new")(client, brokers))
        if not self._cluster:
            raise RuntimeError(f"librdkafka made no mock cluster of {brokers} brokers")

    def bootstrap_servers(self) -> str:
        bootstraps = self._function("mock_cluster_bootstraps")
        bootstraps.restype = ctypes.c_char_p
        addresses: bytes = bootstraps(self._cluster)
        return addresses.decode()

    def call(self, name: str, *arguments: int | str) -> None:
        function = self._function(f"mock_{name}")
        function.restype = None if name in _SILENT else ctypes.c_int
        if name == "push_request_errors_array":
            code = function(self._cluster, *_errors(*[int(argument) for argument in arguments]))
        else:
            values = [a.encode() if isinstance(a, str) else a for a in arguments]
            code = function(self._cluster, *[kind(v) for kind, v in zip(_CALLS[name], values, strict=True)])
        if code:
            raise RuntimeError(f"{name}: {confluent_kafka.KafkaError(code).str()}")

    def _client(self) -> ctypes.c_void_p:
        """Make the client that the cluster belongs to; it connects to nothing."""
        fault = ctypes.create_string_buffer(_ERROR_BYTES)
        configuration = ctypes.c_void_p(self._function("conf_new")())
        # Otherwise it warns that it knows no broker to connect to.
        self._function("conf_set")(configuration, b"log_level", b"3", fault, ctypes.c_size_t(_ERROR_BYTES))
        client = ctypes.c_void_p(
            self._function("new")(ctypes.c_int(_PRODUCER), configuration, fault, ctypes.c_size_t(_ERROR_BYTES))
        )
        if not client:
            raise RuntimeError(fault.value.decode())
        return client

    def _function(self, name: str) -> Any:
        return getattr(self._lib, f"rd_kafka_{name}")


def _errors(api: int, *codes: int) -> tuple[ctypes.c_int16, ctypes.c_size_t, ctypes.Array[ctypes.c_int]]:
    return ctypes.c_int16(api), ctypes.c_size_t(len(codes)), (ctypes.c_int * len(codes))(*codes)


def _say(**answer: str) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    library = _Library(int(sys.argv[1]))
    _say(ok=library.bootstrap_servers())
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            library.call(name, *arguments)
        except RuntimeError as error:
            _say(error=str(error))
        else:
            _say(ok="")


if __name__ == "__main__":
    main()
