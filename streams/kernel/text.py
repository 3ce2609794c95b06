"""Text from outside made fit for people: one line, printable, short."""

from __future__ import annotations

# About two lines of a terminal: enough to recognise an error by.
MAX_SAID = 200


def one_line(text: str) -> str:
    """Cut to `MAX_SAID` characters without control characters: nothing in a log may steer a terminal or a page."""
    # The last line of a traceback names the exception; its first says only where it was caught.
    lines = [line.strip() for line in text[: 64 * 1024].splitlines() if line.strip()]
    if not lines:
        return ""
    told = lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"
    clean = "".join(c if c.isprintable() else " " for c in told)
    return clean if len(clean) <= MAX_SAID else clean[: MAX_SAID - 1] + "…"
