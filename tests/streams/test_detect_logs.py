"""What log records show besides their counts: processes, sessions, kinds of events, templates that fall silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from detectors.bank import BankSettings
from schemas.envelope import NANOS, AttributeValue
from schemas.raw import LogRecord
from schemas.signal import Signal
from schemas.topics import RAW_LOGS
from streams.kernel.detect import DetectRules
from streams.kernel.detect_logs import LogDetect
from streams.kernel.detect_processes import TOLD_FOR
from streams.kernel.detect_silence import NAME as SILENCE
from streams.kernel.log_rows import EVENT, EVENT_COUNT, QUANTITY, SESSION_COUNT, TEMPLATE, WARNING_COUNT, WORD
from streams.kernel.log_signals import PROCESS
from tests.streams.arc import at, cut, log, signals

RULES = DetectRules(
    signal_partitions=2,
    bank=BankSettings(lateness_nanos=NANOS // 2),
    process_learning=300 * NANOS,
    session_idle=5 * NANOS,
)


def event(seconds: float, name: str, **said: AttributeValue) -> LogRecord:
    attributes = {key.replace("__", "."): value for key, value in said.items()}
    return log(seconds, event=name).model_copy(update={"attributes": attributes})


def start(seconds: float, pid: int, image: str, parent: int, parent_image: str) -> LogRecord:
    return event(
        seconds,
        "process.start",
        process__pid=pid,
        process__executable__path=image,
        process__parent_pid=parent,
        process__parent__executable=parent_image,
        process__owner="root",
    )


def told(records: Sequence[LogRecord], rules: DetectRules = RULES, cuts: Sequence[int] = ()) -> list[Signal]:
    kernel = LogDetect(rules, 0)
    return signals([output for part in cut(RAW_LOGS, records, cuts) for output in kernel.take(RAW_LOGS, part)])


JOBS = ("/usr/bin/date", "/usr/bin/find", "/usr/bin/gzip")
BASH, PAYLOAD = "/usr/bin/bash", "/home/ann/downloads/invoice"


def connect(seconds: float, pid: int, image: str, port: int) -> LogRecord:
    return event(
        seconds, "network.connection", process__pid=pid, process__executable__path=image, network__peer__port=port
    )


CALM: list[LogRecord] = [
    record
    for t in range(400)
    for record in (
        start(t, 1000 + t, JOBS[t % 3], 1, "/usr/sbin/cron"),
        start(t + 0.1, 2000 + t, BASH, 1, "/usr/sbin/sshd"),
        connect(t + 0.2, 2000 + t, BASH, 443),
    )
]
INTRUDER: list[LogRecord] = [
    start(400, 5000, PAYLOAD, 1, "/usr/sbin/sshd"),
    connect(401, 5000, PAYLOAD, 4444),
    start(402, 5001, "/usr/bin/whoami", 5000, PAYLOAD),
]


def test_a_process_unlike_all_before_is_told_with_what_is_rare_about_it() -> None:
    (found, *more) = [one for one in told([*CALM, *INTRUDER]) if one.name == PROCESS]
    assert found.attributes["process.executable.path"] == PAYLOAD
    # Where it came from was not yet enough; that it called out on a port that nothing else uses was.
    assert (found.kind, found.state, found.time_unix_nano) == ("log", "firing", at(401))
    assert any("home/*/downloads, never seen in 800" in reason for reason in found.reasons)
    assert "port it connects to: 4444, never seen in 400" in found.reasons
    assert found.p_value is not None
    assert found.p_value < 0.01
    # Its child inherits, and is told as a process of its own.
    assert [one.attributes["process.executable.path"] for one in more] == ["/usr/bin/whoami"]


def test_a_clock_that_says_1970_stops_nothing() -> None:
    early = event(0, "deployment.started").model_copy(update={"time_unix_nano": 1})
    (noted,) = told([early])
    assert (noted.time_unix_nano, noted.release_unix_nano) == (1, 1)


def test_while_it_learns_what_is_calm_no_process_is_told() -> None:
    learning = replace(RULES, process_learning=500 * NANOS)
    assert [one for one in told([*CALM, *INTRUDER], learning) if one.name == PROCESS] == []
    # What it never learned it does not judge: here every other process is new in every way.
    strange: list[LogRecord] = [start(t, t, f"/opt/a{chr(97 + t % 26)}/x{t}", t + 1, f"/srv/y{t}") for t in range(400)]
    assert [one for one in told([*strange, *INTRUDER]) if one.name == PROCESS] == []


def falco(seconds: float, pid: int, path: str, parent: str) -> LogRecord:
    return event(seconds, "execve", proc__pid=pid, proc__exepath=path, proc__ppid=1, proc__pname=parent)


def sysmon(seconds: float, process: str, path: str, parent: str) -> LogRecord:
    said: dict[str, AttributeValue] = {"ProcessGuid": process, "Image": path, "ParentProcessGuid": "p"}
    return event(seconds, "ProcessCreate", ParentImage=parent, User="NT AUTHORITY\\SYSTEM", **said)


@pytest.mark.parametrize("system", ["falco", "sysmon"])
def test_falco_and_sysmon_say_it_in_their_own_names(system: str) -> None:
    def started(seconds: float, number: int, path: str, parent: str) -> LogRecord:
        return falco(seconds, number, path, parent) if system == "falco" else sysmon(seconds, str(number), path, parent)

    # Of 60 thousand, so that a start alone is rare enough.
    calm: list[LogRecord] = [started(i / 100, i, JOBS[i % 3], ("cron", "sh")[i % 2]) for i in range(40_000)]
    odd = started(400, 90_000, "/tmp/.x/miner", "cron")
    assert [one.attributes["process.executable.path"] for one in told([*calm, odd]) if one.name == PROCESS] == [
        "/tmp/.x/miner"
    ]


def test_an_event_that_does_not_say_of_which_process_is_only_counted() -> None:
    assert told([event(t, "process.start", process__executable__path="/bin/x") for t in range(400)]) == []


def test_a_process_of_which_nothing_more_is_said_is_no_longer_told() -> None:
    later = log(402 + TOLD_FOR / NANOS, "still here")
    told_of = [one for one in told([*CALM, *INTRUDER, later]) if one.name == PROCESS]
    assert [one.state for one in told_of] == ["firing", "firing", "adapted", "adapted"]
    assert {one.subject for one in told_of[:2]} == {one.subject for one in told_of[2:]}


def session(seconds: float, name: int, lines: Sequence[str]) -> list[LogRecord]:
    return [
        log(seconds + i / 10, line).model_copy(update={"attributes": {"session.id": f"s{name}"}})
        for i, line in enumerate(lines)
    ]


USUAL = ("opened", "reading the order", "writing the order", "closed")
# All of it is known; the order is not, and things are missing and too many.
ODD = ("closed", "writing the order", "writing the order", "opened", "opened", "writing the order")


def shop(*, odd: int) -> list[LogRecord]:
    found = [record for t in range(175) for record in session(t, t, USUAL)]
    found += [record for t in range(odd) for record in session(150.45 + t, 1000 + t, ODD)]
    return sorted(found, key=lambda record: record.time_unix_nano)


def test_sessions_unlike_those_before_are_told_when_they_are_several() -> None:
    found = [one for one in told(shop(odd=5)) if one.name == SESSION_COUNT]
    assert found[0].state == "firing"
    assert at(155) < found[0].time_unix_nano < at(163)
    (quote,) = [reason for reason in found[0].reasons if reason.startswith("unusual session")]
    assert '"closed"' in quote
    assert [one for one in told(shop(odd=1)) if one.name == SESSION_COUNT] == []


def test_a_session_that_is_still_open_is_told_when_nothing_to_come_can_make_it_usual() -> None:
    never = ("refused", "there is no such order", "rolled back")
    calm = [record for t in range(200) for record in session(t, t, USUAL)]
    odd = [record for t in range(4) for record in session(200 + t, 1000 + t, never)]
    found = [one for one in told([*calm, *odd, log(204.4)]) if one.name == SESSION_COUNT]
    # Sessions end after five seconds of silence; nobody waited for that.
    assert [one.state for one in found] == ["firing"]
    assert found[0].time_unix_nano < at(205)


def test_a_kind_of_event_never_heard_is_judged_from_the_first_on() -> None:
    calm: list[LogRecord] = [log(t, f"served {t}") for t in range(40)]
    new = [event(40 + i / 4, "db.query.killed", db__system="postgresql") for i in range(24)]
    (found,) = told([*calm, *new])
    assert (found.name, found.attributes) == (EVENT_COUNT, {EVENT: "db.query.killed"})
    assert any("new here" in reason for reason in found.reasons)


def test_more_warnings_than_usual_are_told_whatever_they_say() -> None:
    words = ("alpha", "beta", "gamma", "delta")
    records: list[LogRecord] = [log(t, f"{words[t % 4]} is slow", 13) for t in range(60)]
    records += [log(60 + i / 40, f"{words[i % 4]} is slow", 13) for i in range(200)]
    assert WARNING_COUNT in {one.name for one in told(records)}


def test_a_measured_quantity_that_moves_is_told_and_a_number_that_is_a_name_is_not() -> None:
    def line(t: int, seconds: float) -> LogRecord:
        return log(t / 4, f"order {t * 1000} of {t} served in {seconds * (1 + t % 7 / 50):.3f}s")

    calm, slow = [line(t, 0.2) for t in range(240)], [line(t, 2.0) for t in range(240, 280)]
    assert told(calm) == []
    fired = [one for one in told([*calm, *slow]) if one.state == "firing"]
    assert [(one.name, one.attributes[WORD]) for one in fired] == [(QUANTITY, 7)]
    assert fired[0].observed == pytest.approx(2.0, rel=0.2)
    assert fired[0].expected == pytest.approx(0.2, rel=0.2)
    assert fired[0].attributes[TEMPLATE] == "order <*> of <*> served in <*>"


def heartbeat(until: int, *, every: int = 10, after: int = 0, other: bool = True) -> list[LogRecord]:
    beats = [log(t, f"heartbeat {t}") for t in range(0, until, every)] + ([log(after, "heartbeat 0")] if after else [])
    rest = [log(t + 0.5, f"served {t} in 3 ms") for t in range(800 if other else until)]
    return sorted([*beats, *rest], key=lambda record: record.time_unix_nano)


def test_a_template_that_came_regularly_and_comes_no_more_is_told_and_told_again_when_it_is_back() -> None:
    fired, cleared = told(heartbeat(600, after=790))
    assert (fired.name, fired.state, cleared.state) == (SILENCE, "firing", "cleared")
    assert fired.reasons[0].startswith('"heartbeat <*>": said every 10 s, silent for ')
    # Twelve gaps: of all templates together one falls silent in ten days by chance.
    assert at(590 + 120) < fired.time_unix_nano < at(590 + 140)
    assert fired.p_value is not None
    assert fired.p_value < 1e-4
    assert cleared.time_unix_nano == at(790)


def test_silence_of_all_an_instance_says_is_silence_of_the_instance() -> None:
    assert told([*heartbeat(600, other=False), *(log(t, "x", service="other") for t in range(600, 900))]) == []


def test_what_comes_irregularly_may_stay_away() -> None:
    # In bursts, ever longer apart: a mean gap of a few seconds, and a coefficient of variation far above one.
    bursts = [log(burst * 60 + i / 2, f"batch {i} done") for burst in range(20) for i in range(8)]
    rest = [log(t + 0.25, f"served {t} in 3 ms") for t in range(2000)]
    assert SILENCE not in {one.name for one in told(sorted([*bursts, *rest], key=lambda r: r.time_unix_nano))}


EVERYTHING: list[LogRecord] = sorted(
    [*CALM, *INTRUDER, *shop(odd=5), *heartbeat(600, after=790), log(4100, "late")], key=lambda r: r.time_unix_nano
)


@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(cuts=st.lists(st.integers(1, len(EVERYTHING) - 1), max_size=12, unique=True))
def test_how_records_are_cut_into_batches_changes_nothing(cuts: list[int]) -> None:
    whole = told(EVERYTHING)
    assert {PROCESS, SESSION_COUNT, SILENCE} <= {one.name for one in whole}
    assert sorted(told(EVERYTHING, cuts=cuts), key=lambda one: one.id) == sorted(whole, key=lambda one: one.id)


@pytest.mark.parametrize("where", [200, 1100, 1490])
def test_a_restored_kernel_goes_on_byte_for_byte(where: int) -> None:
    first, second = cut(RAW_LOGS, EVERYTHING, [where])
    kernel = LogDetect(RULES, 0)
    kernel.take(RAW_LOGS, first)
    restored = LogDetect(RULES, 0, kernel.snapshot())
    assert signals(restored.take(RAW_LOGS, second)) == signals(kernel.take(RAW_LOGS, second))
    assert restored.snapshot() == kernel.snapshot()
