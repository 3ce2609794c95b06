"""All settings as a page of Markdown: `docs/settings.md`.

Printed by `reflexarc settings` from the models of the settings and the docstring after each field, so that the page
cannot say anything else than the code does. `rows` is the same as data.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AwareDatetime, BaseModel, HttpUrl, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from streams.settings import Settings

PREAMBLE = """\
# Settings

What `reflexarc settings` prints. Do not edit.

A setting `group.field` is the environment variable `REFLEXARC_GROUP__FIELD`, each dot two underscores, or `field` in
the table `[group]` of a TOML file: `reflexarc.toml` in the working directory, or the path in `REFLEXARC_CONFIG`. A
variable wins over the file. `group.list[].field` is a field of each entry of a list: `[[group.list]]` in the file, one
JSON array in a variable. In place of `<name>` stands a name of your choice. A wrong name or value stops the program
with a line that says which.
"""

_BOUNDS = ((Gt, "gt", "more than"), (Ge, "ge", "at least"), (Lt, "lt", "less than"), (Le, "le", "at most"))
_KINDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    SecretStr: "secret text",
    HttpUrl: "URL",
    AwareDatetime: "time with its zone",
}
# Their default is made when they are read, so it has no value to print.
_MADE = {"executor.name": "host name and process id"}


class Row(NamedTuple):
    """One setting."""

    name: str
    values: str
    default: str
    meaning: str


def markdown() -> str:
    """Return the page."""
    return "\n".join([PREAMBLE, *_sections(Settings)])


def rows(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[Row]:
    """Walk all settings below `model`, in the order in which they are declared."""
    meanings = _docstrings(model)
    for field, info in model.model_fields.items():
        name = f"{prefix}{field}"
        nested, path = _nested(info.annotation, name)
        if nested is None:
            default = _MADE[name] if info.default_factory else _default(info)
            yield Row(name, _values(info), default, meanings.get(field, ""))
        else:
            yield from rows(nested, f"{path}.")


def _sections(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Give each group a heading, what it says of itself, and a table of the settings that are its own."""
    for field, info in model.model_fields.items():
        nested, path = _nested(info.annotation, f"{prefix}{field}")
        if nested is None:
            continue
        own = [row for row in rows(nested, f"{path}.") if "." not in row.name.removeprefix(f"{path}.")]
        yield f"## {path}\n\n{inspect.cleandoc(nested.__doc__ or '')}\n"
        if own:
            yield _table(own)
        yield from _sections(nested, f"{path}.")


def _table(own: list[Row]) -> str:
    lines = ["| setting | values | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{row.name}` | {row.values} | {row.default} | {row.meaning} |" for row in own]
    return "\n".join(lines) + "\n"


def _nested(annotation: Any, name: str) -> tuple[type[BaseModel] | None, str]:
    """Return the group behind an annotation, and how its settings are addressed; none if it is one setting."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, UnionType} and NoneType in arguments:
        # A group that may be left out.
        return _nested(next(argument for argument in arguments if argument is not NoneType), name)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation, name
    if origin is tuple and _nested(arguments[0], "")[0] is not None:
        return arguments[0], f"{name}[]"
    if origin is dict and _nested(arguments[1], "")[0] is not None:
        return arguments[1], f"{name}.<name>"
    return None, name


def _values(info: FieldInfo) -> str:
    limits = [
        f"{word} {getattr(bound, name):g}"
        for bound in info.metadata
        for kind, name, word in _BOUNDS
        if isinstance(bound, kind)
    ]
    return ", ".join([_kind(info.annotation), *limits])


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return f"table of name to {_kind(arguments[1])}"
    if origin in {Union, UnionType}:
        return " or ".join(_kind(argument) for argument in arguments if argument is not NoneType)
    if origin is Annotated:
        return _kind(arguments[0])
    return _KINDS.get(annotation) or annotation.__name__


def _default(info: FieldInfo) -> str:
    default = info.default
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    if isinstance(default, (tuple, dict)):
        return f"`{json.dumps(default)}`" if default else "empty"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Read the string after each field, on one line. At run time it is gone; the source still has it."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - it is the source of a class
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found
