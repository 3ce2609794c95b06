"""A real S3 server on loopback that checks signatures: S3Proxy, which keeps a bucket as a folder.

Used by the `s3_server` fixture. `tests.parts.jars` says what it needs. Its data is gone when it stops.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import ClassVar

from streams.server_process import LOOPBACK, ServerProcess
from tests.parts.jars import Jars

# 76 of them, 22 MB.
JARS = Jars("S3Proxy", "s3proxy")
KEY_ID = "key-of-the-tests"
SECRET = "secret-of-the-tests"
_PROPERTIES = """\
s3proxy.endpoint=http://{host}:{port}
s3proxy.authorization=aws-v2-or-v4
s3proxy.identity={key_id}
s3proxy.credential={secret}
jclouds.provider=filesystem-nio2
jclouds.filesystem.basedir={buckets}
"""


class S3Server(ServerProcess):
    """A server of its own; context manager."""

    name: ClassVar[str] = "S3Proxy"
    # 2 s on an idle machine, 4 on a busy one.
    start_seconds: ClassVar[float] = 60.0

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path(tempfile.mkdtemp(prefix="reflexarc-s3-"))

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def bucket(self, name: str) -> Path:
        """Make a bucket; gives the folder in which its objects are files."""
        folder = self._directory / "buckets" / name
        folder.mkdir()
        return folder

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def command(self, port: int) -> Sequence[str]:
        buckets = self._directory / "buckets"
        buckets.mkdir(parents=True, exist_ok=True)
        properties = self._directory / "s3proxy.properties"
        places = {"host": LOOPBACK, "port": port, "buckets": buckets, "key_id": KEY_ID, "secret": SECRET}
        properties.write_text(_PROPERTIES.format(**places), encoding="utf-8")
        java = JARS.java("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        return [*java, "org.gaul.s3proxy.Main", "--properties", str(properties)]

    def answers(self, port: int, pid: int) -> bool:
        connection = HTTPConnection(LOOPBACK, port, timeout=5)
        try:
            connection.request("GET", "/")
            # Whoever does not sign is sent away.
            return connection.getresponse().status == 403
        except (HTTPException, OSError):
            return False
        finally:
            connection.close()

    def clean_up(self) -> None:
        shutil.rmtree(self._directory)
