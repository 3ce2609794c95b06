"""The Argo Rollouts connector against an API with a memory and a controller (`tests.parts.cluster`)."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actions.connectors.argo import ArgoConnector
from actions.connectors.base import unmet
from actions.connectors.kubernetes.access import Access
from actions.connectors.kubernetes.revisions import KNOWN_GOOD
from actions.connectors.settings import ClusterAccess
from schemas.action import Operation
from schemas.errors import NotServedError, PermanentError, RefusedError
from tests.actions.connectors.shipped import commands
from tests.parts.cluster import NAMESPACE, TOKEN, FakeCluster


@pytest.fixture
async def connector(cluster: FakeCluster) -> AsyncIterator[ArgoConnector]:
    cluster.workload("rollouts", "web", "web:1", 3)

    async def at_once(_: float) -> None: ...

    access = Access(str(cluster.url), ssl.create_default_context(), lambda: TOKEN)
    settings = ClusterAccess(enabled=True, namespaces=(NAMESPACE,))
    connector = ArgoConnector(settings, access=access, sleep=at_once, monotonic=iter(range(100_000)).__next__)
    yield connector
    await connector.close()


def abort(aborted: Any = True) -> Operation:
    params = {"service": "web", "aborted": aborted, "converge_seconds": 2}
    return Operation(connector="argo.cluster", operation="set_aborted", params=params)


def rollback(template: Any, **more: Any) -> Operation:
    params = {"service": "web", "template": template, "converge_seconds": 2, **more}
    return Operation(connector="argo.cluster", operation="rollback", params=params)


BACK = rollback({"$state": "/rollout/known_good"})
AGAIN = rollback({"$state": "/rollout/template"})


async def done(connector: ArgoConnector, wanted: Operation) -> dict[str, Any]:
    before = await connector.observe(wanted)
    await connector.apply(wanted, before, "key")
    converged = await connector.verify(wanted, before)
    assert converged.reached, converged.detail
    return before


def promoted(cluster: FakeCluster, image: str) -> None:
    cluster.deploy("web", image, "rollouts")
    cluster.edit("rollouts", "web", {"status": {"promoteFull": True}})
    assert cluster.images("web") == {image}


async def test_an_update_is_aborted_and_begun_again(cluster: FakeCluster, connector: ArgoConnector) -> None:
    cluster.deploy("web", "web:2", "rollouts")
    assert cluster.images("web") == {"web:1", "web:2"}
    before = await done(connector, abort())
    assert (before["rollout"]["updating"], before["rollout"]["phase"]) == (True, "Paused")
    assert cluster.images("web") == {"web:1"}
    await connector.apply(abort(), before, "key")
    assert len(cluster.writes) == 1
    await connector.revert(abort(), abort({"$state": "/rollout/aborted"}), before, "key-revert")
    assert cluster.images("web") == {"web:1", "web:2"}


async def test_what_is_not_updating_is_not_aborted(cluster: FakeCluster, connector: ArgoConnector) -> None:
    with pytest.raises(PermanentError, match="not updating"):
        await connector.apply(abort(), await connector.observe(abort()), "key")
    assert cluster.writes == []


async def test_an_abort_that_the_controller_does_not_see_is_not_reached(
    cluster: FakeCluster, connector: ArgoConnector
) -> None:
    cluster.deploy("web", "web:2", "rollouts")
    before = await connector.observe(abort())
    cluster.controllers_away = True
    await connector.apply(abort(), before, "key")
    assert "has not aborted it" in (await connector.verify(abort(), before)).detail


async def test_a_complete_update_is_rolled_back_at_once_and_put_back(
    cluster: FakeCluster, connector: ArgoConnector
) -> None:
    promoted(cluster, "web:2")
    before = await done(connector, BACK)
    assert cluster.images("web") == {"web:1"}
    await connector.apply(BACK, before, "key")
    # The template and the promotion, once.
    assert len(cluster.writes) == 2
    await connector.revert(BACK, AGAIN, before, "key-revert")
    assert (await connector.verify(AGAIN, before)).reached
    assert cluster.images("web") == {"web:2"}


async def test_while_it_updates_the_stable_revision_is_the_good_one(
    cluster: FakeCluster, connector: ArgoConnector
) -> None:
    promoted(cluster, "web:2")
    for item in cluster.all("replicasets"):
        if item["metadata"]["annotations"]["rollout.argoproj.io/revision"] == "1":
            cluster.edit("replicasets", item["metadata"]["name"], {"metadata": {"annotations": {KNOWN_GOOD: "true"}}})
    cluster.deploy("web", "web:3", "rollouts")
    await done(connector, BACK)
    assert cluster.images("web") == {"web:2"}
    # Complete, it is the one that a person marked.
    await done(connector, BACK)
    assert cluster.images("web") == {"web:1"}


async def test_a_rollback_that_is_not_promoted_goes_step_by_step(
    cluster: FakeCluster, connector: ArgoConnector
) -> None:
    promoted(cluster, "web:2")
    slowly = rollback({"$state": "/rollout/known_good"}, promote=False)
    before = await connector.observe(slowly)
    await connector.apply(slowly, before, "key")
    assert cluster.images("web") == {"web:1", "web:2"}
    assert "still the stable one" in (await connector.verify(slowly, before)).detail


async def test_a_controller_that_is_away_is_not_waited_for_without_end(
    cluster: FakeCluster, connector: ArgoConnector
) -> None:
    promoted(cluster, "web:2")
    before = await connector.observe(BACK)
    cluster.controllers_away = True
    await connector.apply(BACK, before, "key")
    assert not (await connector.verify(BACK, before)).reached
    assert len(cluster.writes) == 1


async def test_what_someone_else_rolled_out_is_theirs(cluster: FakeCluster, connector: ArgoConnector) -> None:
    promoted(cluster, "web:2")
    before = await done(connector, BACK)
    cluster.deploy("web", "web:3", "rollouts")
    assert connector.plan(BACK, before, await connector.observe(BACK)).drifted
    with pytest.raises(RefusedError, match="someone else"):
        await connector.revert(BACK, AGAIN, before, "key-revert")


async def test_pods_that_another_object_describes_are_left_to_it(
    cluster: FakeCluster, connector: ArgoConnector
) -> None:
    promoted(cluster, "web:2")
    before = await connector.observe(BACK)
    cluster.edit("rollouts", "web", {"spec": {"workloadRef": {"kind": "Deployment", "name": "web"}}})
    with pytest.raises(NotServedError, match="another object"):
        await connector.apply(BACK, before, "key")
    with pytest.raises(NotServedError, match="another object"):
        await connector.observe(BACK)
    assert (await connector.observe(abort()))["rollout"]["name"] == "web"


async def test_a_service_without_a_rollout_is_not_served(cluster: FakeCluster, connector: ArgoConnector) -> None:
    elsewhere = Operation(connector="argo.cluster", operation="rollback", params={**BACK.params, "service": "other"})
    with pytest.raises(NotServedError, match="none of the rollouts"):
        await connector.observe(elsewhere)
    cluster.absent.add("rollouts")
    with pytest.raises(NotServedError, match="no Rollouts"):
        await connector.observe(BACK)


@pytest.mark.parametrize("complete", [False, True])
async def test_the_shipped_playbook_rolls_back(cluster: FakeCluster, connector: ArgoConnector, complete: bool) -> None:
    (command,) = commands("rollback-rollout-argo", service="web").values()
    cluster.deploy("web", "web:2", "rollouts")
    if complete:
        cluster.edit("rollouts", "web", {"status": {"promoteFull": True}})
    before = await connector.observe(command.apply)
    assert [unmet(item, before) for item in command.preconditions] == [None, None]
    await done(connector, command.apply)
    assert cluster.images("web") == {"web:1"}
