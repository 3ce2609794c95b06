from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.kernel.checkpoint import CHUNK_BYTES, Assembler, Snapshot, cut


def snapshot(generation: int, size: int = 10) -> Snapshot:
    # Random bytes do not compress, so that the size is what it seems.
    return Snapshot(generation, {"t.raw.metrics": generation * 100}, random.Random(generation).randbytes(size))


def assemble(records: list[tuple[bytes, bytes]], identity: str = "detect/metrics/0") -> Snapshot | None:
    assembler = Assembler(identity)
    for key, value in records:
        assembler.add(key, value)
    return assembler.latest()


def test_the_newest_whole_snapshot_counts() -> None:
    one, two, three = (cut("detect/metrics/0", snapshot(generation)) for generation in (1, 2, 3))
    assert assemble([*one, *two]) == snapshot(2)
    assert assemble([*one, *two, *three]) == snapshot(3)


def test_a_large_state_is_cut_into_chunks_that_brokers_accept() -> None:
    records = cut("detect/metrics/0", snapshot(1, 3 * CHUNK_BYTES))
    assert len(records) == 5
    assert max(len(value) for _, value in records) <= CHUNK_BYTES
    assert assemble(records) == snapshot(1, 3 * CHUNK_BYTES)


@settings(max_examples=50, deadline=None)
@given(written=st.integers(0, 6), size=st.sampled_from([10, 2 * CHUNK_BYTES]))
def test_a_crash_while_writing_leaves_the_one_before_whole(written: int, size: int) -> None:
    """Two snapshots are there; the writer dies within the third, which reuses the first one's slot."""
    before = [record for generation in (1, 2) for record in cut("x/0", snapshot(generation, size))]
    third = cut("x/0", snapshot(3, size))
    found = assemble([*before, *third[:written]], "x/0")
    assert found == snapshot(3 if written >= len(third) else 2, size)


def test_compaction_keeps_enough() -> None:
    records = [record for generation in range(1, 8) for record in cut("x/0", snapshot(generation))]
    assert assemble(list(dict(records).items()), "x/0") == snapshot(7)


def test_identities_do_not_mix() -> None:
    records = [*cut("x/1", snapshot(1)), *cut("x/10", snapshot(2))]
    assert assemble(records, "x/1") == snapshot(1)
    assert assemble(records, "x/2") is None
