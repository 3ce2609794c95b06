"""The page in a real browser: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, async_playwright, expect

from console.desk import Desk
from console.server import make_app
from schemas.codec import decode
from schemas.control import Control
from schemas.envelope import NANOS
from schemas.errors import TemporaryError
from schemas.incident import Classification, Counterfactual, Neighbour, RuleHit
from schemas.topics import CONTROLS
from tests.actions.world import until
from tests.console.conftest import LIVE, TOKEN, Outbox, make_desk
from tests.console.records import T0, command, control, decision, incident, outcome, seconds, signal

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.integration,
    # One browser for all of them: it takes longer to start than a test to run.
    pytest.mark.asyncio(loop_scope="module"),
]

XSS = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'
# Eight rules with eight reasons, and eight counterfactuals with eight names, of 300 characters each, and the rest.
MOST_CHARACTERS = 2 * 8 * 8 * 300 + 8 * 4 * 300


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up("the page is tested in chromium, and there is none here (Debian: apt-get install chromium)")
    async with async_playwright() as playwright:
        # Chromium's own sandbox cannot be set up by root, which is who runs in a container.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """Open a tab in which any error of a script, and any breach of the content security policy, fails the test."""
    context = await browser.new_context()
    page = await context.new_page()
    page.set_default_timeout(10_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type in _BAD else None)
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    yield page
    await context.close()
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


_BAD = {"error", "warning"}


@pytest_asyncio.fixture(loop_scope="module")
async def address(desk: Desk) -> AsyncIterator[str]:
    async with TestServer(make_app(desk)) as server:
        yield str(server.make_url("/"))


async def said(outbox: Outbox, count: int = 1) -> list[Control]:
    """What was said; the page goes on while it says so, so it may take a moment."""
    await until(lambda: sum(topic is CONTROLS for topic, _, _ in outbox.sent) >= count)
    return [decode(topic, key.encode(), value) for topic, key, value in outbox.sent if topic is CONTROLS]


async def test_incidents_come_and_change_live(page: Page, desk: Desk, address: str) -> None:
    await page.goto(address)
    await expect(page.get_by_text("All quiet.")).to_be_visible()
    await expect(page.get_by_role("status")).to_have_text("Live")
    first = incident(1)
    desk.receive([first], LIVE)
    row = page.get_by_role("link", name=re.compile("checkout: request duration"))
    await expect(row).to_contain_text("deployment regression · 93 %")
    desk.receive([decision(first, "escalate")], LIVE)
    await expect(row).to_contain_text("needs a person")
    desk.receive([incident(1, 2, status="resolved")], LIVE)
    await expect(row).to_contain_text("resolved")


async def test_one_incident_tells_its_story(page: Page, desk: Desk, address: str) -> None:
    over = incident(1, 2, status="resolved")
    acted = decision(over, "act", reason="every check passed")
    issued = command(over, acted.id, acted.time_unix_nano)
    desk.receive([over, acted, issued, outcome(issued)], LIVE)
    await page.goto(f"{address}#/incidents/{over.id}")
    story = page.get_by_role("article", name="Incident")
    await expect(story.get_by_role("heading", level=2)).to_have_text(over.title)
    for words in (
        "deployment regression with 93 % confidence",
        "8 times its normal for 2 s",
        "rollback-deployment / rollback",
        "both subjects cleared 7.2 s after apply",
    ):
        await expect(story).to_contain_text(words)
    await expect(story.get_by_role("row", name="version 2.4.0 2.3.9")).to_be_visible()
    await story.get_by_text("1 of 2 checks failed: tier").click()
    await expect(story.get_by_text("approve, autonomous wanted")).to_be_visible()
    # What a reader has opened stays open when news arrives.
    desk.receive([control("feedback", incident_id=over.id, verdict="true_positive", note="well done")], LIVE)
    await expect(story).to_contain_text("well done")
    await expect(story.get_by_text("approve, autonomous wanted")).to_be_visible()


def remembered(**changed: Any) -> Classification:
    """Make what a decision trace holds once the memory of labelled incidents was asked, too."""
    onset = incident(1).onset_unix_nano
    told: dict[str, Any] = {
        "label": "deployment_regression",
        "confidence": 0.9,
        "basis": "rules and memory",
        "prediction_set": ("deployment_regression", "disk_full"),
        "rules": (
            RuleHit(
                rule="rollout-before-symptoms",
                label="deployment_regression",
                because=("2.4.0 went out 12 s before",),
                signals=(signal(onset).id,),
            ),
        ),
        "neighbours": (
            Neighbour(incident_id=incident(2).id, label="disk_full", distance=0.125),
            Neighbour(incident_id=incident(9).id, label="deployment_regression", distance=0.25),
        ),
        "counterfactuals": (Counterfactual(without=("deployment.finished", "errors"), label="traffic_surge"),),
    }
    return Classification(**told | changed)


async def test_the_newest_decision_tells_why_and_what_would_change_its_mind(
    page: Page, desk: Desk, address: str
) -> None:
    first, again = incident(1), incident(1, 2)
    old = decision(first, classification=remembered(prediction_set=("deployment_regression", "memory_pressure")))
    desk.receive([incident(2), again, decision(again, classification=remembered()), old], LIVE)
    await page.goto(f"{address}#/incidents/{again.id}")
    why = page.get_by_role("region", name="Why")
    for words in (
        "deployment regression with 90 % confidence (rules and memory)",
        "It may also be disk full.",
        "rollout-before-symptoms says deployment regression: 2.4.0 went out 12 s before",
        "holds on http.server.request.duration",
        "Without deployment.finished and errors it would be traffic surge.",
        "disk full, distance 0.125",
    ):
        await expect(why).to_contain_text(words)
    await expect(why).not_to_contain_text("memory pressure")
    # An incident that this console no longer holds is cited, but leads nowhere.
    await expect(why.get_by_role("link")).to_have_count(1)
    await why.get_by_role("link", name=incident(2).id[:8]).click()
    await expect(why).to_contain_text("2.4.0 went out before")
    assert page.url.endswith(incident(2).id)


async def test_what_is_like_nothing_known_is_called_so(page: Page, desk: Desk, address: str) -> None:
    strange = incident(1, 2)
    unknown = Classification(basis="no rule holds")
    desk.receive([strange, decision(incident(1), "escalate", classification=unknown)], LIVE)
    await page.goto(f"{address}#/incidents/{strange.id}")
    why = page.get_by_role("region", name="Why")
    for words in (
        "As decided about revision 1; the incident is at revision 2.",
        "It could not be told what this is (no rule holds).",
        "At revision 2 the rules alone say deployment regression with 93 % confidence.",
        "It is like nothing known here.",
        "It resembles no incident that feedback has labelled here.",
    ):
        await expect(why).to_contain_text(words)


async def test_an_outcome_names_the_evidence_that_was_kept(page: Page, desk: Desk, address: str) -> None:
    opened = incident(1)
    issued = command(opened, decision(opened).id, opened.updated_unix_nano)
    package = {
        "package": "/var/lib/evidence/a1.1",
        "manifest_sha256": "5e" * 32,
        "files": 4,
        "bytes": 12_300,
        "incomplete": ["memory.bin"],
        "problem": "not all was collected in 20 s",
    }
    desk.receive([opened, outcome(issued, before={"version": "2.4.0", "forensics": package})], LIVE)
    await page.goto(f"{address}#/incidents/{opened.id}")
    story = page.get_by_role("article", name="Incident")
    for words in (
        "Evidence was kept before the change: /var/lib/evidence/a1.1 (4 files, 12.3 kB)",
        "SHA-256 of its manifest " + "5e" * 32,
        "memory.bin",
        "not all was collected in 20 s",
    ):
        await expect(story).to_contain_text(words)
    await expect(story.get_by_role("rowheader", name="forensics")).to_have_count(0)
    await expect(story.get_by_role("row", name="version 2.4.0 2.3.9")).to_be_visible()


async def test_a_pinned_tier_is_part_of_the_story(page: Page, desk: Desk, address: str) -> None:
    held = control("pin", T0 + seconds(62), incident_id=incident(1).id, tier="observe", note="not tonight")
    desk.receive([incident(1), held], LIVE)
    await page.goto(f"{address}#/incidents/{incident(1).id}")
    story = page.get_by_role("article", name="Incident")
    await expect(story).to_contain_text("alice pinnedtier observe")
    await expect(story).to_contain_text("not tonight")


async def test_hostile_telemetry_is_text(page: Page, desk: Desk, address: str) -> None:
    onset = incident(1).onset_unix_nano
    bad = incident(1, title=XSS, service=XSS, signals=(signal(onset, name=XSS, reasons=(XSS,), unit=XSS[:60]),))
    long = XSS + "x" * 900
    doubted = remembered(
        label=XSS,
        basis=long,
        prediction_set=tuple(f"{XSS}{n}" for n in range(100)),
        rules=tuple(
            RuleHit(rule=long, label=XSS, because=(long,) * 50, signals=(bad.signals[0].id,)) for _ in range(50)
        ),
        neighbours=tuple(Neighbour(incident_id=long, label=long, distance=n) for n in range(50)),
        counterfactuals=tuple(Counterfactual(without=(long,) * 50, label=long) for _ in range(50)),
    )
    evil = decision(bad, reason=XSS, playbook=XSS, classification=doubted)
    issued = command(bad, evil.id, onset)
    package = {"package": long, "manifest_sha256": XSS, "files": XSS, "incomplete": [XSS, {}], "problem": long}
    before = {XSS: XSS, "__proto__": {"a": 1}, "forensics": package}
    came = outcome(issued, reason=XSS, before=before, after={XSS: [XSS]})
    desk.receive([bad, evil, issued, came, control("stop", by=XSS, note=XSS, service=XSS)], LIVE)
    await page.goto(f"{address}#/incidents/{bad.id}")
    await expect(page.get_by_role("heading", level=2)).to_have_text(XSS)
    await expect(page.get_by_role("region", name="Stops in force")).to_contain_text(XSS)
    why = page.get_by_role("region", name="Why")
    await expect(why).to_contain_text(f"Without {XSS}")
    await expect(why).to_contain_text("and 42 more")
    assert len(await why.inner_text()) < MOST_CHARACTERS
    await expect(page.locator(".evidence")).to_contain_text(XSS)
    assert await page.locator("article img, article script, nav img, section img").count() == 0
    assert "owned" not in await page.title()


async def test_what_is_invisible_is_made_visible(page: Page, desk: Desk, address: str) -> None:
    tricky = "pay\u200bment \u202egnp.exe\u202c \x07\x1b[31m caf\u00e9 \u2713"
    desk.receive([incident(1, title=tricky)], LIVE)
    await page.goto(f"{address}#/incidents/{incident(1).id}")
    heading = page.get_by_role("heading", level=2)
    await expect(heading).to_be_visible()
    seen = await heading.text_content()
    assert seen == "pay\ufffdment \ufffdgnp.exe\ufffd \ufffd\ufffd[31m caf\u00e9 \u2713"


async def test_whoever_looks_after_an_incident_says_so(page: Page, desk: Desk, outbox: Outbox, address: str) -> None:
    first = incident(1)
    desk.receive([first, decision(first, "escalate")], LIVE)
    await page.goto(f"{address}#/incidents/{first.id}")
    row = page.get_by_role("link", name=re.compile("checkout: request duration"))
    await expect(row).to_contain_text("needs a person")
    await page.get_by_role("button", name="Acknowledge…").click()
    dialog = page.get_by_role("dialog", name="I look after this")
    await dialog.get_by_label("Your name").fill("alice")
    await dialog.get_by_role("button", name="Acknowledge").click()
    (taken,) = await said(outbox)
    assert (taken.kind, taken.by, taken.incident_id) == ("acknowledge", "alice", first.id)
    desk.receive([taken], LIVE)
    await expect(row).not_to_contain_text("needs a person")
    await expect(page.get_by_role("article", name="Incident")).to_contain_text("Looked after by alice")


async def test_a_person_approves_what_they_have_read(page: Page, desk: Desk, outbox: Outbox, address: str) -> None:
    now = await page.evaluate("Date.now()") * 1_000_000
    opened = incident(1, onset_unix_nano=now, opened_unix_nano=now, updated_unix_nano=now)
    asked = decision(opened)
    desk.now_unix_nano = lambda: now + NANOS
    desk.receive([opened, asked], LIVE)
    await page.goto(f"{address}#/incidents/{opened.id}")
    await page.get_by_role("button", name="Approve…").click()
    dialog = page.get_by_role("dialog", name="Approve this action")
    await expect(dialog).to_contain_text("rollback-deployment / rollback on shop / checkout")
    await dialog.get_by_role("button", name="Approve").click()
    await expect(dialog).to_be_visible()  # not without a name
    await dialog.get_by_label("Your name").fill("alice")
    await dialog.get_by_label("Note").fill("as discussed")
    await page.keyboard.press("Tab")
    await dialog.get_by_role("button", name="Approve").click()
    await expect(dialog).not_to_be_visible()
    await expect(page.get_by_role("alert")).not_to_be_visible()
    [approval] = await said(outbox)
    assert (approval.kind, approval.by, approval.note) == ("approve", "alice", "as discussed")
    assert approval.decision_id == asked.id
    desk.receive([approval], LIVE)
    await expect(page.get_by_role("region", name="Approval")).to_contain_text("alice approved this")
    await expect(page.get_by_role("button", name="Approve…")).to_have_count(0)


async def test_a_person_ratifies_the_next_tier(page: Page, desk: Desk, outbox: Outbox, address: str) -> None:
    opened = incident(1)
    desk.receive([opened, decision(opened, "recommend", tier="recommend")], LIVE)
    await page.goto(f"{address}#/incidents/{opened.id}")
    autonomy = page.get_by_role("region", name="Autonomy")
    await expect(autonomy).to_contain_text("rollback-deployment has tier recommend on shop / checkout")
    await autonomy.get_by_role("button", name="Ratify tier approve…").click()
    dialog = page.get_by_role("dialog", name="Ratify tier approve")
    await expect(dialog).to_contain_text("rollback-deployment may rise to tier approve on shop / checkout")
    await dialog.get_by_label("Your name").fill("alice")
    await dialog.get_by_role("button", name="Ratify").click()
    await expect(dialog).not_to_be_visible()
    await expect(page.get_by_role("alert")).not_to_be_visible()
    [ratified] = await said(outbox)
    assert (ratified.kind, ratified.by, ratified.tier) == ("ratify", "alice", "approve")
    assert (ratified.environment, ratified.service, ratified.playbook) == ("shop", "checkout", "rollback-deployment")
    # Said is not heard: the story tells it, and the policy's next decision what came of it.
    story = page.get_by_role("region", name="What happened")
    await expect(story).not_to_contain_text("ratified")
    desk.receive([ratified, decision(incident(1, 2))], LIVE)
    await expect(story).to_contain_text("alice ratifiedtier approve, shop / checkout / rollback-deployment")
    await expect(autonomy).to_contain_text("has tier approve")
    # Acting without a person is earned: the command that can look at the record confirms it.
    await expect(autonomy).to_contain_text("reflexarc ratify autonomous")
    await expect(autonomy.get_by_role("button")).to_have_count(0)
    desk.receive([incident(1, 3, status="resolved")], LIVE)
    await expect(autonomy).to_have_count(0)


async def test_stop_is_one_press_and_shows_what_the_topic_says(
    page: Page, desk: Desk, outbox: Outbox, address: str
) -> None:
    await page.goto(address)
    await page.get_by_label("You are").fill("alice")
    await page.get_by_role("button", name="Stop all actions").click()
    button = page.locator("#stop")
    await expect(button).to_be_enabled()
    # Said is not heard: the button tells the state that came back from the topic.
    await expect(button).to_have_text("Stop all actions")
    [stop] = await said(outbox)
    assert (stop.kind, stop.by, stop.environment) == ("stop", "alice", None)
    desk.receive([stop], LIVE)
    await expect(button).to_have_text("All actions stopped. Resume…")
    await expect(page.get_by_role("region", name="Stops in force")).to_contain_text("Everything is stopped by alice")

    await button.click()
    dialog = page.get_by_role("dialog", name="Resume actions")
    await page.keyboard.press("Escape")
    await expect(dialog).not_to_be_visible()
    assert len(await said(outbox)) == 1
    await button.click()
    await dialog.get_by_role("button", name="Resume").click()
    await expect(dialog).not_to_be_visible()
    await expect(button).to_be_enabled()
    assert [control.kind for control in await said(outbox, 2)] == ["stop", "resume"]


async def test_a_stop_that_could_not_be_said_is_called_so(page: Page, desk: Desk, outbox: Outbox, address: str) -> None:
    outbox.fault = TemporaryError("controls: broker is down")
    await page.goto(address)
    await page.get_by_label("You are").fill("alice")
    await page.get_by_role("button", name="Stop all actions").click()
    await expect(page.get_by_role("alert")).to_have_text("Could not stop: controls: broker is down")


async def test_the_page_never_passes_old_news_for_new(page: Page, desk: Desk, address: str) -> None:
    await page.goto(address)
    await expect(page.get_by_role("status")).to_have_text("Live")
    desk.receive([], LIVE.model_copy(update={"connected": False}))
    await expect(page.get_by_role("status")).to_contain_text("may be old")
    await expect(page.locator("#stop")).to_have_text("Stop all actions (state unknown)")
    desk.receive([], LIVE)
    await expect(page.get_by_role("status")).to_have_text("Live")
    desk.hub.close()
    await expect(page.get_by_role("status")).to_contain_text("Not connected")


async def test_it_can_be_used_from_the_keyboard(page: Page, desk: Desk, outbox: Outbox, address: str) -> None:
    desk.receive([incident(1), incident(2, title="the second")], LIVE)
    await page.goto(address)
    await expect(page.get_by_role("listitem")).to_have_count(2)
    reached: list[str] = []
    for _ in range(9):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert reached[:4] == ["Skip to the incident", "ReflexArc", "who", "stop"]
    assert "the second" in reached[7]
    await page.keyboard.press("Shift+Tab")
    desk.receive([incident(2, 2, title="the second, revised")], LIVE)
    row = page.get_by_role("link", name=re.compile("the second, revised"))
    await expect(row).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=2)).to_have_text("the second, revised")


async def test_a_guarded_console_asks_for_its_token(page: Page, outbox: Outbox) -> None:
    desk = make_desk(outbox, token=TOKEN)
    desk.receive([incident(1)], LIVE)
    async with TestServer(make_app(desk)) as server:
        await page.goto(str(server.make_url("/")))
        dialog = page.get_by_role("dialog", name="This console asks for a token")
        await dialog.get_by_label("Token").fill(TOKEN)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("listitem")).to_have_count(1)
        await page.get_by_label("You are").fill("alice")
        await page.get_by_role("button", name="Stop all actions").click()
        await expect(page.locator("#stop")).to_be_enabled()
        assert [control.kind for control in await said(outbox)] == ["stop"]


async def test_a_long_decision_history_is_folded(page: Page, desk: Desk, address: str) -> None:
    revisions = [incident(1, revision) for revision in range(1, 30)]
    waiting = [decision(revision, "observe", reason="nothing granted here") for revision in revisions]
    changed = decision(incident(1, 30), "escalate", reason="it gets worse")
    desk.receive([incident(1, 30), *waiting, changed], LIVE)
    await page.goto(f"{address}#/incidents/{incident(1).id}")
    await expect(page.locator(".event")).to_have_count(2)
    await expect(page.locator(".event").first).to_contain_text("29 times until")
    assert changed.time_unix_nano - waiting[0].time_unix_nano == seconds(145)
