"""The points of a sweep: every variant of a study, times the grid of comma-separated values.

Hydra's own sweeper knows only the grid. A *variant* is a named set of values that belong together (`rank 4 with 10
experts`, `no router`): so zipped and conditional combinations are written out, one line each.

Each point gets a `label`, the readable part of its runs' names: the variant's name and what the grid varies,
`rank8-router_top1`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from daair.config import overrides as printed
from daair.config.problems import ConfigError, Problem, did_you_mean
from daair.config.schema import names_config
from daair.files import safe_name

Variants = Mapping[str, Mapping[str, Any] | None]


def points(overrides: Sequence[Override], variants: Variants | None, only: Sequence[str] | None) -> list[list[str]]:
    """Return every job of a sweep, as override texts.

    Args:
        overrides: parsed; sweeps among them are expanded, of two for the same key the last holds.
        variants: name -> {key: value}; none at all sweeps the grid alone.
        only: names of the variants to take, in this order; None = all.

    Raises:
        ConfigError: `only` names no variant, or an override sets what a variant sets.
    """
    values = {override.get_key_element(): _values(override) for override in overrides}
    grid = [list(point) for point in itertools.product(*values.values())]
    swept = {override.get_key_element() for override in overrides if override.is_sweep_override()}
    if not variants:
        if only:
            raise ConfigError([Problem("hydra.sweeper.only", "this sweep has no variants to choose from")])
        variants = {"": None}
    chosen = _chosen(variants, only)
    keys = {override.key_or_group for override in overrides}
    for name, values in chosen.items():
        for key in keys.intersection(values):
            raise ConfigError([Problem(key, f"set by variant {name}; choose variants with hydra.sweeper.only=[...]")])
    jobs = []
    for name, values in chosen.items():
        for point in grid:
            label = "" if "label" in keys else "-".join(filter(None, (name, label_of(point, swept))))
            own = [f"{key}={printed.text(value)}" for key, value in values.items()]
            jobs.append([*own, *([f"label={label}"] if label else []), *point])
    return jobs


def label_of(point: Sequence[str], swept: Collection[str]) -> str:
    """Return what tells a point of a grid from the others, for people: `rank8-router_top1`; empty if nothing does.

    It says the values of the swept keys, by the shortest names that tell those apart, without what makes no other
    config (seed, paths, processes, ...). So it is the same for a point whatever other values the sweep has.

    Args:
        point: overrides, `key=value`.
        swept: keys that the sweep varies, as they stand in `point`.
    """
    values = dict(override.split("=", 1) for override in point)
    paths = {key: key.lstrip("+~").rpartition("@")[2] for key in sorted(values) if key in swept}
    names = {key: re.split(r"[./]", path) for key, path in paths.items() if names_config(path)}
    words = []
    for key, name in names.items():
        alone = sum(other[-1] == name[-1] for other in names.values()) == 1
        words.append((name[-1] if alone else "_".join(name[-2:])) + _readable(values[key]))
    return safe_name("-".join(words)) if words else ""


def _values(override: Override) -> list[str]:
    """Return an override once for each value that it is swept over."""
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _readable(value: str) -> str:
    """Return a value behind its key's name: `8`, `0.002`, `_top1`, `_1-2-4`; equal numbers read equal."""
    try:
        return f"{float(value):.12g}".replace("e+", "e")
    except ValueError:
        value = value.lower() if value in ("True", "False") else value  # as Hydra writes out true and false
        return "_" + re.sub(r"[^A-Za-z0-9._-]+", "-", value).strip("-")


def _chosen(variants: Variants, only: Sequence[str] | None) -> dict[str, Mapping[str, Any]]:
    names = list(variants) if only is None else list(only)
    for name in names:
        if name not in variants:
            text = f"no variant {name}{did_you_mean(name, variants, 'variants')}"
            raise ConfigError([Problem("hydra.sweeper.only", text)])
    return {name: variants[name] or {} for name in names}
