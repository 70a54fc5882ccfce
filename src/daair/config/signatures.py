"""Check nodes with `_target_` against the signatures of their targets.

Each signature becomes a typed dictionary once, against which pydantic checks the arguments of a node. The annotation of
a parameter gives its type, and `Annotated[float, Ge(0)]` its range. A class from another package is checked in the same
way, as far as it is annotated.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import cache, partial
from typing import Annotated, Any, NotRequired, Union, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Strict, TypeAdapter, ValidationError, ValidationInfo, WrapValidator
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticCustomError, SchemaError
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from daair.components import SPECIAL, is_foreign, is_node, locate
from daair.config.base import whole
from daair.config.problems import UNKNOWN, Problem, explain_moved_target, from_pydantic
from daair.errors import one_line

KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
CONFIG = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
SCALARS = (int, float, bool, str)

Valid = dict[int, Collection[str]]
"""The valid arguments of each checked mapping, by the `id` of the mapping."""


def check(node: Mapping[str, Any], key: str) -> tuple[dict[str, Any], list[Problem], set[str]]:
    """Check the node at `key` and all nodes within it.

    Returns:
        The node in canonical form (2 -> 2.0 for a float), the problems, and, if there are any, the valid dotted keys.
    """
    if not is_node(node):
        return dict(node), [Problem(f"{key}._target_", "missing")], set()
    valid: Valid = {}
    try:
        checked, problems = _LOOSE.validate_python(node, context=valid), []
    except ValidationError as error:
        checked, problems = node, from_pydantic(error.errors(include_url=False), node, key)
        problems.sort(key=lambda problem: problem.text != UNKNOWN)  # a misspelled key explains a missing one
    return _canonical(node, checked), problems, set(_known(node, key, valid)) if problems else set()


def takes(target: Callable[..., Any]) -> set[str]:
    """Return the names of the parameters that can be passed by name."""
    return set(_parameters(target)[0])


def _parameters(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], dict[str, Any], bool]:
    """Return the parameters that can be passed by name, their annotations, and whether the target takes `**kwargs`."""
    try:
        parameters = inspect.signature(target).parameters
    except (ValueError, TypeError):  # some built-ins have none
        return {}, {}, True
    annotated = target.__init__ if inspect.isclass(target) and not dataclasses.is_dataclass(target) else target
    try:
        hints = get_type_hints(annotated, include_extras=True)
    except Exception:  # annotations that exist for type checkers only
        hints = {n: p.annotation for n, p in parameters.items() if not isinstance(p.annotation, str)}
        hints = {n: hint for n, hint in hints.items() if hint is not inspect.Parameter.empty}
    named = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named, hints, any(p.kind is p.VAR_KEYWORD for p in parameters.values())


@cache
def _arguments(target: Callable[..., Any], partial: bool, own: bool) -> tuple[TypeAdapter[dict], Collection[str]]:
    """Return the checker of a target's arguments, and the names of the valid ones.

    Args:
        partial: Whether the code supplies further arguments.
        own: Whether the target is of this package, where the code supplies exactly the positional arguments without a
            default.
    """
    parameters, hints, open_ended = _parameters(target)
    fields: dict[str, Any] = dict.fromkeys(SPECIAL, NotRequired[Any])
    names = set(parameters)
    for name, parameter in parameters.items():
        hint, optional = _accepting_nodes(hints.get(name, Any)), parameter.default is not parameter.empty
        if partial and own and not optional and parameter.kind is not KEYWORD_ONLY:
            names.discard(name)
            hint, optional = Annotated[Any, BeforeValidator(_refuse)], True
        fields[name] = NotRequired[hint] if optional or (partial and not own) else hint
    return TypeAdapter(_typed_dict(target.__name__, fields, "allow" if open_ended else "forbid")), names


def _typed_dict(name: str, fields: Mapping[str, Any], extra: str) -> type:
    made = TypedDict(name, fields)
    made.__pydantic_config__ = ConfigDict(**CONFIG, extra=extra)
    return made


def _accepting_nodes(hint: Any) -> Any:
    """Return the annotation `hint` extended to accept a node as well, except for numbers, texts and flags."""
    if hint is Any or hint is inspect.Parameter.empty:
        return _Loose
    if hint in SCALARS:
        return _exact(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return Annotated[_exact(hint), WrapValidator(partial(_node_of, hint))]
    return Annotated[_exact(hint), WrapValidator(_node_or)]


def _exact(hint: Any) -> Any:
    """Return `hint` for values from YAML: without conversion of numbers, texts and flags, and lists as sequences."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is int:
        return Annotated[int, Strict(), BeforeValidator(whole)]
    if hint in SCALARS:
        return Annotated[hint, Strict()]
    if origin is Annotated:
        return Annotated[(_exact(args[0]), *hint.__metadata__)]
    if origin in (Union, types.UnionType):
        return Union[tuple(map(_exact, args))]  # noqa: UP007 - of a computed tuple
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass(hint)
    kind = origin or hint
    if not isinstance(kind, type) or not issubclass(kind, Iterable) or issubclass(kind, str):
        return hint if _is_understood(hint) else Any
    items = [item if item is Ellipsis else _accepting_nodes(item) for item in args]
    if issubclass(kind, Mapping):
        return dict[tuple(items) if len(items) == 2 else (Any, _Loose)]
    if issubclass(kind, tuple) and not hasattr(kind, "_fields"):
        return tuple[tuple(items) or (_Loose, ...)]
    if issubclass(kind, AbstractSet):
        return hint
    return list[items[0] if len(items) == 1 else _Loose] if kind.__module__ in _STANDARD else hint


_STANDARD = ("builtins", "collections.abc", "typing")


def _is_understood(hint: Any) -> bool:
    """Return whether pydantic can check the annotation; it cannot check a protocol for type checkers, for example."""
    try:
        TypeAdapter(hint, config=CONFIG)
    except (PydanticUserError, SchemaError, TypeError, NameError, AttributeError):
        return False
    return True


@cache
def _dataclass(cls: type) -> Any:
    """Return the annotation of a mapping with the fields of a dataclass."""
    parameters, hints, _ = _parameters(cls)
    fields = {}
    for name, parameter in parameters.items():
        hint = _accepting_nodes(hints.get(name, Any))
        fields[name] = hint if parameter.default is parameter.empty else NotRequired[hint]

    def remember(value: Any, info: ValidationInfo) -> Any:
        info.context[id(value)] = set(parameters)
        return value

    return Annotated[_typed_dict(cls.__name__, fields, "forbid"), BeforeValidator(remember)]


def _refuse(_: Any) -> Any:
    raise PydanticCustomError("supplied", "is supplied by the code and cannot be set")


def _node_or(value: Any, handler: Callable[[Any], Any], info: ValidationInfo) -> Any:
    return _checked_node(value, info.context) if is_node(value) else handler(value)


def _node_of(kind: type, value: Any, handler: Callable[[Any], Any], info: ValidationInfo) -> Any:
    """Check a node that must build an object of the dataclass `kind`."""
    checked = _node_or(value, handler, info)
    target = locate(value["_target_"]) if is_node(value) else kind
    if isinstance(target, type) and not issubclass(target, kind):
        raise PydanticCustomError("kind", f"takes {kind.__name__}, not {target.__name__}")
    return checked


def _loose(value: Any, _: Callable[[Any], Any], info: ValidationInfo) -> Any:
    """Check the nodes within a value that has no annotation."""
    if is_node(value):
        return _checked_node(value, info.context)
    if isinstance(value, list | dict):
        return (_LISTS if isinstance(value, list) else _DICTS).validate_python(value, context=info.context)
    return value


_Loose = Annotated[Any, WrapValidator(_loose)]
_LOOSE = TypeAdapter(_Loose)
_LISTS, _DICTS = TypeAdapter(list[_Loose]), TypeAdapter(dict[Any, _Loose])


def _checked_node(node: Mapping[str, Any], valid: Valid) -> dict[str, Any]:
    try:
        target = locate(node["_target_"])
    except ImportError as error:
        problem = PydanticCustomError(
            "import", "{text}", {"text": one_line(error) + explain_moved_target(str(node["_target_"]))}
        )
        line = {"type": problem, "loc": ("_target_",), "input": node["_target_"]}
        raise ValidationError.from_exception_data("node", [line]) from None
    arguments, valid[id(node)] = _arguments(target, bool(node.get("_partial_")), not is_foreign(node))
    return arguments.validate_python(node, context=valid)


def _known(value: Any, key: str, valid: Valid) -> Iterator[str]:
    """Yield the valid dotted keys of the checked mappings."""
    for name in valid.get(id(value), ()):
        yield f"{key}.{name}"
    for name, item in value.items() if isinstance(value, Mapping) else ():
        yield from _known(item, f"{key}.{name}", valid)
    for i, item in enumerate(value) if isinstance(value, list) else ():
        yield from _known(item, f"{key}[{i}]", valid)


def _canonical(value: Any, checked: Any) -> Any:
    """Return `value` with whole numbers as floats where the annotation is a float, and as integers where it is one."""
    if isinstance(value, float) and isinstance(checked, int) and not isinstance(checked, bool):
        return checked
    if isinstance(checked, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(checked, list | tuple) and isinstance(value, list) and len(checked) == len(value):
        return [_canonical(item, other) for item, other in zip(value, checked, strict=True)]
    if isinstance(checked, Mapping) and isinstance(value, Mapping) and checked.keys() == value.keys():
        return {name: _canonical(item, checked[name]) for name, item in value.items()}
    return value
