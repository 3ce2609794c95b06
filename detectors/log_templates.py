"""Templates of log lines: what a service says, with what varies in it left out.

Called by `streams.kernel.detect_logs` for every line; it counts each template as a series of its own. The method is
Drain (He, Zhu, Zheng and Lyu, ICWS 2017): lines of as many words and the same first word are compared word by word, and
a line belongs to the template that it shares most words with, if those are enough.

Written here and not taken from `drain3`, because what it remembers must survive a restart without unpickling what lies
on a topic, be bounded whatever is sent, and give the same names when records are read again; its last release pins
libraries of 2021. `python -m benchmarks.log_templates` compares the two.

A word with a digit in it is a parameter. Severities are kept apart: an error that reads like a success is another
template. A template keeps the name it was given when it was first seen, however much is left out of it later.
"""

from __future__ import annotations

import re
from enum import IntEnum

import msgspec

from detectors.log_parameters import quantity_of

PARAMETER = "<*>"
OTHER = "<other>"
# Lines are compared by their beginnings: what is longer than this are dumps and payloads.
MAX_CHARACTERS = 512
MAX_WORDS = 48
# Half of the words: below it lines of unlike meaning meet ("connected to <*>", "lost <*>").
ENOUGH = 0.5
# Spellings with nothing but their digits left out, remembered per service so that a line costs one look-up.
MAX_SPELLINGS = 1024
# OpenTelemetry's severity numbers: 13 to 16 is WARN, 17 to 20 ERROR, above FATAL.
WARN_SEVERITY = 13
ERROR_SEVERITY = 17

_DIGITS = re.compile(r"\d+")


class Band(IntEnum):
    """How bad a line says it is."""

    INFO = 0  # and what is milder, or does not say
    WARN = 1
    ERROR = 2

    @classmethod
    def of(cls, severity_number: int) -> Band:
        """Return the band of one of OpenTelemetry's severity numbers."""
        if severity_number >= ERROR_SEVERITY:
            return cls.ERROR
        return cls.WARN if severity_number >= WARN_SEVERITY else cls.INFO


class Template(msgspec.Struct):
    """Lines that differ in nothing but parameters."""

    number: int  # never given out twice
    text: str  # as it was when first seen
    band: int
    known_nanos: int  # for how long its service had been heard when it was first seen
    words: list[str]
    quantity: int = -1
    """Which word is a measured quantity (`detectors.log_parameters`); -1 where none is."""


class _Service(msgspec.Struct):
    since_unix_nano: int
    templates: list[Template] = []


class _Saved(msgspec.Struct):
    count: int
    services: dict[str, _Service]


_Leaf = tuple[int, int, str]


class _Index:
    """Where to find the templates of a service; made again from them after a restart."""

    def __init__(self, service: _Service) -> None:
        self.service = service
        self.leaves: dict[_Leaf, list[Template]] = {}
        self.spellings: dict[tuple[int, str], Template] = {}
        for template in service.templates:
            self.leaves.setdefault(_leaf(template.band, template.words), []).append(template)


class TemplateMiner:
    """Templates of up to `max_services` services; of more, the one longest silent is forgotten.

    >>> miner = TemplateMiner(max_services=100)
    >>> first = miner.learn("prod/shop", 9, "order 17 of alice paid", 0)
    >>> again = miner.learn("prod/shop", 9, "order 18 of bob paid", 1)
    >>> first is again, first.text, " ".join(first.words)
    (True, 'order <*> of alice paid', 'order <*> of <*> paid')
    """

    def __init__(self, max_services: int, max_templates: int = 256, state: bytes | None = None) -> None:
        """Begin, or go on from what `freeze` returned.

        Args:
            max_services: services remembered.
            max_templates: templates of one service; what would be more is counted together as `<other>`.
            state: of another miner.

        """
        self._max_services, self._max_templates = max_services, max_templates
        saved = _Saved(0, {}) if state is None else msgspec.msgpack.decode(state, type=_Saved)
        self._count = saved.count
        self._services = {scope: _Index(service) for scope, service in saved.services.items()}

    def freeze(self) -> bytes:
        """State to go on from."""
        services = {scope: index.service for scope, index in self._services.items()}
        return msgspec.msgpack.encode(_Saved(self._count, services))

    def learn(self, scope: str, severity_number: int, body: str, time_unix_nano: int) -> Template:
        """Return the template of a line, a new one if there is none."""
        index = self._heard(scope, time_unix_nano)
        band = Band.of(severity_number)
        spelling = _DIGITS.sub("0", body[:MAX_CHARACTERS])
        known = index.spellings.get((band, spelling))
        if known is None:
            known = self._match(index, band, _words(spelling), body, time_unix_nano)
            if len(index.spellings) >= MAX_SPELLINGS:
                index.spellings.clear()
            index.spellings[band, spelling] = known
        return known

    def text(self, scope: str, number: int) -> str:
        """Text of a template of a service; empty where it is not known any more. Costs a look at each."""
        index = self._services.get(scope)
        known = () if index is None else index.service.templates
        return next((template.text for template in known if template.number == number), "")

    def known_nanos(self, scope: str, now: int) -> int:
        """For how long a service has been heard."""
        index = self._services.get(scope)
        return 0 if index is None else max(0, now - index.service.since_unix_nano)

    def _heard(self, scope: str, now: int) -> _Index:
        # The order of the dictionary is that of hearing, so that the first is the one longest silent.
        index = self._services.pop(scope, None)
        if index is None:
            if len(self._services) >= self._max_services:
                del self._services[next(iter(self._services))]
            index = _Index(_Service(now, []))
        self._services[scope] = index
        return index

    def _match(self, index: _Index, band: Band, words: list[str], body: str, now: int) -> Template:
        leaf = index.leaves.setdefault(_leaf(band, words), [])
        best = max(leaf, key=lambda template: _shared(template.words, words), default=None)
        if best is not None and _shared(best.words, words) >= ENOUGH * len(words):
            self._widen(index, best, words)
            return best
        service = index.service
        if len(service.templates) >= self._max_templates:
            leaf, words = index.leaves.setdefault(_leaf(band, [OTHER]), []), [OTHER]
            if leaf:
                return leaf[0]
        self._count += 1
        text = " ".join(words) or "<empty>"
        made = Template(self._count, text, band, max(0, now - service.since_unix_nano), words)
        made.quantity = -1 if words == [OTHER] else quantity_of(body[:MAX_CHARACTERS])
        service.templates.append(made)
        leaf.append(made)
        # What was most like another template before may be most like this one now.
        index.spellings.clear()
        return made

    def _widen(self, index: _Index, template: Template, words: list[str]) -> None:
        merged = [mine if mine == new else PARAMETER for mine, new in zip(template.words, words, strict=True)]
        if merged != template.words:
            template.words = merged
            index.spellings.clear()


def _words(spelling: str) -> list[str]:
    # All digits are zeros by now. What cannot be printed must not get into a name.
    words = spelling.split(maxsplit=MAX_WORDS)[:MAX_WORDS]
    return [PARAMETER if "0" in word or not word.isprintable() else word for word in words]


def _leaf(band: int, words: list[str]) -> _Leaf:
    return (band, len(words), words[0] if words else "")


def _shared(one: list[str], other: list[str]) -> int:
    return sum(map(str.__eq__, one, other))
