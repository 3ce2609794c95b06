"""What parts of a system's state must become, stated as data: for connectors that know nothing of what they act on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, model_validator

from actions.connectors.base import Params, State, resolve, select


class Desired(Params):
    """One part of the state and what it must be: `equals` a value, or of a `count`. Either may refer to the state."""

    pointer: Annotated[str, Field(pattern="^/")]
    where: dict[str, Any] = Field(default_factory=dict, description="members that an element under `*` must have")
    equals: Any = None
    count: Any = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Desired:
        if len(self.model_fields_set & {"equals", "count"}) != 1:
            raise ValueError("give either equals or count")
        return self

    def unmet(self, before: State, now: State) -> str | None:
        """Say what is missing of it, if anything."""
        found = select(now, self.pointer, self.where)
        if "count" in self.model_fields_set:
            count = resolve(self.count, before)
            return None if len(found) == count else f"{self.pointer} are {len(found)}, not {count}"
        wanted = resolve(self.equals, before)
        if found and all(part == wanted for part in found):
            return None
        return f"{self.pointer} is not {wanted!r:.100}"

    def changed(self, before: State, now: State) -> bool:
        """Whether this part of the state is another than before."""
        here, there = select(now, self.pointer, self.where), select(before, self.pointer, self.where)
        return len(here) != len(there) if "count" in self.model_fields_set else here != there


def missing(desired: Iterable[Desired], before: State, now: State) -> list[str]:
    """Say what is not as it must be."""
    return [problem for item in desired if (problem := item.unmet(before, now)) is not None]
