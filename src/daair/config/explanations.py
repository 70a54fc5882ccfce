"""Explain in one line what is wrong with an override that Hydra refused."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from daair.config.overrides import text as quoted
from daair.config.problems import UNKNOWN, Problem, explain_key, explain_moved
from daair.errors import nearest, similar

FUNCTIONS = {
    "choice": "choice(1,2)",
    "range": "range(0,3)",
    "interval": "interval(0,1)",
    "glob": "glob(a*)",
    "shuffle": "shuffle(1,2)",
    "sort": "sort(2,1)",
    "tag": "tag(t,choice(1,2))",
}
"""Functions of Hydra's grammar that give the values of a sweep, with an example of each."""


NAME = r"[A-Za-z_][\w-]*([/@:][\w.@/:-]*)?|0|[1-9][0-9]*"
"""A part of a key in Hydra's grammar, or one with the name of a group in it."""


def unreadable(override: str) -> str:
    """Return what is wrong with an override that Hydra's grammar does not have, or how it is to be written."""
    key, _, value = override.partition("=")
    for quote in "'\"":
        if value.count(quote) % 2:
            return f"a quote {quote} is not closed"
    for opened, closed in ("()", "[]", "{}"):
        if value.count(opened) != value.count(closed):
            return f"it has {value.count(opened)} x {opened} but {value.count(closed)} x {closed}"
    if re.search(r"^[+~]*\.|\.\.|\.$", key):
        return f"a dot too many; write {re.sub(r'[.]+', '.', key).strip('.')}={value}"
    if not re.fullmatch(r"[\w.@/+~-]+", key, re.ASCII):
        return "write KEY=VALUE, as in seed=1"
    if strange := [part for part in key.lstrip("+~").split(".") if not re.fullmatch(NAME, part)]:
        return f"{strange[0]} is no name; one begins with a letter, or is a whole number"
    if value.startswith("="):
        return f"write {key}={value.lstrip('=')}"
    if more := re.fullmatch(r"([^;&\s]*)\s*[;&]\s*([\w.@/+~-]+=.*)", value):
        return f"write {key}={more[1]} {more[2]}"
    if function := re.fullmatch(r"(\w+)\(.*\)", value):
        if function[1] in FUNCTIONS:
            return f"{function[1]} cannot have these arguments; write for example {key}={FUNCTIONS[function[1]]}"
        if near := similar(function[1], FUNCTIONS):
            return f"there is no function {function[1]}; did you mean {near}?"
    return f"a text of such characters is written in quotes: {shlex.quote(f'{key}={quoted(value)}')}"


def behind_alias(cfg: DictConfig, key: str) -> str | None:
    """Return the key to set in place of one behind an interpolation: `model.experts.rank` -> `experts.rank`."""
    parts = key.split(".")
    node: Any = cfg
    for used, part in enumerate(parts[:-1], start=1):
        if not isinstance(node, DictConfig) or part not in node:
            return None
        if OmegaConf.is_interpolation(node, part):
            source = str(node._get_node(part)._value()).strip("${}")
            return ".".join([source, *parts[used:]])
        node = node._get_node(part)
    return None


def whole(problem: Problem, overrides: list[Override], known: frozenset[str]) -> Problem:
    """Return the problem with the whole key that the user typed, such as `expert.rank` where `expert` is unknown."""
    key = next((o.key_or_group for o in overrides if o.key_or_group.startswith(problem.key + ".")), None)
    if key is None or not problem.text.startswith(UNKNOWN):
        return problem
    explained = explain_key(key, known)
    return problem if explained.text == UNKNOWN else explained


def exists(cfg: DictConfig, key: str) -> bool:
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return isinstance(node, DictConfig) and node._get_node(leaf, validate_access=False) is not None


def absent(cfg: DictConfig, override: Override) -> Problem:
    """Return the problem of a key that the schema allows but the config lacks: a misspelled key, or one to add."""
    key, node = override.key_or_group, cfg
    parts = key.split(".")
    for i, part in enumerate(parts):
        if not isinstance(node, DictConfig):
            break
        if part not in node:
            if near := nearest(part, map(str, node)):
                return Problem(key, f"unknown; did you mean {'.'.join([*parts[:i], near, *parts[i + 1 :]])}?")
            place, entries = ".".join(parts[:i]), ", ".join(map(str, node))
            if i + 1 < len(parts) and not override.is_delete() and (group := group_of_entries(cfg, place)):
                text = f"{place} has no {part} ({entries}); to add it, write +{group}@{place}.{part}=..."
                return Problem(key, text)
            break
        node = node._get_node(part)
    return Problem(
        key, "not in the config" if override.is_delete() else f"not in the config; to add it, write +{key}=..."
    )


def group_of_entries(cfg: DictConfig, place: str) -> str | None:
    """Return the config group whose options are the entries at `place`, such as `mix/task` at `mix.tasks`, or None."""
    choices = (str(choice).partition("@") for choice in cfg.hydra.runtime.choices)
    return next((group for group, _, entry in choices if place and entry.rpartition(".")[0] == place), None)


def of_earlier_version(override: Override) -> Problem | None:
    """Return the problem of a key, or of an option's place, that an earlier version had; None for others."""
    if override.package is None:
        return explain_moved(override.key_or_group)
    if problem := explain_moved(override.package):
        group = override.key_or_group
        return Problem(f"{group}@{problem.key}", problem.text.replace("it is ", f"it is {group}@"))
    return None


def without_place(override: Override, choices: DictConfig) -> Problem:
    """Return the problem of an option of a part that the model does not have, or of one that needs a place."""
    group = override.key_or_group
    if places := [choice for choice in map(str, choices) if choice.startswith(f"{group}@")]:
        return Problem(group, f"needs a place; write {places[0]}={override.value()}")
    return Problem(group, f"unused by model={choices.get('model')}")


def near_place(key: str, choices: DictConfig) -> str:
    """Return a hint for `group@place`, which is not in the config: the nearest valid one, or how to add it."""
    near = nearest(key, [choice for choice in map(str, choices) if choice.startswith(key.partition("@")[0] + "@")])
    return f"; did you mean {near}?" if near else f"; to add it, write +{key}=..."


def not_a_sweep(override: Override) -> Problem:
    values = override.input_line.partition("=")[2]
    as_list = "" if re.fullmatch(r"\w+\(.*\)", values) else f"write [{values}] for a list, or "
    return Problem(override.key_or_group, f"{values} is several values; {as_list}sweep over them with -m")


def list_with_keys(overrides: Sequence[str]) -> str | None:
    """Return the key that one override sets to a list and another one treats as a mapping; None if there is none."""
    lists = [text.partition("=")[0].lstrip("+") for text in overrides if "=[" in text]
    return next((key for key in lists if any(text.lstrip("+").startswith(f"{key}.") for text in overrides)), None)
