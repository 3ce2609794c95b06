"""Versions of what was learnt: what it was built from, how it did, whether it is live and why. The models topic.

Written by `reflexarc learn` and `reflexarc models`, kept for ever (compacted by id): which model was live when is part
of the audit. The files of the registry hold the same records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.envelope import Model, Name, Record, TimeUnixNano, content_id

# `retired`: replaced by another; `withdrawn`: a person rolled it back; `rejected`: the gate did not let it through.
Status = Literal["candidate", "live", "retired", "withdrawn", "rejected"]


class DataRange(Model):
    """What a model was built from."""

    first_unix_nano: TimeUnixNano
    last_unix_nano: TimeUnixNano
    records: Annotated[int, Field(ge=0)]
    hash: str = Field(description="over the ids of the records, in their order")


class Held(Model):
    """A span of event time in which a version was live: what is from then is judged by it."""

    from_unix_nano: TimeUnixNano
    until_unix_nano: TimeUnixNano | None = Field(default=None, description="left out; none: it still holds")


class ModelVersion(Record):
    """One version of one kind of model."""

    id: str
    kind: Name = Field(description="what it is for, e.g. policy-thresholds")
    status: Status
    reason: str = Field(description="why it has this status")
    parameters: dict[str, Any] = Field(description="the model: settings by their names, or an artefact of its kind")
    figures: dict[str, float] = Field(default_factory=dict, description="of its backtest")
    live_figures: dict[str, float] = Field(
        default_factory=dict, description="of what was live then, on the same records"
    )
    data: DataRange
    code_version: str
    built_unix_nano: TimeUnixNano
    changed_unix_nano: TimeUnixNano = Field(description="when it got its status")
    replaces: str | None = Field(default=None, description="id of what was live before it")
    held: tuple[Held, ...] = Field(
        default=(), description="when it was live, in event time: begins a little ahead, so that every worker knows it"
    )

    @classmethod
    def built(
        cls,
        kind: str,
        parameters: Mapping[str, Any],
        data: DataRange,
        *,
        code_version: str,
        now_unix_nano: int,
        status: Status,
        reason: str,
        figures: Mapping[str, float],
        live_figures: Mapping[str, float],
    ) -> ModelVersion:
        """Make a version that has just been built; its id follows from what it is."""
        held = dict(parameters)
        return cls(
            id=model_id(kind, held, data, code_version),
            kind=kind,
            status=status,
            reason=reason,
            parameters=held,
            figures=dict(figures),
            live_figures=dict(live_figures),
            data=data,
            code_version=code_version,
            built_unix_nano=now_unix_nano,
            changed_unix_nano=now_unix_nano,
        )


def model_id(kind: str, parameters: dict[str, Any], data: DataRange, code_version: str) -> str:
    """Identity of a model: what it is, what it was built from, and by which code."""
    return content_id("model", kind, parameters, data.model_dump(mode="json"), code_version)
