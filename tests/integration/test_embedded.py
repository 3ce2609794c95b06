"""The embedded broker and Valkey answer when started, end with their parent, and say why when they cannot start."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from redis import Redis

from schemas.errors import EmbeddedPartError
from streams.embedded import EmbeddedBroker, EmbeddedValkey
from streams.server_process import ServerProcess
from tests.integration.clients import consumer, create_topic, produce
from tests.parts import Broker

pytestmark = pytest.mark.integration

Part = Callable[..., ServerProcess]
PARTS = pytest.mark.parametrize("part", [EmbeddedBroker, EmbeddedValkey])


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def becomes_closed(port: int) -> bool:
    deadline = time.monotonic() + 5
    while accepts(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def fake_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a shell script in the broker's place."""

    def install(script: str) -> None:
        program = tmp_path / "tansu"
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("CALF_TANSU_BIN", str(program))

    return install


# -- life


def test_a_started_broker_answers_at_once() -> None:
    with EmbeddedBroker() as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        assert admin.list_topics(timeout=1).topics == {}


def test_a_started_valkey_answers_at_once() -> None:
    with EmbeddedValkey() as valkey, Redis.from_url(valkey.url) as client:
        assert client.ping()


@PARTS
def test_leaving_the_block_stops_the_server(part: Part) -> None:
    with part() as server:
        port = server.port
        assert accepts(port)
    assert not accepts(port)
    with pytest.raises(EmbeddedPartError, match="was stopped"):
        server.check()


@PARTS
def test_two_of_a_kind_run_side_by_side(part: Part) -> None:
    with part() as first, part() as second:
        assert first.port != second.port


@PARTS
def test_a_wanted_port_is_taken(part: Part) -> None:
    with part() as first:
        port = first.port
    with part(port=port) as again:
        assert again.port == port


@PARTS
def test_an_interrupt_at_the_terminal_is_ours_alone(part: Part) -> None:
    with part() as server:
        assert os.getpgid(server.pid) != os.getpgid(0)


_PARENT = """
import sys, time
from streams.embedded import EmbeddedBroker, EmbeddedValkey
with EmbeddedBroker() as broker, EmbeddedValkey() as valkey:
    print(broker.port, valkey.port, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its killed parent")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_parent_takes_its_servers_along(end: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        ports = [int(port) for port in parent.stdout.readline().split()]
        assert [accepts(port) for port in ports] == [True, True]
        parent.send_signal(end)
    assert [becomes_closed(port) for port in ports] == [True, True]


def test_valkey_keeps_its_data_where_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with EmbeddedValkey(data_dir=data) as valkey, Redis.from_url(valkey.url) as client:
        client.set("k", "v")
        os.kill(valkey.pid, signal.SIGKILL)
    with EmbeddedValkey(data_dir=data) as valkey, Redis.from_url(valkey.url) as client:
        assert client.get("k") == b"v"


def test_valkey_neither_loads_nor_leaves_anything_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # What Valkey would load by default, and here could not.
    (tmp_path / "dump.rdb").write_bytes(b"not a database")
    with EmbeddedValkey() as valkey, Redis.from_url(valkey.url) as client:
        client.set("k", "v")
    assert [path.name for path in tmp_path.iterdir()] == ["dump.rdb"]


# -- trouble


@PARTS
def test_a_server_that_died_is_noticed(part: Part) -> None:
    with part() as server:
        server.check()
        os.kill(server.pid, signal.SIGKILL)
        assert becomes_closed(server.port)
        # Its port closes a moment before it has ended.
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(EmbeddedPartError, match="ended with -9"):
            server.check()


@PARTS
def test_a_wanted_port_in_use_is_an_error_that_names_it(part: Part) -> None:
    with part() as first, pytest.raises(EmbeddedPartError, match=rf":{first.port} .*\n(.*\n)*.*in use"):
        part(port=first.port).start()


def test_a_server_that_dies_at_once_shows_its_last_words(fake_broker: Callable[[str], None]) -> None:
    fake_broker("echo out of luck >&2; exit 3")
    with pytest.raises(EmbeddedPartError, match=r"it ended with 3\)\nout of luck"):
        EmbeddedBroker().start()


def test_a_server_that_never_answers_is_given_up(
    fake_broker: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_broker("echo thinking; exec sleep 60")
    monkeypatch.setattr(EmbeddedBroker, "start_seconds", 0.5)
    with pytest.raises(EmbeddedPartError, match=r"no answer in 0.5 s\)\nthinking"):
        EmbeddedBroker().start()


def test_what_a_server_logs_is_kept_within_bounds(fake_broker: Callable[[str], None]) -> None:
    fake_broker("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 1")
    with pytest.raises(EmbeddedPartError) as failure:
        EmbeddedBroker().start()
    lines = re.findall(r"line \d+", str(failure.value))
    assert (len(lines), lines[-1]) == (200, "line 1999")


def test_a_missing_program_is_an_error_that_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", "/nowhere/tansu")
    with pytest.raises(EmbeddedPartError, match=r"/nowhere/tansu(.|\n)*REFLEXARC_KAFKA__BOOTSTRAP_SERVERS"):
        EmbeddedBroker().start()


def test_settings_of_ours_do_not_reach_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_ENGINE", "null://")
    monkeypatch.setenv("SCHEMA_REGISTRY", "file:///nowhere")
    with EmbeddedBroker() as embedded:
        broker = Broker("tansu", embedded.bootstrap_servers)
        assert produce(broker, create_topic(broker, "t"), [{"value": b"not by any schema"}]) == [0]


def test_a_helper_thread_may_not_start_a_server() -> None:
    refusals: list[BaseException] = []

    def start() -> None:
        with pytest.raises(EmbeddedPartError, match="main thread") as refusal:
            EmbeddedBroker().start()
        refusals.append(refusal.value)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert len(refusals) == 1


# -- where Tansu differs from Kafka: when one of these fails, it has become better, and `streams.embedded` should say so


def test_tansu_names_an_end_before_the_last_batch(tansu: Broker, topic_prefix: str) -> None:
    topic = create_topic(tansu, f"{topic_prefix}.ends")
    produce(tansu, topic, [{"value": b"v"}] * 5)
    reader = consumer(tansu, "nobody")
    assert reader.get_watermark_offsets(TopicPartition(topic, 0)) == (0, 1)
    reader.close()


def test_tansu_finds_every_time_at_the_beginning(tansu: Broker, topic_prefix: str) -> None:
    topic = create_topic(tansu, f"{topic_prefix}.times")
    produce(tansu, topic, [{"value": b"v", "timestamp": 1_700_000_000_000 + i} for i in range(5)])
    reader = consumer(tansu, "nobody")
    (found,) = reader.offsets_for_times([TopicPartition(topic, 0, 1_800_000_000_000)])
    reader.close()
    assert found.offset == 0


def test_tansu_takes_more_than_a_topic_allows(tansu: Broker, topic_prefix: str) -> None:
    topic = create_topic(tansu, f"{topic_prefix}.limit", config={"max.message.bytes": "1000"})
    assert produce(tansu, topic, [{"value": os.urandom(5000)}]) == [0]
