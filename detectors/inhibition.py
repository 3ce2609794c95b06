"""Inhibition as Alertmanager has it: while one thing fires, another that follows from it is not worth telling.

Called by `streams.kernel.correlate` for every signal. A rule names what inhibits (`source_matchers`), what is
inhibited (`target_matchers`), and the labels that both must share (`equal`). The labels of a signal are its attributes,
and what it is about under the names that people use: `alertname` of an alert, `name`, `kind`, `environment`, `service`,
`instance`. A label that is not there is empty, as in Alertmanager; so two signals that both lack one share it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.errors import ConfigurationError
from schemas.signal import Signal

_MATCHER = re.compile(r"\s*([^\s=!~{},\"']+)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)

Labels = Mapping[str, str]
# Environment, number of the rule, values of the labels that must be equal.
_Key = tuple[str, int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label: `name=value`, `name!=value`, `name=~regex`, `name!~regex` (anchored)."""

    text: str
    name: str
    holds: Callable[[str], bool]

    def matches(self, labels: Labels) -> bool:
        return self.holds(labels.get(self.name, ""))


@dataclass(frozen=True, slots=True)
class Rule:
    """While something that matches `sources` fires, what matches `targets` and shares the `equal` labels is muted."""

    sources: tuple[Matcher, ...]
    targets: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """Say why something is muted by it."""
        same = f" with the same {', '.join(self.equal)}" if self.equal else ""
        return f"while {', '.join(matcher.text for matcher in self.sources)} fires{same}"[:1024]


def matcher(text: str) -> Matcher:
    """Read a matcher as Alertmanager writes it; the value may be quoted.

    >>> matcher('severity=~"warning|info"').matches({"severity": "info"})
    True

    Raises:
        ConfigurationError: it is none.

    """
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise ConfigurationError(f'not a matcher: {text!r}; write name="value", name!="value", name=~"regex" or !~')
    name, operator, value = found.groups()
    quoted = _QUOTED.fullmatch(value)
    wanted = value if quoted is None else re.sub(r"\\(.)", r"\1", quoted[1]) if operator[-1] == "=" else quoted[1]
    return Matcher(text.strip(), name, _condition(text, operator, wanted))


def _condition(text: str, operator: str, wanted: str) -> Callable[[str], bool]:
    if operator == "=":
        return lambda value: value == wanted
    if operator == "!=":
        return lambda value: value != wanted
    try:
        pattern = re.compile(wanted)
    except re.error as error:
        raise ConfigurationError(f"not a regular expression: {text!r}: {error}") from None
    if operator == "=~":
        return lambda value: pattern.fullmatch(value) is not None
    return lambda value: pattern.fullmatch(value) is None


def labels_of(signal: Signal) -> dict[str, str]:
    """Return what matchers look at. What a signal is about cannot be said otherwise by its attributes."""
    entity = signal.entity
    own = {
        "name": signal.name,
        "kind": signal.kind,
        "environment": entity.environment,
        "service": entity.service,
        "instance": entity.instance or "",
    }
    if signal.kind == "alert":
        own["alertname"] = signal.name
    return {name: str(value) for name, value in signal.attributes.items()} | own


@dataclass(slots=True)
class _Group:
    """What fires under one key. A subject on both sides is not inhibited by others on both sides, nor by itself."""

    sources: set[str] = field(default_factory=set)
    both: set[str] = field(default_factory=set)
    targets: dict[str, str] = field(default_factory=dict)  # subject -> scope

    def state(self) -> tuple[bool, bool]:
        """Whether anything fires that inhibits a mere target, and one that is a source, too."""
        return bool(self.sources), len(self.sources) > len(self.both)

    def inhibits(self, subject: str) -> bool:
        return self.state()[subject in self.both]


class Inhibitions:
    """Who inhibits whom now: a fold of the signals, as large as what fires.

    >>> rule = Rule((matcher("alertname=NodeDown"),), (matcher("kind=alert"),), ("node",))
    >>> Inhibitions([rule]).rules[0].said
    'while alertname=NodeDown fires with the same node'

    """

    def __init__(self, rules: Sequence[Rule], firing: Iterable[Signal] = ()) -> None:
        """Begin with what fires already, in any order."""
        self.rules = rules
        self._groups: dict[_Key, _Group] = {}
        self._keys: dict[str, tuple[_Key, ...]] = {}
        for signal in firing:
            self.turn(signal)

    def turn(self, signal: Signal) -> dict[str, str]:
        """Note that a subject fires or no longer does; returns the others that this concerns, with their scopes."""
        if not self.rules:
            return {}
        touched = {key: self._groups[key].state() for key in self._keys.get(signal.subject, ())}
        self._drop(signal.subject)
        if signal.state == "firing":
            for key, is_source, is_target in self._sides(signal):
                group = self._groups.setdefault(key, _Group())
                touched.setdefault(key, group.state())
                if is_source:
                    group.sources.add(signal.subject)
                if is_target:
                    group.targets[signal.subject] = signal.entity.scope
                if is_source and is_target:
                    group.both.add(signal.subject)
                self._keys[signal.subject] = (*self._keys.get(signal.subject, ()), key)
        found: dict[str, str] = {}
        for key, before in touched.items():
            group = self._groups.get(key, _Group())
            if group.state() != before:
                found |= group.targets
            if not group.sources and not group.targets:
                self._groups.pop(key, None)
        found.pop(signal.subject, None)
        return dict(sorted(found.items()))

    def by(self, subject: str) -> str | None:
        """Return the first rule that mutes a subject that fires, in words."""
        muting = [key for key in self._keys.get(subject, ()) if self._mutes(key, subject)]
        return self.rules[min(muting, key=lambda key: key[1])[1]].said if muting else None

    def _mutes(self, key: _Key, subject: str) -> bool:
        group = self._groups[key]
        return subject in group.targets and group.inhibits(subject)

    def _sides(self, signal: Signal) -> Iterable[tuple[_Key, bool, bool]]:
        labels = labels_of(signal)
        for number, rule in enumerate(self.rules):
            is_source = all(one.matches(labels) for one in rule.sources)
            is_target = all(one.matches(labels) for one in rule.targets)
            if is_source or is_target:
                shared = tuple(labels.get(name, "") for name in rule.equal)
                yield (signal.entity.environment, number, shared), is_source, is_target

    def _drop(self, subject: str) -> None:
        for key in self._keys.pop(subject, ()):
            group = self._groups[key]
            group.sources.discard(subject)
            group.both.discard(subject)
            group.targets.pop(subject, None)
