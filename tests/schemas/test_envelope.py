from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.action import action_id
from schemas.dead_letter import dead_letter
from schemas.envelope import AttributeValue, Entity, content_id, entity_of
from schemas.errors import Rejection
from schemas.incident import incident_id
from schemas.outcome import outcome_id
from schemas.signal import signal_id

from .records import DEAD_LETTER, ENTITY, NOW

PARTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(st.dictionaries(st.text(max_size=4), PARTS, max_size=4))
def test_id_does_not_depend_on_the_order_of_keys(attributes: dict[str, object]) -> None:
    backwards = dict(reversed(attributes.items()))
    assert content_id("x", attributes) == content_id("x", backwards)


@given(st.lists(PARTS, max_size=3), st.lists(PARTS, max_size=3))
def test_different_content_different_id(one: list[object], other: list[object]) -> None:
    same_json = repr(one) == repr(other)
    assert (content_id(*one) == content_id(*other)) == same_json


def test_id_has_128_bits_and_is_the_same_in_every_process() -> None:
    here = content_id("signal", "s", {"b": 1, "a": 2})
    assert len(bytes.fromhex(here)) == 16
    program = "from schemas.envelope import content_id; print(content_id('signal', 's', {'a': 2, 'b': 1}))"
    there = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert there.stdout.strip() == here


def test_identities_of_different_kinds_never_meet() -> None:
    ids = [
        signal_id("x", "firing", NOW),
        signal_id("x", "cleared", NOW),
        signal_id("x", "firing", NOW + 1),
        incident_id("x", NOW),
        outcome_id("x"),
        action_id("x", "p", 1, "s", ENTITY),
        action_id("x", "p", 2, "s", ENTITY),
        action_id("x", "p", 1, "s", Entity(service="checkout")),
    ]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({}, "default/unknown"),
        ({"service.name": "checkout"}, "default/checkout"),
        ({"service.name": "checkout", "service.instance.id": "1"}, "default/checkout/1"),
        ({"service.name": "checkout", "k8s.pod.name": "p", "host.name": "h"}, "default/checkout/p"),
        ({"service.name": "checkout", "container.id": "c", "host.name": "h"}, "default/checkout/c"),
        ({"host.name": "h"}, "default/h/h"),
        ({"db.system": "postgresql", "host.name": "h"}, "default/postgresql/h"),
        ({"service.name": "", "db.system": "redis"}, "default/redis"),
        ({"service.name": "a", "deployment.environment.name": "prod", "k8s.cluster.name": "c"}, "prod/a"),
        ({"service.name": "a", "deployment.environment": "stage"}, "stage/a"),
        ({"service.name": "a", "k8s.cluster.name": "c"}, "c/a"),
        ({"service.name": 7, "service.instance.id": 3}, "default/7/3"),
    ],
)
def test_entity_of(resource: dict[str, AttributeValue], expected: str) -> None:
    assert str(entity_of(resource)) == expected


def test_entity_of_an_overlong_name_is_cut() -> None:
    assert entity_of({"service.name": "x" * 5000}).service == "x" * 1024


def test_scope_has_no_instance() -> None:
    assert ENTITY.scope == "prod/checkout"
    assert str(ENTITY) == "prod/checkout/checkout-1"


def test_records_are_immutable() -> None:
    with pytest.raises(ValidationError):
        ENTITY.service = "other"


def test_dead_letter_keeps_the_original_bytes() -> None:
    assert DEAD_LETTER.value == b"\xff\x00"
    assert DEAD_LETTER.reason is Rejection.INVALID_JSON


def test_dead_letter_of_the_same_origin_is_the_same() -> None:
    again = dead_letter(
        Rejection.EMPTY,
        "x" * 1000,
        topic=DEAD_LETTER.topic,
        partition=DEAD_LETTER.partition,
        offset=DEAD_LETTER.offset,
        time_unix_nano=0,
        key=None,
        value=None,
        stage="other",
    )
    assert again.id == DEAD_LETTER.id
    assert again.value is None
    assert again.key_base64 is None
    assert len(again.detail) == 500
