"""Snapshots as keyed chunks on a compacted topic: cut them, put them together again, and never trust half of one.

Called by `streams.snapshots`, which moves the chunks to and from Kafka. A snapshot alternates between two slots, so
that while one is being written the one before it is whole. Its last chunk, the manifest, names the generation, the
number of chunks and a checksum; a slot without a manifest that fits is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

import cramjam
import msgspec

# Below the 1 MiB that brokers accept by default, with room for key and headers.
CHUNK_BYTES = 768 * 1024


class Manifest(msgspec.Struct, frozen=True):
    """The chunk that makes a slot valid."""

    generation: int
    chunks: int
    checksum: bytes


class Snapshot(msgspec.Struct, frozen=True):
    """State of one kernel and the offsets it has folded: the next record wanted of each topic.

    `outbox` holds what was to be published as (topic, key, value, partition) when the state came about by the clock,
    not by records: nobody could make it again from the log.
    """

    generation: int
    next_offsets: dict[str, int]
    state: bytes
    outbox: tuple[tuple[str, bytes, bytes, int | None], ...] = ()


def cut(identity: str, snapshot: Snapshot) -> list[tuple[bytes, bytes]]:
    """Turn a snapshot into (key, value) records, the manifest last."""
    body = bytes(cramjam.zstd.compress(msgspec.msgpack.encode(snapshot), level=1))
    parts = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)]
    slot = f"{identity}/{snapshot.generation % 2}"
    manifest = Manifest(snapshot.generation, len(parts), _checksum(body))
    return [
        *((f"{slot}/{i}".encode(), part) for i, part in enumerate(parts)),
        (f"{slot}/manifest".encode(), msgspec.msgpack.encode(manifest)),
    ]


@dataclass
class Assembler:
    """Collects the chunks of one identity in the order they were written; later ones replace earlier ones."""

    identity: str
    chunks: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, key: bytes, value: bytes) -> None:
        if key.startswith(self.identity.encode() + b"/"):
            self.chunks[key] = value

    def latest(self) -> Snapshot | None:
        """Return the newest snapshot that is whole, None when there is none."""
        whole = [found for slot in (0, 1) if (found := self._slot(slot)) is not None]
        return max(whole, key=lambda snapshot: snapshot.generation, default=None)

    def _slot(self, slot: int) -> Snapshot | None:
        prefix = f"{self.identity}/{slot}"
        raw = self.chunks.get(f"{prefix}/manifest".encode())
        if raw is None:
            return None
        manifest = msgspec.msgpack.decode(raw, type=Manifest)
        body = b"".join(self.chunks.get(f"{prefix}/{i}".encode(), b"") for i in range(manifest.chunks))
        if _checksum(body) != manifest.checksum:
            return None
        return msgspec.msgpack.decode(bytes(cramjam.zstd.decompress(body)), type=Snapshot)


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()
