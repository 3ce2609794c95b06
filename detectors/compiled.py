"""Loops over rows: run as Python at first, as machine code once enough has gone through them to be worth it.

Compiled, a loop does not hold Python's lock: records are fetched and passed on while it judges.

A tick over a few hundred series is some hundred numpy calls long, each of which does next to nothing: the calls are
what it costs. A loop over the rows costs next to nothing once it is compiled. Importing Numba and compiling take
seconds of processor time, once a process (less when what was compiled is cached on disk); who judges little never pays.

The same source either way, and the same arithmetic in the same order, so that results are equal to the last bit. For
that a loop takes its floats out of arrays as Python's (`float`), uses `math` for what is beyond arithmetic, and gives
no division a zero to divide by.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from queue import SimpleQueue
from threading import Event, Lock, Thread
from types import CodeType, FunctionType
from typing import Any, cast

log = logging.getLogger(__name__)

# As Python a row takes some ten microseconds, compiled less than one: by then that has cost half a second.
WORTH_ROWS = 30_000

_loops: list[Loop] = []


class Loop:
    """A function whose first argument is the `[n]` rows that it goes through."""

    def __init__(self, function: Callable[..., Any], parts: tuple[Callable[..., Any], ...]) -> None:
        self._python = function
        self._parts = parts
        self._compiled: Callable[..., Any] | None = None
        self._rows = 0
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        _loops.append(self)

    def __call__(self, rows: Any, *others: Any) -> Any:
        """Run it."""
        if self._compiled is not None:
            return self._compiled(rows, *others)
        before = self._rows
        self._rows += len(rows)
        if before < WORTH_ROWS <= self._rows:
            beside(partial(self._compile, (rows, *others)))
        return self._python(rows, *others)

    def worth_it(self) -> None:
        """Let the next row be the one that makes it worth to compile."""
        self._rows = max(self._rows, WORTH_ROWS - 1)

    def _compile(self, arguments: tuple[Any, ...]) -> None:
        """Compile it for arguments of these types."""
        try:
            from numba import typeof  # noqa: PLC0415 - takes a second, and few need it

            made: dict[str, Any] = {}
            for part in (*self._parts, self._python):
                made[part.__name__] = jit(part, made)
            compiled = made[self.__name__]
            compiled.compile(tuple(map(typeof, arguments)))
        except Exception:  # whatever keeps it from compiling: as Python it says the same
            log.exception("%s stays slow: it was not compiled", self.__name__)
        else:
            self._compiled = compiled


def loop(*parts: Callable[..., Any]) -> Callable[[Callable[..., Any]], Loop]:
    """Make a loop of a function that calls these functions; a part may call those before it."""
    return lambda function: Loop(function, parts)


def ensure(run: Callable[[], object]) -> None:
    """Compile every loop that `run` calls, now: for whoever measures, or tests that it makes no difference."""
    for one in _loops:
        one.worth_it()
    run()
    settle()


def settle() -> None:
    """Return when everything is compiled that is worth it by now."""
    done = Event()
    beside(done.set)
    done.wait()


class _Beside:
    """One thread for what is to be compiled, one thing after the other. A process that ends does not wait for it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._work: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._thread: Thread | None = None

    def __call__(self, work: Callable[[], object]) -> None:
        """Have it done, which must not raise, when what was asked for before is done."""
        self._work.put(work)
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._run, name="compile", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._work.get()()


beside = _Beside()


def jit(function: Callable[..., Any], made: Mapping[str, Any] | None = None) -> Any:
    """Have a function compiled on its first call; what has been `made` of others it calls instead of them.

    It runs beside Python's lock: what it is given, no other thread may touch meanwhile.

    What was compiled is kept beside the source or in the user's cache, where there is such a place. Numba looks for it
    by the function's name and the age of its file. That says nothing of what comes from other files, constants above
    all, nor of Python's lock, so that all of it is made a part of the name.
    """
    from numba import njit  # noqa: PLC0415 - takes a second, and few need it

    original = cast(FunctionType, function)
    names = original.__globals__ if made is None else {**original.__globals__, **made}
    clone = FunctionType(original.__code__, names, original.__name__, original.__defaults__)
    clone.__module__ = original.__module__
    clone.__qualname__ = f"{original.__qualname__}_nogil_{_digest(original.__code__, names)}"
    try:
        return njit(cache=True, nogil=True)(clone)
    except RuntimeError:  # a system that nothing can be written to
        return njit(nogil=True)(clone)


def _digest(code: CodeType, names: Mapping[str, Any]) -> str:
    """Tell apart what a function does, its constants and what it calls included."""
    used = {name: names[name] for name in code.co_names if name in names}
    plain = {name: value for name, value in used.items() if isinstance(value, (bool, int, float, str, tuple))}
    called = {name: value.py_func.__qualname__ for name, value in used.items() if hasattr(value, "py_func")}
    constants = [one.co_code if isinstance(one, CodeType) else one for one in code.co_consts]
    return sha256(repr((code.co_code, constants, plain, called)).encode()).hexdigest()[:16]
