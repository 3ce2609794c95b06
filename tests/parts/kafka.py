"""A real Apache Kafka 4: one broker in one JVM (KRaft), from the jars on Maven Central.

Used by the tests' `apache_kafka` fixture, by the benchmarks and by hand:

    python -m tests.parts.kafka fetch     # the jars, into REFLEXARC_CACHE or .build/
    python -m tests.parts.kafka run       # prints the bootstrap servers, runs until interrupted

`tests.parts.jars` says what that needs. Its data is gone when it stops.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import ClassVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.server_process import LOOPBACK, ServerProcess, free_port
from tests.parts.jars import Jars

# 45 of them, 43 MB.
JARS = Jars("Apache Kafka", "kafka")
# Defaults of Kafka, except for what a single node cannot do and what makes a first group or a first topic wait.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={host}:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


class ApacheKafka(ServerProcess):
    """A broker of its own; context manager.

    Args:
        port: as in `ServerProcess`.
        heap: of the JVM; what is consumed right after it was produced comes out of the page cache, not of the heap.

    """

    name: ClassVar[str] = "Apache Kafka"
    # Its data goes with it, so there is nothing to shut down in order.
    stop_signal: ClassVar[signal.Signals] = signal.SIGKILL
    # 3.5 s on an idle machine with 2 cores, 10 s on a busy one.
    start_seconds: ClassVar[float] = 90.0

    def __init__(self, *, port: int | None = None, heap: str = "512m") -> None:
        super().__init__(port=port)
        self._heap = heap
        # 16 bytes; begun with letters, since an argument that begins with a dash is taken for an option.
        self._cluster_id = urlsafe_b64encode(b"reflexarc" + os.urandom(7)).decode().rstrip("=")
        self._directory: Path | None = None

    @property
    def bootstrap_servers(self) -> str:
        return self.address

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def command(self, port: int) -> Sequence[str]:
        self._directory = Path(tempfile.mkdtemp(prefix="reflexarc-kafka-"))
        logs = self._directory / "logs"
        properties = self._directory / "server.properties"
        places = {"host": LOOPBACK, "broker": port, "controller": free_port(), "logs": logs}
        properties.write_text(_PROPERTIES.format(**places), encoding="utf-8")
        self._format(properties)
        return [*JARS.java(f"-Xmx{self._heap}"), "kafka.Kafka", str(properties)]

    def _format(self, properties: Path) -> None:
        # The serial collector and the first compiler alone: a short life is not worth optimising for.
        java = JARS.java("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        identity = ["--standalone", "--cluster-id", self._cluster_id]
        JARS.run([*java, "kafka.tools.StorageTool", "format", *identity, "--config", str(properties)])

    def answers(self, port: int, pid: int) -> bool:
        try:
            admin = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}", "log_level": 0})
            found = admin.list_topics(timeout=1)
        except KafkaException:
            return False
        return bool(found.brokers) and bool(found.cluster_id == self._cluster_id)

    def clean_up(self) -> None:
        if self._directory is not None:
            shutil.rmtree(self._directory)
            self._directory = None


def _leave(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.parts.kafka", description="A real Apache Kafka 4.")
    parser.add_argument("what", choices=["fetch", "run"])
    parser.add_argument("--port", type=int, help="of the broker; a free one by default")
    parser.add_argument("--heap", default="1g", help="of the JVM, as in -Xmx")
    arguments = parser.parse_args()
    if (why_not := JARS.obstacle()) is not None:
        sys.exit(why_not)
    if arguments.what == "fetch":
        sys.stdout.write(f"{JARS.fetch()}\n")
        return
    signal.signal(signal.SIGTERM, _leave)
    try:
        with ApacheKafka(port=arguments.port, heap=arguments.heap) as kafka:
            sys.stdout.write(f"{kafka.bootstrap_servers}\n")
            sys.stdout.flush()
            while True:
                kafka.check()
                time.sleep(1)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")


if __name__ == "__main__":
    main()
