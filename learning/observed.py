"""What people did by themselves about an incident, as telemetry shows it, against what was proposed in shadow.

The rule. It counts only where no action of ours was carried out and the incident is over. What is looked at are the
changes that telemetry told of the service from the first proposal on: one that is what the proposed step does
(`done_by_people` of the step) is agreement; where there are others only, people did something else and it recovered:
disagreement. Without a change nothing is known: it may have passed by itself, or have been mended unseen.
"""

from __future__ import annotations

from actions.catalog import Catalog
from learning.history import Case, Judged
from schemas.decision import Decision


def last_proposal(case: Case) -> Decision | None:
    """Give the last proposal of an incident that was not carried out at once."""
    return next(
        (one for one in reversed(case.decisions) if one.playbook and one.actions and one.verdict != "act"), None
    )


def observed(case: Case, proposal: Decision, catalog: Catalog) -> Judged | None:
    """Judge a proposal by what was then done; None where that says nothing."""
    playbook = catalog.get(proposal.playbook or "")
    wanted = {command.step for command in proposal.actions}
    signs = [sign for step in playbook.steps if step.name in wanted for sign in step.done_by_people] if playbook else []
    if not signs or case.tried or case.incident.status != "resolved":
        return None
    # A proposal is repeated while the incident changes; that people acted after the first of them is what counts.
    first = min(one.time_unix_nano for one in case.decisions if one.playbook == proposal.playbook and one.actions)
    changes = [change for change in case.incident.changes if change.entity.service == proposal.service]
    before = [change for change in changes if change.time_unix_nano <= first]
    since = [change for change in changes if change.time_unix_nano > first]
    if not since:
        return None
    return "agreed" if any(sign.shows(change, before) for change in since for sign in signs) else "disagreed"
