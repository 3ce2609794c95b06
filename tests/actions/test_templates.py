"""Placeholders: a closed set, text in text, never evaluated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.templates import NAMES, render, values_for
from schemas.errors import PermanentError
from tests.actions.builders import SERVICE, incident

VALUES = values_for(incident(), SERVICE)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{incident.service}", "checkout"),
        ("a-{incident.environment}-{target.service}-b", "a-demo-checkout-b"),
        ("{{incident.service}}", "{incident.service}"),
        (["{incident.id}", {"k": "{incident.severity}"}, 3, None, True], ["incident-1", {"k": "high"}, 3, None, True]),
        ({"$state": "/version"}, {"$state": "/version"}),
    ],
)
def test_placeholders_are_filled_at_any_depth(template: Any, filled: Any) -> None:
    assert render(template, VALUES) == filled


@pytest.mark.parametrize(
    "template", ["{nope}", "{}", "{incident}", "{incident.service!r}", "{0}", "{", "a}b", "{a{b}}"]
)
def test_anything_else_is_an_error(template: str) -> None:
    with pytest.raises(PermanentError):
        render(template, VALUES)


def test_a_service_has_no_instance() -> None:
    with pytest.raises(PermanentError, match="no value for this target"):
        render("{target.instance}", VALUES)
    assert set(values_for(incident(), SERVICE.model_copy(update={"instance": "i1"}))) == NAMES


@given(st.text())
def test_a_value_is_never_read_as_a_template(value: str) -> None:
    assert render("{incident.service}", {"incident.service": value}) == value
