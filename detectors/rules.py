"""Named rules: what kind of incident the signals of one scope, and the changes before them, speak for.

Called by `detectors.classify`. Each rule is a small function that either cites the signals it holds on or says nothing;
`docs/classes.md` lists them all with the playbooks that serve each class. A rule's precision is the posterior mean of a
Beta distribution whose prior is stated beside the rule; what a rule turned out to be worth is learnt
(`learning.confidence`), and changes how sure it is, never which class it speaks for. No rule rests on what one outside
system says alone: whoever can raise an alert must not choose what is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from schemas.signal import Signal

# How often the class that a rule spoke for turned out right, and how often wrong.
RuleRecord = tuple[float, float]
# What a rule holds on: in words, and the signals themselves.
Found = tuple[list[str], list[Signal]]


@dataclass(frozen=True)
class Evidence:
    """What a rule looks at: one scope's signals by event time, and its recent changes, oldest first."""

    signals: Sequence[Signal]
    changes: Sequence[Signal]

    def rising(self, *families: str) -> list[Signal]:
        """Measurements of these families that went up."""
        return [s for s in self._measured(families) if (s.observed or 0.0) > (s.expected or 0.0)]

    def falling(self, *families: str) -> list[Signal]:
        """Measurements of these families that went down."""
        return [s for s in self._measured(families) if (s.observed or 0.0) < (s.expected or 0.0)]

    @cached_property
    def symptoms(self) -> list[Signal]:
        """What users feel."""
        return self.rising("latency", "errors")

    @cached_property
    def remarks(self) -> list[Signal]:
        """What logs say more of than usual without calling it an error: no sign for one class rather than another."""
        return [s for s in self.signals if s.kind == "log" and s not in self.symptoms]

    @cached_property
    def alarms(self) -> list[Signal]:
        """Alerts of systems that look for intruders."""
        return [s for s in self.signals if _is_security(s)]

    @property
    def lone_instance(self) -> str | None:
        """The one instance that everything abnormal is about, if there is one."""
        instances = {s.entity.instance for s in self.signals}
        return next(iter(instances)) if len(instances) == 1 else None

    def _measured(self, families: Sequence[str]) -> list[Signal]:
        return [s for s in self.signals if s.kind != "alert" and family(s) in families]


@dataclass(frozen=True, slots=True)
class Rule:
    """A named rule. `successes` and `failures` are the prior counts of its precision."""

    name: str
    label: str
    successes: float
    failures: float
    holds: Callable[[Evidence], Found | None]
    most: float = 0.99
    """However often it was right: what can be staged by one who wants something done stays below what is asked for."""

    @property
    def precision(self) -> float:
        return self.successes / (self.successes + self.failures)

    def confidence(self, record: RuleRecord) -> float:
        """Posterior mean of its precision, given how often it was right and wrong."""
        right, wrong = record
        return min(self.most, (self.successes + right) / (self.successes + right + self.failures + wrong))


# By the part of a metric name that says so (OpenTelemetry semantic conventions and the exporters' own names); the first
# that fits counts. What users see: latency, errors. What is asked for: traffic. What is used up: the rest.
_FAMILIES = {
    "retransmits": ("retransmi", "packet_loss", "packets.dropped", "network.dropped", "network.errors"),
    "egress": ("network.io.transmit", "network_transmit_bytes"),
    "node": ("k8s.node.condition",),
    "dependency": ("http.client.", "rpc.client."),
    "queries": ("db.client.operation.duration", "db.client.response", "pg_stat_statements", "slow_queries"),
    "database": (
        "db.client.connection",
        "postgresql.backends",
        "postgresql.locks",
        "postgresql.deadlocks",
        "postgresql.connection",
        "mysql.threads",
        "mysql.locks",
        "mysql.row_locks",
        "mongodb.connection",
        "pg_stat_activity",
        "pg_locks",
    ),
    "latency": ("duration", "latency"),
    "errors": ("error",),
    "traffic": ("request.rate", "request.count", "throughput"),
    "cpu": ("cpu",),
    "memory": ("memory",),
    "processes": ("process.lineage",),
}
# Systems whose alerts are about intruders, as adapters and producers name them in `source`.
_SECURITY_SOURCES = frozenset(
    {"falco", "wazuh", "ossec", "suricata", "snort", "zeek", "tetragon", "crowdstrike", "guardduty", "osquery"}
)
# A technique of MITRE ATT&CK, which rule sets of all of them carry in labels.
_TECHNIQUE = re.compile(r"\bT1\d{3}(?:\.\d{3})?\b")
# What else an intruder cannot help showing: work, traffic, errors, processes. Logs tell of the last two, and who can
# write logs must not choose an action: these rules need an alert of a system that looks for intruders besides.
_TRACES = ("egress", "cpu", "traffic", "errors", "retransmits", "processes")
# Fired and cleared this often within one incident, an alert tells of its own threshold.
_FLAPS = 3


def family(signal: Signal) -> str:
    """Say what a metric measures; `other` where its name does not tell."""
    if signal.attributes.get("network.io.direction") == "transmit":
        return "egress"
    return _named(signal.name)


# Every rule asks this of every signal, and an installation has few metric names: a storm must not wait for it.
@lru_cache(maxsize=4096)
def _named(name: str) -> str:
    low = name.lower()
    return next((found for found, parts in _FAMILIES.items() if any(part in low for part in parts)), "other")


def _is_security(signal: Signal) -> bool:
    if signal.kind != "alert":
        return False
    named = signal.detector.lower() in _SECURITY_SOURCES
    return named or any(_TECHNIQUE.search(str(value)) for value in signal.attributes.values())


def _deployment_regression(evidence: Evidence) -> Found | None:
    """Users get worse service since the last rollout: of one kind of symptom most, if not all, began after it."""
    return None if _is_lone(evidence) else _blamed(evidence)


def _lone_regression(evidence: Evidence) -> Found | None:
    """One witness says that it is worse since the last rollout, and nothing else says that anything is wrong."""
    return _blamed(evidence) if _is_lone(evidence) else None


def _is_lone(evidence: Evidence) -> bool:
    """Whether all there is is one thing that one instance says of itself, however finely it is told apart."""
    return len({signal.witness for signal in evidence.signals}) == 1


def _blamed(evidence: Evidence) -> Found | None:
    """Find the newest rollout that symptoms began after."""
    rollouts = [
        change
        for change in evidence.changes
        if change.name.startswith("deployment.") and change.attributes.get("deployment.kind", "rollout") == "rollout"
    ]
    for rollout in reversed(rollouts):
        since = _begun_with(rollout, evidence)
        if since:
            return _because_of(rollout, since), [rollout, *since]
    return None


def _begun_with(rollout: Signal, evidence: Evidence) -> list[Signal]:
    """Symptoms that the rollout may have caused; none where it found the fault already there."""
    found: list[Signal] = []
    for kind in ("latency", "errors"):
        symptoms = evidence.rising(kind)
        since = [s for s in symptoms if s.onset_unix_nano >= rollout.onset_unix_nano]
        # One series may have wavered before by chance; when most had, it was no other before.
        found += since if 2 * len(since) > len(symptoms) else []
    # A fault that was there may reach one more series by itself; hardly two of a kind that was well.
    before = any(s.onset_unix_nano < rollout.onset_unix_nano for s in evidence.symptoms)
    return [] if before and len({s.subject for s in found}) < 2 else found


def _because_of(rollout: Signal, symptoms: Sequence[Signal]) -> list[str]:
    seconds = (min(s.onset_unix_nano for s in symptoms) - rollout.onset_unix_nano) / 1e9
    version = rollout.attributes.get("service.version", "a new version")
    because = [f"{rollout.name} of {version} {seconds:.1f} s before the first symptom"]
    for kind in ("latency", "errors"):
        found = sum(family(symptom) == kind for symptom in symptoms)
        because += [f"{found} {kind} signals rose since"] if found else []
    return because


def _database_overload(evidence: Evidence) -> Found | None:
    """More sessions or locks than usual, and queries or users wait."""
    busy, waiting = evidence.rising("database"), evidence.rising("queries", "latency", "errors")
    if not busy or not waiting:
        return None
    return [f"{busy[0].name} rose together with {len(waiting)} signals of those who wait"], [*busy, *waiting]


def _segment_compromised(evidence: Evidence) -> Found | None:
    """Intruders are reported on several instances, and measurements show their work."""
    places = {s.entity.instance for s in evidence.alarms} - {None}
    traces = evidence.rising(*_TRACES)
    if len(places) < 2 or not traces:
        return None
    return [f"{evidence.alarms[0].detector} and others report {len(places)} instances", _shown(traces)], [
        *evidence.alarms,
        *traces,
    ]


def _instance_compromised(evidence: Evidence) -> Found | None:
    """Intruders are reported on one instance, and measurements of that instance show their work."""
    places = {s.entity.instance for s in evidence.alarms}
    if len(places) != 1 or None in places:
        return None
    (place,) = places
    traces = [s for s in evidence.rising(*_TRACES) if s.entity.instance == place]
    if not traces or evidence.rising("egress"):
        return None
    return [f"{evidence.alarms[0].detector} reports {evidence.alarms[0].name}", _shown(traces)], [
        *evidence.alarms,
        *traces,
    ]


def _malicious_traffic(evidence: Evidence) -> Found | None:
    """One instance sends more than it ever did, and is reported for it."""
    sending = evidence.rising("egress")
    places = {s.entity.instance for s in (*sending, *evidence.alarms)}
    if not sending or not evidence.alarms or len(places) != 1 or None in places:
        return None
    return [f"{evidence.alarms[0].detector} reports {evidence.alarms[0].name}", _shown(sending)], [
        *evidence.alarms,
        *sending,
    ]


def _instance_stuck(evidence: Evidence) -> Found | None:
    """One instance does less than it did, and makes those wait who are sent to it."""
    idle, symptoms = evidence.falling("traffic"), evidence.symptoms
    if evidence.lone_instance is None or not idle or not symptoms or evidence.rising("memory"):
        return None
    return [f"{idle[0].name} fell at {evidence.lone_instance} alone, {len(symptoms)} symptoms rose"], [
        *idle,
        *symptoms,
    ]


def _memory_pressure(evidence: Evidence) -> Found | None:
    """One instance uses more memory than it did, and those who use it feel that."""
    memory, symptoms = evidence.rising("memory"), evidence.symptoms
    if evidence.lone_instance is None or not memory or not symptoms or evidence.rising("traffic"):
        return None
    return [f"{memory[0].name} rose at {evidence.lone_instance} alone with {len(symptoms)} symptoms"], [
        *memory,
        *symptoms,
    ]


def _instance_fault(evidence: Evidence) -> Found | None:
    """One instance serves worse, in more than one way, and nothing of it is used up."""
    symptoms = evidence.symptoms
    names = {s.name for s in symptoms}
    if (
        evidence.lone_instance is None
        or len(names) < 2
        or len(symptoms) + len(evidence.remarks) < len(evidence.signals)
    ):
        return None
    return [f"{' and '.join(sorted(names))} rose at {evidence.lone_instance} alone"], symptoms


def _node_fault(evidence: Evidence) -> Found | None:
    """Something is wrong with a node, as it says itself, and with what runs there."""
    node = [*evidence.rising("node"), *evidence.falling("node")]
    others = [s for s in evidence.signals if s not in node]
    if evidence.lone_instance is None or not node or not others:
        return None
    return [f"{node[0].name} changed together with {len(others)} other signals of it"], [*node, *others]


def _dependency_failure(evidence: Evidence) -> Found | None:
    """Something this service asks of others went wrong before what is asked of it did."""
    asked = evidence.rising("dependency")
    symptoms = evidence.symptoms
    if not asked or not symptoms:
        return None
    first = min(s.onset_unix_nano for s in asked)
    if any(s.onset_unix_nano < first for s in symptoms):
        return None
    return [f"{asked[0].name} rose first, then {len(symptoms)} symptoms"], [*asked, *symptoms]


def _network_fault(evidence: Evidence) -> Found | None:
    """Packets are lost, and users wait."""
    lost, symptoms = evidence.rising("retransmits"), evidence.symptoms
    if not lost or not symptoms:
        return None
    return [f"{lost[0].name} rose together with {len(symptoms)} symptoms"], [*lost, *symptoms]


def _traffic_surge(evidence: Evidence) -> Found | None:
    """More requests than usual, and users feel it."""
    traffic, latency = evidence.rising("traffic"), evidence.rising("latency")
    if not traffic or not latency:
        return None
    return [f"{len(traffic)} request rates rose together with {len(latency)} latencies"], [*traffic, *latency]


def _resource_exhaustion(evidence: Evidence) -> Found | None:
    """Saturation of CPU or memory, and users feel it."""
    saturation, symptoms = evidence.rising("cpu", "memory"), evidence.symptoms
    if not saturation or not symptoms:
        return None
    return [f"{saturation[0].name} rose together with {len(symptoms)} symptoms"], [*saturation, *symptoms]


def _alert_noise(evidence: Evidence) -> Found | None:
    """Alerts of other systems come and go, and nothing measured here is unusual."""
    alerts = [s for s in evidence.signals if s.kind == "alert"]
    subjects = {s.subject for s in alerts}
    if len(alerts) < len(evidence.signals) or len(alerts) < _FLAPS * len(subjects) or evidence.alarms:
        return None
    return [f"{len(subjects)} alerts fired {len(alerts)} times, and no measurement departed"], alerts


def _shown(traces: Sequence[Signal]) -> str:
    return f"{traces[0].name} departed there too: {traces[0].reasons[0] if traces[0].reasons else 'see the signal'}"


# Priors are worth ten incidents each: what a rule says is soon outweighed by what is seen.
RULES: tuple[Rule, ...] = (
    # A rollout minutes before a regression of the same service is its cause in most post-mortems (Google SRE book,
    # ch. 8 and app. C: about 70 % of outages are due to changes); requiring symptoms after it, at the same service,
    # raises that: nine right of ten.
    Rule("rollout-before-symptoms", "deployment_regression", 9.0, 1.0, _deployment_regression),
    # A bad rollout shows in more than one series; one alone may be one sick instance, or made up by whoever wants a
    # good version gone. Below what the policy asks for by default, so that a person decides.
    Rule("rollout-before-lone-symptom", "deployment_regression", 7.5, 2.5, _lone_regression, most=0.75),
    # Reported and measured, by systems that know nothing of each other, would be eight of ten; but both can be staged
    # by one who wants an instance gone. Below what the policy asks for by default, so that a person decides.
    Rule("intruders-on-several-instances", "segment_compromised", 7.5, 2.5, _segment_compromised, most=0.75),
    Rule("intruder-with-traces", "instance_compromised", 7.5, 2.5, _instance_compromised, most=0.75),
    Rule("reported-sender", "malicious_traffic", 7.5, 2.5, _malicious_traffic, most=0.75),
    # Sessions pile up also behind a slow disk or a lost index, where holding a role back still helps: eight of ten.
    Rule("database-with-waiters", "database_overload", 8.0, 2.0, _database_overload),
    # Traffic and latency rising together may also be retries after a fault elsewhere: seven of ten.
    Rule("traffic-with-latency", "traffic_surge", 7.0, 3.0, _traffic_surge),
    # Less work and more waiting at one instance alone: seven of ten; a load balancer may have turned away from it.
    Rule("idle-with-symptoms", "instance_stuck", 7.0, 3.0, _instance_stuck),
    # One instance's memory, while traffic is what it was: three of four; the rest are leaks that more memory feeds.
    Rule("memory-with-symptoms", "memory_pressure", 7.5, 2.5, _memory_pressure),
    # In these four something else may be the cause of both that are seen: seven of ten.
    Rule("one-instance", "instance_fault", 7.0, 3.0, _instance_fault),
    Rule("node-condition", "node_fault", 7.0, 3.0, _node_fault),
    Rule("dependency-first", "dependency_failure", 7.0, 3.0, _dependency_failure),
    Rule("lost-packets", "network_fault", 7.0, 3.0, _network_fault),
    # CPU rises with most faults: six of ten.
    Rule("saturation-with-symptoms", "resource_exhaustion", 6.0, 4.0, _resource_exhaustion),
    Rule("flapping-alerts", "alert_noise", 6.0, 4.0, _alert_noise),
)
