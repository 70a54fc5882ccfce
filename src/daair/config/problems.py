"""What is wrong with a config, in words: one key, one short statement, and the nearest key that would be right."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from daair.errors import UserError, nearest, one_line

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Problem:
    """`key` is the full dotted key; `text` says what is wrong with it."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


class ConfigError(UserError):
    """A config that cannot be run; all its problems in one line.

    Args:
        problems: everything that was found, in the order of the config.
        where: which point of a sweep, if any.
        known: the dotted keys that would have been right.
    """

    def __init__(self, problems: Sequence[Problem], where: str = "", known: Collection[str] = ()) -> None:
        self.problems, self.known = tuple(problems), frozenset(known)
        suffix = f" (in the sweep's job {where})" if where else ""
        super().__init__("; ".join(str(problem) for problem in self.problems) + suffix)


def nearest_key(key: str, known: Collection[str]) -> str | None:
    """The known dotted key nearest to `key`: a sibling much like it, the same name elsewhere, any similar spelling."""
    parent, _, leaf = key.rpartition(".")
    siblings = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == parent and k != key}
    if close := difflib.get_close_matches(leaf, list(siblings), n=1, cutoff=0.8):
        return siblings[close[0]]
    leaves: dict[str, str] = {}
    for other in sorted(known, key=lambda k: (k.count("."), k)):
        leaves.setdefault(other.rpartition(".")[2], other)
    if leaf in leaves and leaves[leaf] != key:
        return leaves[leaf]
    if found := nearest(leaf, siblings):
        return siblings[found]
    close = difflib.get_close_matches(leaf, list(leaves), n=1, cutoff=0.75)
    return leaves[close[0]] if close else nearest_whole(key, known)


def nearest_whole(key: str, known: Collection[str]) -> str | None:
    """The known key most similar to all of `key`, such as `expert.rank` -> `experts.rank`; none that it is under."""
    candidates = sorted(other for other in known if not key.startswith(f"{other}."))
    close = difflib.get_close_matches(key, candidates, n=1, cutoff=0.75)
    return close[0] if close else None


def unknown_option(group: str, option: str, options: Sequence[str]) -> Problem:
    """Return the problem of an option that its config group does not have."""
    near = nearest(option, options) or (nearest(option.split("_")[0], options) if "_" in option else None)
    hint = f"; did you mean {group}={near}?" if near else ""
    return Problem(f"{group}={option}", f"unknown{hint} (options: {', '.join(options)})")


def explain_unknown(problems: Iterable[Problem], known: Collection[str]) -> list[Problem]:
    """Add the nearest valid key, or the valid ones, to the problems that only say `unknown`; drop repetitions."""
    explained: dict[str, Problem] = {}
    for problem in problems:
        if problem.text == UNKNOWN:
            near = nearest_key(problem.key, known)
            parent = problem.key.rpartition(".")[0]
            siblings = sorted({k for k in known if k.rpartition(".")[0] == parent} - {problem.key})
            if near:
                problem = Problem(problem.key, f"unknown; did you mean {near}?")
            elif siblings:
                names = ", ".join(k.rpartition(".")[2] for k in siblings)
                problem = Problem(problem.key, f"unknown; valid {'in ' + parent if parent else 'keys'}: {names}")
        explained.setdefault(str(problem), problem)
    return list(explained.values())


def from_pydantic(errors: Sequence[Any], value: Any, key: str = "") -> list[Problem]:
    """Return problems from the errors of a pydantic validation of `value`, which stands at `key`.

    Errors of the members of a union share a place; they become one statement.
    """
    places: dict[str, list[dict]] = {}
    for error in errors:
        if error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]:
            continue  # pydantic does not count the values that it refused, and tells of these as well
        places.setdefault(_place(error, value, key), []).append(error)
    # A number or a range: of a range with a wrong end, "not a number" is no help.
    for place, found in list(places.items()):
        inner = any(other.startswith((f"{place}.", f"{place}[")) for other in places)
        if place and inner and all(error["type"] in _NOT_A for error in found):
            del places[place]
    return [Problem(place or "config", _statement(found)) for place, found in places.items()]


def _place(error: dict, value: Any, key: str) -> str:
    """Return the dotted key that the error is about; the names of union members in its location are left out."""
    place = key
    for part in error["loc"]:
        if isinstance(value, dict) and (part in value or error["type"] == "missing"):
            value = value.get(part)
            place = f"{place}.{part}" if place else str(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
            place = f"{place}[{part}]"
    return place


# What a value of the wrong type is not, by pydantic's name of the error.
_NOT_A = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "sequence_str": "a list",
    "iterable_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
    "callable_type": "a callable",
    "none_required": "null",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("greater than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def _statement(errors: list[dict]) -> str:
    """Return what is wrong at one place; a broken bound says more than a type that did not match either."""
    value = json.dumps(errors[0]["input"], default=repr)
    texts = dict.fromkeys(filter(None, (_bound(error) for error in errors)))
    if texts:
        return " or ".join(texts)
    kinds = dict.fromkeys(_NOT_A[e["type"]] for e in errors if e["type"] in _NOT_A)
    choices = [c for e in errors if e["type"] in ("literal_error", "enum") for c in _choices(e["ctx"]["expected"])]
    if choices:
        near = nearest(str(errors[0]["input"]), choices)
        also = f" or {' or '.join(kinds)}" if kinds else ""
        return f"{value} is not one of {', '.join(choices)}{also}" + (f"; did you mean {near}?" if near else "")
    if kinds:
        return f"{value} is not {' or '.join(kinds)}"
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return UNKNOWN
    if first["type"] == "missing":
        return "missing"
    if first["type"] in ("is_instance_of", "is_subclass_of"):
        return f"{value} is not a {first['ctx']['class']}"
    return f"{one_line(first['msg']).removeprefix('Value error, ')}, got {value}"


def _choices(expected: str) -> list[str]:
    """Return the words of pydantic's "'a', 'b' or 'c'"."""
    return [word.strip(" '\"") for word in expected.replace("' or '", "', '").replace(" or ", ", ").split(",")]


def _bound(error: dict) -> str | None:
    """Return a broken bound or length in words; none for other errors."""
    kind, context, value = error["type"], error.get("ctx", {}), json.dumps(error["input"], default=repr)
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return f"must be {words} {_number(context[name])}, got {value}"
    if kind == "predicate_failed":
        name = error["msg"].split("'")[1]  # a function's, which tells what holds: low_to_high
        return f"must be {name.replace('_', ' ')}, got {value}" if name.isidentifier() else None
    if kind == "multiple_of":
        return f"must be a multiple of {_number(context['multiple_of'])}, got {value}"
    if kind in ("too_short", "string_too_short") and isinstance(error["input"], str):
        return "must not be empty"
    if kind in ("too_short", "too_long"):
        words, name = ("at least", "min_length") if kind == "too_short" else ("at most", "max_length")
        return f"must have {words} {context[name]} values, got {value}"
    if kind == "missing" and error["loc"] and isinstance(error["loc"][-1], int):  # a tuple of fixed length
        return f"must have more values, got {value}"
    return None


def _number(bound: float) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)
