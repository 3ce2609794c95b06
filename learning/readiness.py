"""Where each playbook stands on the way to autonomy, and what is missing for the next tier.

Called by `reflexarc readiness`. Pure. The tier in force is computed by the very function the policy uses, so that
this can say nothing else than what will happen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from actions.autonomy import TIERS, EarningSettings, Reliability, lower_bound
from actions.catalog import Catalog
from actions.checks import reversible, tier_in_force
from actions.controls import Controls, Scope, as_people_said
from actions.playbook import Playbook
from actions.settings import PolicySettings
from learning.history import Case
from learning.observed import last_proposal, observed
from schemas.action import Tier
from schemas.envelope import Entity, Model

# More in a row than any threshold below 1 asks for within reason: 0.99 takes 298.
MOST_RUNS = 1000
Place = tuple[str, str]


class Agreement(Model):
    """What was proposed and not carried out at once, against what people then did or said."""

    agreed: int = 0
    disagreed: int = 0

    def supports(self, record: Reliability, settings: EarningSettings) -> Tier:
        """Highest tier that the record or the agreement justifies, by the same bounds.

        That people would have done the same shows that the choice is right, not that the action works: it never
        justifies acting without a person.
        """
        bound = lower_bound(self.agreed, self.disagreed, settings.percentile) if self.agreed else 0.0
        by_agreement: tuple[Tier, ...] = ("approve", "recommend")
        shown: Tier = next((tier for tier in by_agreement if bound >= settings.least(tier)), "observe")
        return max(shown, record.earned(settings), key=TIERS.index)


class Standing(Model):
    """One playbook on one service of one environment."""

    playbook: str
    playbook_version: int
    environment: str
    service: str
    tier: Tier
    """In force now."""
    because: str
    successes: int
    failures: int
    lower_bound: float
    """What the rate of verified success exceeds with probability 1 - `policy.earning.percentile`."""
    earned: Tier
    """Highest tier that the record justifies."""
    agreed: int
    """Proposals in shadow that people approved, whose class or playbook they named, or that they did themselves."""
    disagreed: int
    """Proposals in shadow that people rejected, or where they named or did something else."""
    supported: Tier
    """Highest tier that the record or, up to `approve`, the agreement justifies: what a person may ratify."""
    next_tier: Tier | None
    needed_bound: float | None
    missing: tuple[str, ...]
    """What has to happen for the next tier; empty where there is none."""


def readiness(
    catalog: Catalog,
    policy: PolicySettings,
    records: Iterable[Reliability],
    *,
    places: Iterable[Place] = (),
    controls: Controls | None = None,
    connectors: Collection[str] = (),
    cases: Sequence[Case] = (),
) -> tuple[Standing, ...]:
    """Say where every playbook stands at every place where it has a record or made a proposal, and at these places.

    Args:
        catalog: the playbooks there are.
        policy: what is granted, and what must be shown for each tier.
        records: what became of actions so far.
        places: environments and services to list although nothing was done there yet.
        controls: what people said: pins and forgiven demotions.
        connectors: names of the connectors that are configured and enabled.
        cases: incidents with what was proposed, and what people then said and did.

    """
    said = controls or Controls()
    known = {(one.environment, one.service, one.playbook): one for one in records}
    agreed = agreement(cases, catalog)
    everywhere = sorted({(environment, service) for environment, service, _ in {*known, *agreed}} | set(places))
    return tuple(
        _standing(
            playbook,
            place,
            policy,
            _forgiven(known, place, playbook, said),
            said=said,
            connectors=connectors,
            shadow=agreed.get((*place, playbook.name), Agreement()),
        )
        for place in everywhere
        for playbook in catalog
        if playbook.steps  # one that only calls a person has nothing to earn
    )


def agreement(cases: Iterable[Case], catalog: Catalog) -> dict[tuple[str, str, str], Agreement]:
    """Count, by place and playbook, how often people agreed with the last proposal of an incident.

    What they said comes first, then what they are seen to have done (`learning.observed`).
    """
    counts: dict[tuple[str, str, str], Agreement] = {}
    for case in cases:
        proposal = last_proposal(case)
        judged = None if proposal is None else case.judged(proposal) or observed(case, proposal, catalog)
        if proposal is None or judged is None:
            continue
        place = (proposal.environment, proposal.service, str(proposal.playbook))
        so_far = counts.get(place, Agreement())
        counts[place] = so_far.model_copy(update={judged: getattr(so_far, judged) + 1})
    return counts


def runs_needed(record: Reliability, bound: float, settings: EarningSettings) -> int:
    """Count the verified successes in a row after which the lower bound reaches `bound`.

    >>> runs_needed(Reliability(environment="e", service="s", playbook="p"), 0.80, EarningSettings())
    13
    """
    for runs in range(MOST_RUNS):
        further = record.model_copy(update={"successes": record.successes + runs})
        if further.lower_bound(settings.percentile) >= bound:
            return runs
    return MOST_RUNS


def _forgiven(
    known: Mapping[tuple[str, str, str], Reliability], place: Place, playbook: Playbook, said: Controls
) -> Reliability:
    environment, service = place
    nothing = Reliability(environment=environment, service=service, playbook=playbook.name)
    return as_people_said(known.get((environment, service, playbook.name), nothing), said)


def _standing(
    playbook: Playbook,
    place: Place,
    policy: PolicySettings,
    record: Reliability,
    *,
    said: Controls,
    connectors: Collection[str],
    shadow: Agreement,
) -> Standing:
    environment, service = place
    pin = said.pin(Scope(environment, service, playbook.name))
    entity = Entity(environment=environment, service=service)
    tier, check = tier_in_force(playbook, entity, policy, record, pin)
    following = TIERS[TIERS.index(tier) + 1] if tier != TIERS[-1] else None
    return Standing(
        playbook=playbook.name,
        playbook_version=playbook.version,
        environment=environment,
        service=service,
        tier=tier,
        because=check.detail,
        successes=record.successes,
        failures=record.failures,
        lower_bound=record.lower_bound(policy.earning.percentile),
        earned=record.earned(policy.earning),
        agreed=shadow.agreed,
        disagreed=shadow.disagreed,
        supported=shadow.supports(record, policy.earning),
        next_tier=following,
        needed_bound=None if following is None else policy.earning.least(following),
        missing=()
        if following is None
        else tuple(_missing(playbook, record, policy, following, pin=pin, connectors=connectors)),
    )


def _missing(
    playbook: Playbook,
    record: Reliability,
    policy: PolicySettings,
    wanted: Tier,
    *,
    pin: Tier | None,
    connectors: Collection[str],
) -> Iterator[str]:
    """Say what stands between here and the next tier."""
    runs = runs_needed(record, policy.earning.least(wanted), policy.earning)
    if runs:
        yield f"evidence: {runs} more verified success{'es' if runs > 1 else ''} without a failure"
    if record.cap is not None:
        yield f"demoted to {record.cap} ({record.because}): `reflexarc lift`, or earn it anew"
    grant = policy.grant_for(record.environment, record.service, playbook.name)
    reach = max(grant.tier, grant.earn_up_to or grant.tier, key=TIERS.index)
    reach = max(reach, record.ratified or reach, key=TIERS.index)
    if TIERS.index(reach) < TIERS.index(wanted):
        where = f"--environment {record.environment} --service {record.service} --playbook {playbook.name}"
        yield (
            f"a grant: policy.grants holds {grant.tier}; write tier or earn_up_to {wanted}, "
            f"or a person's word: `reflexarc ratify {wanted} {where}`"
        )
    if pin is not None:
        yield f"pinned to {pin} by a person: `reflexarc unpin`"
    if TIERS.index(wanted) >= TIERS.index("approve"):
        lacking = sorted({step.connector for step in playbook.steps} - set(connectors))
        if lacking:
            yield f"connectors that are configured and enabled: {', '.join(lacking)}"
    if wanted == "autonomous":
        for check in map(reversible, playbook.steps):
            if not check.passed:
                yield f"a way back: {check.detail}, so a person is asked for it whatever the tier"
