"""What tests of more than one decoder are run with."""

from __future__ import annotations

import pytest

from tests.streams.otlp_records import Spell, as_json, as_proto


@pytest.fixture(params=[as_proto, as_json])
def spell(request: pytest.FixtureRequest) -> Spell:
    found: Spell = request.param
    return found
