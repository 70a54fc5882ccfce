"""Components: config nodes with `_target_`, checked against the signature of what they name.

The signature is the schema: a parameter's annotation gives the type, `Annotated[float, Ge(0)]` the range. Nothing has
to be declared twice, and a class from elsewhere is checked like our own, as far as it is annotated.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import gc
import importlib
import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaError

from daair.config.problems import UNKNOWN, Problem, from_pydantic
from daair.errors import one_line

KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
SPECIAL = frozenset({"_target_", "_partial_", "_convert_", "_recursive_"})
"""Keys of a node that Hydra's `instantiate` reads itself."""


class Checker:
    """Checks nodes and collects what it finds.

    Attributes:
        problems: what is wrong.
        known: dotted keys that the signatures name.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.known: set[str] = set()

    def node(self, node: Mapping[str, Any], key: str) -> dict[str, Any]:
        """Check the node at `key`, and the nodes within; return it in canonical form (2 -> 2.0 for a float)."""
        try:
            target = locate(node["_target_"])
        except ImportError as error:
            self.problems.append(Problem(f"{key.removesuffix('.args')}._target_", one_line(error)))
            return dict(node)
        parameters, hints, open_ended = signature(target)
        if node.get("_partial_") and not is_foreign(node):
            for name, parameter in parameters.items():
                # image, channels, ...: what our own parts are called with is positional and has no default
                if name in node and parameter.default is parameter.empty and parameter.kind is not KEYWORD_ONLY:
                    self.problems.append(Problem(f"{key}.{name}", "is supplied by the code and cannot be set"))
        canonical = {name: node[name] for name in node if name in SPECIAL}
        if node.get("_partial_") and not is_foreign(node):
            needed = [n for n, p in parameters.items() if p.kind is KEYWORD_ONLY and p.default is p.empty]
            self.problems += [Problem(f"{key}.{name}", "missing") for name in needed if name not in node]
        canonical |= self.arguments(
            {name: value for name, value in node.items() if name not in SPECIAL},
            key, parameters, hints, open_ended=open_ended, partial=bool(node.get("_partial_")),
        )  # fmt: skip
        return {name: canonical[name] for name in node}

    def arguments(
        self,
        values: Mapping[str, Any],
        key: str,
        parameters: Mapping[str, inspect.Parameter],
        hints: Mapping[str, Any],
        *,
        open_ended: bool = False,
        partial: bool = False,
    ) -> dict[str, Any]:
        """Check keyword arguments against named parameters; `partial` ones may lack some, `open_ended` have more."""
        # What only the code supplies (channels, the network's parameters, ...) has no default and is not suggested.
        suggest = {n for n, p in parameters.items() if p.default is not p.empty or p.kind is KEYWORD_ONLY}
        self.known |= {f"{key}.{name}" for name in (suggest if partial else parameters)}
        canonical = {}
        for name, value in values.items():
            canonical[name] = value
            if name in parameters:
                canonical[name] = self.value(value, hints.get(name, Any), f"{key}.{name}")
            elif not open_ended:
                self.problems.append(Problem(f"{key}.{name}", UNKNOWN))
        if not partial:
            missing = [n for n, p in parameters.items() if p.default is p.empty and n not in values]
            self.problems += [Problem(f"{key}.{name}", "missing") for name in missing]
        return canonical

    def value(self, value: Any, hint: Any, key: str) -> Any:
        """Check one argument against its annotation; nodes within are checked as components."""
        if _is_node(value):
            return self.node(value, key)
        plain = _dataclass_in(hint)
        if plain is not None and isinstance(value, Mapping):
            parameters, hints, _ = signature(plain)
            return self.arguments(value, key, parameters, hints)
        container, within = _container(hint)
        if _holds_node(value) or _dataclass_in(within) is not None:  # what is no node is checked as the annotation says
            if container is not None and not isinstance(value, container):
                self.problems.append(Problem(key, f"is not a {'mapping' if container is Mapping else 'list'}"))
            if isinstance(value, Mapping):
                return {name: self.value(item, within, f"{key}.{name}") for name, item in value.items()}
            return [self.value(item, within, f"{key}[{i}]") for i, item in enumerate(value)]
        return self._typed(value, hint, key)

    def _typed(self, value: Any, hint: Any, key: str) -> Any:
        try:
            checked = _adapter(hint).validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            self.problems += from_pydantic(error.errors(include_url=False), value, key)
            return value
        except (PydanticUserError, SchemaError, TypeError, NameError, AttributeError):
            # An annotation that pydantic does not understand (a Protocol within, a forward reference) says nothing
            # about types; a length can be checked all the same.
            if typing.get_origin(hint) is Annotated and isinstance(value, list | dict):
                return self._typed(value, Annotated[(type(value), *hint.__metadata__)], key)
            return value
        return _canonical(value, checked)


def locate(path: str) -> Callable[..., Any]:
    """Return the object that a dotted path names.

    Raises:
        ImportError: no such module or attribute, or the module failed to import; the message says which.
    """
    if not isinstance(path, str) or not all(part.isidentifier() for part in path.split(".")):
        raise ImportError(f"{path!r} is not a dotted path such as package.module.Name")
    parts = path.split(".")
    module, depth = None, 0
    for used in range(1, len(parts) + 1):
        name = ".".join(parts[:used])
        try:
            module, depth = _import(name), used
        except ImportError as error:
            # Not a module: perhaps an attribute of the last one. Anything else failed inside of a module that exists.
            if isinstance(error, ModuleNotFoundError) and module is not None and (error.name or "") == name:
                break
            raise ImportError(f"cannot import {path}: {error}") from error
    found: Any = module
    for used in range(depth, len(parts)):
        if not hasattr(found, parts[used]):
            close = difflib.get_close_matches(parts[used], dir(found), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ImportError(f"cannot import {path}: {'.'.join(parts[:used])} has no {parts[used]}{hint}")
        found = getattr(found, parts[used])
    if not callable(found):
        raise ImportError(f"{path} is not a class or function")
    return found


def _import(name: str) -> types.ModuleType:
    """The module `name`. Importing makes a million objects that stay; looking for garbage among them takes a second."""
    if name in sys.modules or not gc.isenabled():
        return importlib.import_module(name)
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


@functools.cache
def _cached_adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))


def _adapter(hint: Any) -> TypeAdapter[Any]:
    """Return the checker of an annotation; made once, as the jobs of a sweep repeat them."""
    return _cached_adapter(hint) if isinstance(hint, Hashable) else _cached_adapter.__wrapped__(hint)


@functools.cache
def signature(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], dict[str, Any], bool]:
    """Parameters that can be given by name, their annotations, and whether any other name is accepted as well."""
    try:
        parameters = inspect.signature(target).parameters
    except (ValueError, TypeError):  # some built-ins have none
        return {}, {}, True
    annotated = target.__init__ if inspect.isclass(target) and not dataclasses.is_dataclass(target) else target
    try:
        hints = typing.get_type_hints(annotated, include_extras=True)
    except Exception:  # annotations that exist for type checkers only
        hints = {n: p.annotation for n, p in parameters.items() if not isinstance(p.annotation, str | type(p.empty))}
        hints = {n: hint for n, hint in hints.items() if hint is not inspect.Parameter.empty}
    named = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named, hints, any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def is_foreign(node: Mapping[str, Any]) -> bool:
    """Return whether the node's target lies outside this package."""
    return not str(node.get("_target_", "")).startswith("daair.")


def build(node: Mapping[str, Any], **supplied: Any) -> Any:
    """Return the object that a checked node describes; `supplied` are the arguments that are not configuration."""
    from hydra.utils import instantiate

    if is_foreign(node) and set(node) == {"_target_", "args"}:  # a model from elsewhere, see conf/model/custom.yaml
        node = {"_target_": node["_target_"], **node["args"]}
    prepared = _own_partials(node)
    if isinstance(prepared, functools.partial):
        return functools.partial(prepared, **supplied)
    return instantiate(prepared, _convert_="all", **supplied)


def _own_partials(value: Any) -> Any:
    """`value` with our own `_partial_` nodes made into plain partial functions.

    Hydra's are checked against its policy of forbidden targets at each call, which takes longer (0.4 ms) than many a
    degradation of a training crop. Ours need no such check; all others still get it.
    """
    if _is_node(value) and value.get("_partial_") and not is_foreign(value):
        target = locate(value["_target_"])
        arguments = {name: _own_partials(item) for name, item in value.items() if name not in SPECIAL}
        # By where it was defined: `daair.files.os.remove` is not ours.
        if target.__module__.startswith("daair.") and not _is_node(arguments) and not _holds_node(arguments):
            return functools.partial(target, **arguments)
    if isinstance(value, Mapping):
        return {name: _own_partials(item) for name, item in value.items()}
    return [_own_partials(item) for item in value] if isinstance(value, list | tuple) else value


def _is_node(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _holds_node(value: Any) -> bool:
    """Return whether a node lies somewhere within."""
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return any(_is_node(item) or _holds_node(item) for item in items)


def _container(hint: Any) -> tuple[type | None, Any]:
    """Mapping or Sequence, if the annotation is one, and what its items are; (None, Any) if it does not say."""
    if typing.get_origin(hint) is Annotated:
        return _container(typing.get_args(hint)[0])
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    for container, position in ((Mapping, 1), (Sequence, 0)):
        if isinstance(origin, type) and issubclass(origin, container) and arguments:
            return container, arguments[position]
    return None, Any


def _dataclass_in(hint: Any) -> type | None:
    """Return the dataclass that `hint` is, or is optionally, or is with annotations."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _dataclass_in(typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        return next(filter(None, map(_dataclass_in, typing.get_args(hint))), None)
    return None


def _canonical(value: Any, checked: Any) -> Any:
    """`value` with integers written as floats where the annotation asked for a float."""
    if isinstance(checked, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(checked, list | tuple) and isinstance(value, list) and len(checked) == len(value):
        return [_canonical(item, other) for item, other in zip(value, checked, strict=True)]
    if isinstance(checked, dict) and isinstance(value, dict) and checked.keys() == value.keys():
        return {name: _canonical(item, checked[name]) for name, item in value.items()}
    return value
