"""Commands that say something to the arc: stops, pins, reverts, approvals. They write to the controls topic."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Callable
from typing import Annotated

import typer

from schemas.action import Tier
from schemas.control import Control, ControlKind
from schemas.decision import Decision
from schemas.envelope import content_id
from schemas.errors import PermanentError
from streams.settings import Settings, load_settings

Environment = Annotated[str | None, typer.Option(help="Only in this environment.")]
Service = Annotated[str | None, typer.Option(help="Only for this service.")]
Playbook = Annotated[str | None, typer.Option(help="Only for this playbook.")]
Incident = Annotated[str | None, typer.Option(help="Only for this incident: its whole id.")]
By = Annotated[str | None, typer.Option(help="Who says so; the user logged in here by default.")]
Note = Annotated[str, typer.Option(help="Why.")]
DecisionId = Annotated[str, typer.Argument(help="Id of the decision, or how it begins.")]

_OF_A_SCOPE: dict[ControlKind, str] = {
    "stop": "Stop acting: everywhere, or in a scope. Takes effect before the next step of anything running.",
    "resume": "Lift the stops of a scope and of everything within it.",
    "unpin": "Lift the pins of a scope and of everything within it.",
    "lift": "Forgive the demotions of a scope: what was granted there counts again.",
}


def pin(
    tier: Annotated[Tier, typer.Argument(help="The tier to hold.")],
    *,
    environment: Environment = None,
    service: Service = None,
    playbook: Playbook = None,
    incident: Incident = None,
    by: By = None,
    note: Note = "",
) -> None:
    """Hold a tier, whatever was granted or earned, until `unpin`."""
    about = {"environment": environment, "service": service, "playbook": playbook, "incident_id": incident}
    say("pin", by, note, tier=tier, **about)


def ratify(
    tier: Annotated[Tier, typer.Argument(help="The tier that the playbook may rise to.")],
    *,
    environment: Annotated[str, typer.Option(help="In this environment.")],
    service: Annotated[str, typer.Option(help="On this service.")],
    playbook: Annotated[str, typer.Option(help="The playbook.")],
    by: By = None,
    note: Note = "",
) -> None:
    """Confirm that a playbook has earned a tier on a service; refused while its record does not justify it."""
    from actions.autonomy import TIERS  # noqa: PLC0415 - heavy: see streams.cli
    from streams.commands.readiness import standings  # noqa: PLC0415

    found = standings(load_settings(), [(environment, service)])
    mine = [s for s in found if (s.environment, s.service, s.playbook) == (environment, service, playbook)]
    if not mine:
        raise PermanentError(f"no playbook {playbook!r} that acts; `reflexarc playbooks list` names them")
    shown = mine[0]
    if TIERS.index(tier) > TIERS.index(shown.supported):
        raise PermanentError(
            f"{tier} is not justified yet: {shown.successes} verified successes, {shown.failures} failures; people "
            f"agreed with {shown.agreed} of {shown.agreed + shown.disagreed} proposals. "
            f"That supports {shown.supported}. `reflexarc readiness` says what is missing, "
            "`reflexarc pin` holds a tier whatever the record"
        )
    say("ratify", by, note, environment=environment, service=service, playbook=playbook, tier=tier)


def revert(
    action: Annotated[str | None, typer.Argument(help="Id of the action; all actions of the scope without it.")] = None,
    *,
    environment: Environment = None,
    service: Service = None,
    playbook: Playbook = None,
    incident: Incident = None,
    by: By = None,
    note: Note = "",
) -> None:
    """Take an action back, or all of a scope that still can be. Counts against the playbook."""
    about = {"environment": environment, "service": service, "playbook": playbook, "incident_id": incident}
    if action is None and not any(about.values()):
        raise PermanentError("name an action or a scope: everything at once is not taken back")
    say("revert", by, note, action_id=action, **about)


def renew(action: Annotated[str, typer.Argument(help="Id of the action.")], by: By = None, note: Note = "") -> None:
    """Let what an action did last for another term, counted from now."""
    say("renew", by, note, action_id=action)


def approve(decision: DecisionId, by: By = None, note: Note = "") -> None:
    """Approve what a decision asks for."""
    _answer("approve", decision, by, note)


def reject(decision: DecisionId, by: By = None, note: Note = "") -> None:
    """Reject what a decision asks for."""
    _answer("reject", decision, by, note)


def ack(
    incident: Annotated[str, typer.Argument(help="Id of the incident, or how it begins.")],
    by: By = None,
    note: Note = "",
) -> None:
    """Say that you look after an incident: nobody is called or asked again about it as it looks now."""
    say("acknowledge", by, note, **of_incident(incident))


def of_incident(asked: str) -> dict[str, str | None]:
    """Find an incident by its id or how that begins; returns it as the scope of a control.

    Raises:
        PermanentError: there is none such, or there are several.

    """
    from streams.cases import TOPICS, fold  # noqa: PLC0415 - heavy: see streams.cli
    from streams.tail import Tail  # noqa: PLC0415 - heavy: see streams.cli

    with Tail(load_settings().kafka, TOPICS) as tail:
        found = fold(tail.to_end()).find(asked).incident
    return {"environment": found.environment, "service": found.service, "incident_id": found.id}


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    for kind, purpose in _OF_A_SCOPE.items():
        app.command(kind, help=purpose)(_of_a_scope(kind))
    for command in (pin, ratify, revert, renew, approve, reject, ack):
        app.command()(command)


def _of_a_scope(kind: ControlKind) -> Callable[..., None]:
    """Make the command for a control that takes nothing but its scope."""

    def command(
        *,
        environment: Environment = None,
        service: Service = None,
        playbook: Playbook = None,
        incident: Incident = None,
        by: By = None,
        note: Note = "",
    ) -> None:
        about = {"environment": environment, "service": service, "playbook": playbook, "incident_id": incident}
        say(kind, by, note, **about)

    return command


def _answer(kind: ControlKind, asked: str, by: str | None, note: str) -> None:
    settings = load_settings()
    decision = _find(settings, asked)
    if decision.verdict != "ask":
        raise PermanentError(f"decision {decision.id} does not ask for approval: its verdict is {decision.verdict}")
    about = {"environment": decision.environment, "service": decision.service, "incident_id": decision.incident_id}
    _publish(settings, _control(kind, by, note, decision_id=decision.id, **about))
    for command in decision.actions:
        typer.echo(f"{kind}: {command.playbook} {command.step} on {command.target}")


def _find(settings: Settings, asked: str) -> Decision:
    from schemas.topics import DECISIONS  # noqa: PLC0415 - heavy: see streams.cli
    from streams.tail import Tail  # noqa: PLC0415 - heavy: see streams.cli

    with Tail(settings.kafka, [DECISIONS]) as tail:
        found = {seen.record.id: seen.record for seen in tail.to_end() if seen.record.id.startswith(asked)}
    if len(found) != 1:
        raise PermanentError(f"{len(found) or 'no'} decisions begin with {asked!r}; `reflexarc incidents` shows them")
    decision: Decision = next(iter(found.values()))
    return decision


def say(kind: ControlKind, by: str | None, note: str, **scope: str | None) -> None:
    settings = load_settings()
    control = _control(kind, by, note, **scope)
    _publish(settings, control)
    where = ", ".join(f"{name} {value}" for name, value in scope.items() if value is not None)
    typer.echo(f"{kind}: {where or 'everything'}")


def _control(kind: ControlKind, by: str | None, note: str, **about: str | None) -> Control:
    now, person = time.time_ns(), by or getpass.getuser()
    identity = content_id("control", kind, person, now, about)
    return Control.model_validate(
        {"id": identity, "kind": kind, "by": person, "time_unix_nano": now, "note": note, **about}
    )


def _publish(settings: Settings, control: Control) -> None:
    from schemas.codec import encode  # noqa: PLC0415
    from schemas.control import EVERY_SCOPE  # noqa: PLC0415
    from schemas.topics import CONTROLS  # noqa: PLC0415
    from streams.publisher import Message, publish_once  # noqa: PLC0415
    from streams.roles import partition_count  # noqa: PLC0415

    topic = CONTROLS.full_name(settings.kafka.topic_prefix)
    wide = control.key == EVERY_SCOPE
    places = range(partition_count(settings.kafka, CONTROLS)) if wide else [None]
    said = [Message(topic, control.key.encode(), encode(control), place) for place in places]
    asyncio.run(publish_once(settings.kafka, said))
