"""One incident or alert of some history, whatever system it was exported from.

Made by `streams.histories` from files and topics, read by `learning.assess`. Times are event times; what an export
does not say stays empty and is not guessed here.
"""

from __future__ import annotations

import re

from schemas.envelope import Model, TimeUnixNano
from schemas.raw import Severity

# What differs between two occurrences of the same thing: identities, addresses, numbers, and names ending in them.
_VARYING = re.compile(
    r"""
    [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}   # a UUID
    | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b                         # an IPv4 address
    | \b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,}\b            # a hash
    | (?<=[-_/#])[0-9a-z]*\d[0-9a-z]*\b                            # the end of a generated name: pod-7d9f
    | \d+(?:[.,:]\d+)*                                             # a number, a version, a time of day
    """,
    re.IGNORECASE | re.VERBOSE,
)
_REPEATED = re.compile(r"<\*>(?:[-_/.:% ]*<\*>)+")
WILDCARD = "<*>"


class Occurrence(Model):
    """One thing that happened and that somebody, or something, was told about."""

    id: str
    title: str
    environment: str = "default"
    service: str = "unknown"
    severity: Severity = "medium"
    started_unix_nano: TimeUnixNano
    acknowledged_unix_nano: TimeUnixNano | None = None
    ended_unix_nano: TimeUnixNano | None = None
    label: str = ""
    """Its class, where the source knows it."""
    resolution: str = ""
    """What was done about it, in the words of whoever did it."""


def template(title: str) -> str:
    """Mask what varies in a title, so that two occurrences of the same thing have the same.

    >>> template("Pod checkout-7d9f4 restarted 12 times on 10.0.3.7")
    'Pod checkout-<*> restarted <*> times on <*>'
    """
    return _REPEATED.sub(WILDCARD, _VARYING.sub(WILDCARD, " ".join(title.split())))
