"""Conditions on runs, such as `experts.rank == 8 and state == 'failed'`.

A condition is written in Python's syntax and consists of keys, numbers, texts in quotes, lists of these, comparisons
(`==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in`), `and`, `or`, `not` and parentheses; `true`, `false` and `null` are
those of a config. It is parsed and interpreted here, so nothing in it is ever executed.
"""

import ast
import contextlib
import json
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from daair.errors import UserError, suggestion

CONSTANTS = {"true": True, "false": False, "null": None, "none": None, "nan": float("nan")}
"""Words that are no keys."""

COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda part, whole: part in whole,
    ast.NotIn: lambda part, whole: part not in whole,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
}
"""Comparisons by their node; `is null` is what others write for `== null`."""

ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)

LONGEST = 2000
"""Most characters of a condition; Python's parser refuses deeper nesting than fits into these."""


class Where:
    """A condition on runs.

    Args:
        text: The condition.

    Attributes:
        keys: The keys that it names, in order.

    Raises:
        UserError: It is no such condition; the message quotes what is not understood.
    """

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise UserError(f"where: must have at most {LONGEST} characters, got {len(text)}")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
            self.keys = list(dict.fromkeys(_keys(self._tree)))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise UserError(f"where: {text}: cannot be understood{_hint(text, error)}") from None

    def check(self, known: Collection[str]) -> None:
        """Check that the keys exist.

        Raises:
            UserError: One does not; the message names the nearest that does.
        """
        for key in self.keys:
            if key not in known:
                otherwise = f"; a text is written in quotes, '{key}'" if key.isidentifier() else ""
                raise UserError(f"where: no run has {key}{suggestion(key, known, otherwise)}")

    def __call__(self, values: Mapping[str, Any]) -> bool:
        """Return whether a run meets the condition; an empty value is neither less nor greater than any other.

        Args:
            values: The run's values by key; an absent key has the value None.

        Raises:
            UserError: Values cannot be compared, as a text and a number.
        """
        return bool(_value(self._tree, values))


def _keys(node: ast.expr) -> Iterator[str]:
    """Yield the keys that an expression names; raise a UserError if it has anything else than a condition may have."""
    if (key := _key(node)) is not None:
        if key.lower() not in CONSTANTS:
            yield key
        return
    allowed = (ast.BoolOp, ast.Compare, ast.Constant, ast.List, ast.Tuple, ast.Set)
    is_not = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub)
    if not (is_not or isinstance(node, allowed)) or isinstance(node, ast.Constant) and not _is_plain(node.value):
        raise UserError(
            f"where: {ast.unparse(node)}: is not allowed; use keys, numbers, texts in quotes, lists, comparisons, in, "
            "and, or, not"
        )
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _keys(child)


def _key(node: ast.expr) -> str | None:
    """Return the dotted key that a node stands for, such as `experts.rank`; None if it is something else."""
    if isinstance(node, ast.Name):
        return node.id
    parent = _key(node.value) if isinstance(node, ast.Attribute) else None
    return None if parent is None else f"{parent}.{node.attr}"


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    """Return the value of an expression that `_keys` has passed."""
    if (key := _key(node)) is not None:
        return CONSTANTS[key.lower()] if key.lower() in CONSTANTS else values.get(key)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BoolOp):
        combine = all if isinstance(node.op, ast.And) else any
        return combine(_value(part, values) for part in node.values)
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, values)
        return not value if isinstance(node.op, ast.Not) else -_number(node, value)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        pairs = zip(node.ops, sides, sides[1:], strict=False)
        return all(_compare(op, left, right, values) for op, left, right in pairs)
    return [_value(item, values) for item in node.elts]  # type: ignore[attr-defined]


def _compare(op: ast.cmpop, left: ast.expr, right: ast.expr, values: Mapping[str, Any]) -> bool:
    a, b, kind = _value(left, values), _value(right, values), type(op)
    if kind in (ast.In, ast.NotIn) or isinstance(a, list) or isinstance(b, list):
        a, b = _list(a), _list(b)
    if kind in ORDERS and (a is None or b is None):
        return False
    if kind in (ast.In, ast.NotIn) and (b is None or a is None and isinstance(b, str)):
        return kind is ast.NotIn
    try:
        return bool(COMPARISONS[kind](a, b))
    except TypeError:
        text = f"{ast.unparse(left)} and {ast.unparse(right)} cannot be compared, as {a!r} and {b!r}"
        raise UserError(f"where: {text}") from None


def _list(value: Any) -> Any:
    """Return the list that a text such as `[1, 2]` stands for, as configs are flattened; other values as they are."""
    if isinstance(value, str) and value.startswith("["):
        with contextlib.suppress(ValueError):
            return json.loads(value)
    return value


def _number(node: ast.expr, value: Any) -> Any:
    if not isinstance(value, int | float):
        raise UserError(f"where: {ast.unparse(node)}: is not a number")
    return value


def _hint(text: str, error: BaseException) -> str:
    """Return the end of the message about a condition that Python cannot parse."""
    if re.search(r"(?<![=!<>])=(?!=)", text):
        return "; == compares"
    if "&" in text or "|" in text:
        return "; write and, or, not"
    place = getattr(error, "offset", None)
    return f" at {text.strip()[place - 1 :][:20]!r}" if place and place <= len(text.strip()) else ""
