"""What producers send: good records as anyone might spell them, and everything that goes wrong with them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

# Wherever a value may stand: good ones of every kind, and what producers get wrong.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 1, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 10**308, 1700000000000000000]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=8),
    st.sampled_from(["", "gauge", "firing", "high", "x" * 1024, "x" * 1025, "12", "é😀", "\x00", "[" * 300]),
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
TIMES = st.sampled_from([1, 1700000000000000000, 2**63 - 1])
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**20), 10**20)
ATTRIBUTES = st.dictionaries(
    st.text(max_size=6),
    st.text(max_size=6) | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    max_size=4,
)
RESOURCES = st.fixed_dictionaries({"service.name": st.sampled_from(["checkout", "cart"])}) | ATTRIBUTES
KEYS = st.sampled_from([b"default/checkout/1"] * 8 + [None, b""])

Documents = st.SearchStrategy[dict[str, Any]]
Record = tuple[bytes | None, bytes | None]


@st.composite
def _damaged(draw: st.DrawFn, good: Documents) -> dict[str, Any]:
    """A good record with one field taken away, replaced by anything, or added."""
    record = dict(draw(good))
    field = draw(st.sampled_from([*record, "schema_version", "kind", "unit", "attributes", "series", "labels", "body"]))
    if draw(st.booleans()):
        record[field] = draw(ANYTHING)
    else:
        record.pop(field, None)
    return record


@st.composite
def _spelt(draw: st.DrawFn, good: Documents, *, duplicates: bool = True) -> bytes:
    """A record as some producer would write it: spacing, order, escapes, encoding and duplicates differ."""
    record = draw(good | _damaged(good))
    items = draw(st.permutations(list(record.items())))
    ascii_only, indent = draw(st.booleans()), draw(st.sampled_from([None, None, 1]))
    # Python's own json writes NaN and Infinity, which are not JSON.
    text = json.dumps(dict(items), ensure_ascii=ascii_only, indent=indent)
    if duplicates and draw(st.integers(0, 5)) == 0 and items and indent is None:
        key, value = draw(st.sampled_from(items))
        text = text[:-1] + f", {json.dumps(key)}: {json.dumps(value)}}}"
    encoding = draw(st.sampled_from(["utf-8"] * 8 + ["utf-16", "utf-8-sig"]))
    return draw(st.sampled_from([b"", b"", b" ", b"\r\n"])) + text.encode(encoding, "surrogatepass")


@st.composite
def _mangled(draw: st.DrawFn, good: Documents) -> bytes:
    """A record with a few of its bytes changed. What a duplicated key hides is the one thing not looked into."""
    value = bytearray(draw(_spelt(good, duplicates=False)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(value) - 1)))
        value[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(value)


def batches(good: Documents) -> st.SearchStrategy[list[Record]]:
    """Batches of (key, value) in which anything may be."""
    values = st.one_of(_spelt(good), _spelt(good), _mangled(good), st.none(), st.binary(max_size=20))
    return st.lists(st.tuples(KEYS, values), max_size=6)
