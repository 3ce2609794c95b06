"""State of many subjects as rows of arrays: what all such states have in common, whatever they are about.

A state is any object whose attributes are numpy arrays with the subject as their first axis, or objects of that kind,
or lists of those. Used by `detectors.base.Streaming` to judge on copies and to rest, and by `detectors.bank_state` to
freeze the live bank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

State = TypeVar("State")
Array = NDArray[Any]
Rows = NDArray[np.intp]


class PackedArray(msgspec.Struct, array_like=True):
    """An array as it lies in memory, little-endian."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def pack(array: Array) -> PackedArray:
    """Little-endian whatever the machine: a snapshot may be read by another one."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return PackedArray(little.dtype.str, little.shape, little.tobytes())


def unpack(packed: PackedArray) -> Array:
    """Return the array that was packed, in the byte order of this machine."""
    array: Array = np.frombuffer(packed.data, np.dtype(packed.dtype)).reshape(packed.shape)
    return array.astype(array.dtype.newbyteorder("="))


def repeated(state: State, count: int) -> State:
    """Return a state of the subjects of `state`, `count` times over."""
    made: State = _mapped(state, lambda array: np.tile(array, (count, *[1] * (array.ndim - 1))))
    return made


def grown(state: State, blank: State) -> State:
    """Return a state whose subjects are those of `state` and, after them, those of `blank`."""
    others = dict(_arrays(blank))
    made: State = _mapped(state, lambda array: array)
    for path, array in list(_arrays(made)):
        _set(made, path, np.concatenate((array, others[path])))
    return made


def assign(state: Any, rows: Rows, blank: Any) -> None:
    """Make `rows` what the one subject of `blank` is."""
    others = dict(_arrays(blank))
    for path, array in _arrays(state):
        array[rows] = others[path]


def freeze_rows(state: Any) -> bytes:
    """All arrays of a state."""
    return msgspec.msgpack.encode({".".join(path): pack(array) for path, array in _arrays(state)})


def thaw_rows(state: Any, frozen: bytes) -> None:
    """Put the arrays that were frozen into a state of the same make."""
    arrays = msgspec.msgpack.decode(frozen, type=dict[str, PackedArray])
    for path, _ in list(_arrays(state)):
        _set(state, path, unpack(arrays[".".join(path)]))


def _arrays(state: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Array]]:
    for name, value in _members(state):
        if isinstance(value, np.ndarray):
            yield (*path, name), value
        elif isinstance(value, list) or hasattr(value, "__dict__"):
            yield from _arrays(value, (*path, name))


def _members(state: Any) -> list[tuple[str, Any]]:
    if isinstance(state, list):
        return [(str(at), value) for at, value in enumerate(state)]
    return list(vars(state).items())


def _set(state: Any, path: tuple[str, ...], array: Array) -> None:
    *owners, name = path
    for owner in owners:
        state = state[int(owner)] if isinstance(state, list) else getattr(state, owner)
    setattr(state, name, array)


def _mapped(state: Any, change: Callable[[Array], Array]) -> Any:
    if isinstance(state, np.ndarray):
        return change(state)
    if isinstance(state, list):
        return [_mapped(value, change) for value in state]
    if not hasattr(state, "__dict__"):
        return state
    made = copy(state)
    for name, value in vars(state).items():
        setattr(made, name, _mapped(value, change))
    return made
