"""Describe problems of a config: each is one key, one short statement, and the nearest valid key."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from daair.errors import UserError, nearest, one_line, similar

UNKNOWN = "unknown"

MOVED = {
    "loss.router": "loss.terms.router",
    "mix.degradations": "mix.tasks.NAME.degrade",
    "mix.pairs": "mix.tasks.NAME.pairs",
    "mix.repeats.clean": "mix.synthetic_repeats",
    "mix.repeats": "mix.tasks.NAME.repeats",
    "mix.source.NAME": "mix.tasks.NAME.source",  # `mix.source` itself is still there
    "mix.weights": "mix.tasks.NAME.weight",
}
"""Keys of earlier versions and their new names; NAME is the next part of the old key."""

MOVED_TARGETS = {
    "daair.engine.optim": "daair.optim",
    "daair.models.baselines.identity": "daair.models.identity",
}
"""Modules of earlier versions that a `_target_` may name, and the modules that replaced them."""


USUAL = {"gpu": "cuda"}
"""What other programs call a value, by the word."""


@dataclass(frozen=True)
class Problem:
    """A problem of one key.

    Attributes:
        key: The full dotted key.
        text: The statement about it, such as `must be at least 1, got 0`.
    """

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


class ConfigError(UserError):
    """An error with all problems of a config in one line.

    Args:
        problems: The problems, in the order of the config.
        where: The overrides of the sweep's job; empty without a sweep.
        known: The valid dotted keys.
    """

    def __init__(self, problems: Sequence[Problem], where: str = "", known: Collection[str] = ()) -> None:
        self.problems, self.known = tuple(problems), frozenset(known)
        suffix = f" (in the sweep's job {where})" if where else ""
        super().__init__("; ".join(str(problem) for problem in self.problems) + suffix)


def did_you_mean(word: str, candidates: Collection[str], kind: str = "options") -> str:
    """Return the end of a message about an unknown name: the nearest candidate and the list of all."""
    near = nearest(word, candidates)
    return f"{f'; did you mean {near}?' if near else ''} ({kind}: {', '.join(candidates)})"


def moved(key: str, known: Collection[str] = ()) -> str | None:
    """Return the key that replaced `key` of an earlier version; None if there was no such key."""
    for old, new in MOVED.items():
        old, only_below, _ = old.partition(".NAME")
        name, _, rest = key[len(old) + 1 :].partition(".")
        if (key.startswith(f"{old}.") or key == old and not only_below) and key not in known:
            new = new.replace("NAME", name or "NAME")
            return f"{new}.{rest}" if rest else new
    return None


def nearest_key(key: str, known: Collection[str]) -> str | None:
    """Return the known dotted key nearest to `key`, or None.

    A very similar sibling comes first, then the same name in a section called like this one, then the same name in any
    other section, then any similar key.
    """
    parent, _, leaf = key.rpartition(".")
    siblings = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == parent and k != key}
    if close := similar(leaf, siblings, 0.8):
        return siblings[close]
    sections = {k.rpartition(".")[0]: k for k in known if k.rpartition(".")[2] == leaf and k.count(".") and k != key}
    if parent and (close := similar(parent, sections, 0.75)):
        return sections[close]
    leaves: dict[str, str] = {}
    # From other sections take only shallow keys that are easily confused, as `train.lr` for `optimizer.lr`.
    root = key.partition(".")[0]
    for other in sorted(known, key=lambda k: (k.count("."), not k.startswith("train."), k)):
        if other.count(".") > 1 and other.partition(".")[0] != root:
            continue
        leaves.setdefault(other.rpartition(".")[2], other)
    if leaf in leaves and leaves[leaf] != key:
        return leaves[leaf]
    if found := nearest(leaf, siblings):
        return siblings[found]
    if close := similar(leaf, leaves, 0.75):
        return leaves[close]
    # Compare whole keys, as in `expert.rnk` -> `experts.rank`, but suggest no parent of the key, and no sibling, which
    # would be similar by the name of its section alone.
    others = [other for other in known if not key.startswith(f"{other}.") and other not in siblings.values()]
    return similar(key, others, 0.75)


def unknown_option(group: str, option: str, options: Sequence[str]) -> Problem:
    """Return the problem of an unknown option of a config group."""
    near = nearest(option, options) or (nearest(option.split("_")[0], options) if "_" in option else None)
    hint = f"; did you mean {group}={near}?" if near else ""
    return Problem(f"{group}={option}", f"unknown{hint} (options: {', '.join(options)})")


def explain_moved(key: str, known: Collection[str] = ()) -> Problem | None:
    """Return the problem of a key that an earlier version had; None if there was no such key."""
    new = moved(key, known)
    return Problem(key, f"unknown; it is {new} now") if new else None


def explain_moved_target(path: str) -> str:
    """Return the end of a message about a `_target_` that moved since an earlier version; empty for others."""
    for old, new in MOVED_TARGETS.items():
        if path.startswith(f"{old}."):
            return f"; it is {new}{path[len(old) :]} now"
    return ""


def explain_key(key: str, known: Collection[str]) -> Problem:
    """Return the problem of an unknown key, with its new name, the nearest valid key, or all valid siblings."""
    parent = key.rpartition(".")[0]
    siblings = sorted({k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == parent and k != key})
    if problem := explain_moved(key, known):
        return problem
    if near := nearest_key(key, known):
        return Problem(key, f"unknown; did you mean {near}?")
    if siblings:
        return Problem(key, f"unknown; valid {'in ' + parent if parent else 'keys'}: {', '.join(siblings)}")
    return Problem(key, UNKNOWN)


def explain_unknown(
    problems: Iterable[Problem], known: Collection[str], present: Collection[str] = ()
) -> list[Problem]:
    """Return the problems without repetitions, with those that only say `unknown` explained.

    Args:
        known: The valid dotted keys.
        present: The dotted keys of the config; one below a key of an earlier version gives the name in the new key.
    """

    def whole(key: str) -> str:
        below = sorted(other for other in present if other.startswith(f"{key}."))
        return below[0] if below and ".NAME" in (moved(key, known) or "") else key

    return list(dict.fromkeys(explain_key(whole(p.key), known) if p.text == UNKNOWN else p for p in problems))


def from_pydantic(errors: Sequence[Any], value: Any, key: str = "") -> list[Problem]:
    """Return the problems that pydantic found in `value`, the value of `key`.

    The errors of all members of a union become one problem.
    """
    places: dict[str, list[dict]] = {}
    for error in errors:
        if error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]:
            continue  # a consequence of refused items, which have errors of their own
        places.setdefault(_place(error, value, key), []).append(error)
    # For `number or range`, a range with a wrong end must not be reported as "must be a number".
    for place, found in list(places.items()):
        inner = any(other.startswith((f"{place}.", f"{place}[")) for other in places)
        if place and inner and all(error["type"].endswith(("_type", "_instance_of")) for error in found):
            del places[place]
    return [Problem(place or "config", _statement(found)) for place, found in places.items()]


def _place(error: dict, value: Any, key: str) -> str:
    """Return the dotted key of an error, without the names of union members in its location."""
    place, last = key, len(error["loc"]) - 1
    for i, part in enumerate(error["loc"]):
        if isinstance(value, dict) and (part in value or (error["type"] == "missing" and i == last)):
            value = value.get(part)
            place = f"{place}.{part}" if place else str(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
            place = f"{place}[{part}]"
    return place


_SHORTER = (
    (r"^\w+ should ", "must "),
    (r"(, (got|unable|received) | after validation).*", ""),
    (r"greater than or equal to", "at least"),
    (r"less than or equal to", "at most"),
    (r"a valid (number|list)", r"a \1"),
    (r"a valid (tuple|array)", "a list"),
    (r"a valid boolean", "true or false"),
    (r"a valid integer", "an integer"),
    (r"a valid string", "a text"),
    (r"(a valid dictionary|an object).*", "a mapping"),
    (r"^Value error, ", ""),
)
"""Patterns of pydantic's messages, and words that are shorter or closer to YAML."""


def _statement(errors: list[dict]) -> str:
    """Return one statement for the errors of one key; a violated bound takes precedence over a wrong type."""
    broken = [error for error in errors if not error["type"].endswith(("_type", "_instance_of"))]
    numbers = [error for error in broken if error["type"] != "literal_error"]
    if numbers and not isinstance(errors[0]["input"], str):  # of `auto or a number`, a number is meant
        broken = numbers
    error, value = (broken or errors)[0], json.dumps(errors[0]["input"], default=repr)
    if error["type"] == "extra_forbidden":
        return UNKNOWN
    if error["type"] == "missing":
        return f"needs more values, got {value}" if isinstance(error["loc"][-1], int) else "missing"
    if error["type"] in ("import", "supplied"):  # raised by daair.config.signatures
        return error["msg"]
    if error["type"] == "predicate_failed":
        name = re.sub(
            r"Predicate (?:test )?'?([\w.<>]+)'?.*", r"\1", error["msg"]
        )  # a function's name, such as low_to_high
        return f"must be {name.replace('_', ' ')}, got {value}"
    if error["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        near = USUAL.get(str(error["input"])) or nearest(str(error["input"]), choices)
        kinds = [_shorter(other) for other in errors if other is not error]
        also = "".join(f" or {text.removeprefix('must be ')}" for text in dict.fromkeys(kinds))
        return f"{value} is not one of {', '.join(choices)}{also}" + (f"; did you mean {near}?" if near else "")
    if error["input"] == "" and error["type"].endswith("too_short"):
        return "must not be empty"
    told = broken or [e for e in errors if not e["type"].endswith("_instance_of")] or errors
    first, *others = dict.fromkeys(map(_shorter, told))
    return " or ".join([first, *(text.removeprefix("must be ") for text in others)]) + f", got {value}"


def _shorter(error: dict) -> str:
    text = one_line(error["msg"])
    for pattern, words in _SHORTER:
        text = re.sub(pattern, words, text)
    return text
