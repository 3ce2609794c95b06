"""Every exception ReflexArc raises on purpose, as one tree.

* ReflexArcError
  x ConfigurationError          a setting, playbook or file is wrong; the message says which and what to do
  x EmbeddedPartError           the embedded broker or Valkey did not start
  x RecordError                 this record cannot be used; it goes to the dead letters with its `reason`
  x PermanentError              trying again cannot help
    + RefusedError              a guard said no; the reason is for people
    + NotServedError            the target is none of this system's; another may know it
  x TemporaryError              trying again after `delay` seconds may help
    + LeaseLostError            another executor holds this action now; stop at once

What is none of these is a bug, and is treated as permanent: detection dead-letters the record and goes on,
execution stops and escalates.
"""

from __future__ import annotations

from enum import StrEnum


class ReflexArcError(Exception):
    """Root of the tree."""


class ConfigurationError(ReflexArcError):
    """A setting, playbook or file is wrong."""


class EmbeddedPartError(ReflexArcError):
    """The embedded broker or Valkey server did not start or died."""


class Rejection(StrEnum):
    """Why a record went to the dead letters. Stable words: people alert and filter on them."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    MISSING_KEY = "missing_key"
    INVALID_ENCODING = "invalid_encoding"
    INVALID_JSON = "invalid_json"
    UNKNOWN_VERSION = "unknown_version"
    INVALID_SCHEMA = "invalid_schema"
    PROCESSING_FAILED = "processing_failed"


class RecordError(ReflexArcError):
    """A record that cannot be used.

    Attributes:
        reason: the class of fault, from a closed set.
        detail: what exactly was wrong, for a person; never contains more than 500 characters of the input.

    """

    def __init__(self, reason: Rejection, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail[:500]


class PermanentError(ReflexArcError):
    """Trying again cannot help."""


class RefusedError(PermanentError):
    """A guard said no."""


class NotServedError(PermanentError):
    """The target is none of the system's that was asked about it; another may know it."""


class TemporaryError(ReflexArcError):
    """Trying again after `delay` seconds may help."""

    def __init__(self, message: str, *, delay: float = 1.0) -> None:
        super().__init__(message)
        self.delay = delay


class LeaseLostError(TemporaryError):
    """Another executor took this action over; whoever sees this must not touch the target any more."""
