"""List the points of a sweep: every variant of a study, times the grid of comma-separated values.

Hydra's own sweeper knows only the grid. A variant is a named set of values that belong together (rank 4 with 10
experts), so that a study can list any combinations, one line each. Each point gets a `label`, the readable part of its
runs' names: the name of the variant and the values of the grid, such as `rank8-router_top1`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from daair.config import overrides as printed
from daair.config.problems import ConfigError, Problem, did_you_mean
from daair.config.schema import names_config
from daair.files import safe_name

ROOT, DATA = "mix.root", "mix.data"
"""The folder of the data, which is no part of a run's identity, and its name, which is."""

MOST_JOBS = 100_000
"""Jobs of a sweep; each is composed and checked before the first starts."""

Variants = Mapping[str, Mapping[str, Any] | None]


def points(overrides: Sequence[Override], variants: Variants | None, only: Sequence[str] | None) -> list[list[str]]:
    """Return the overrides of every job of a sweep, as texts.

    Args:
        overrides: Parsed overrides; sweeps are expanded, and the last override of a key counts.
        variants: The variants as name -> {key: value}; without any, the sweep is the grid alone.
        only: Names of the variants to use, in this order; None = all.

    Raises:
        ConfigError: `only` names an unknown variant, or an override and a variant set the same key.
    """
    values = {override.get_key_element().lstrip("+"): _values(override) for override in overrides}
    count = math.prod(len(texts) for texts in values.values()) * len(variants or {"": None})
    if count > MOST_JOBS:
        swept = max(values, key=lambda key: len(values[key]))
        raise ConfigError([Problem(swept, f"a sweep has at most {MOST_JOBS} jobs, and this one would have more")])
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
    owns = {name: [f"{key}={printed.text(value)}" for key, value in values.items()] for name, values in chosen.items()}
    data = {} if DATA in keys else _names_of_data([*owns.values(), *grid])
    swept |= {DATA} if data and ROOT in swept else set()
    jobs = []
    for name, own in owns.items():
        for point in grid:
            point = [*(data[override] for override in (*own, *point) if override in data), *point]
            given = "label" in keys or "label" in chosen[name]
            label = "" if given else "-".join(filter(None, (name, label_of(point, swept))))
            jobs.append([*own, *([f"label={label}"] if label else []), *point])
    return jobs


def label_of(point: Sequence[str], swept: Collection[str]) -> str:
    """Return a readable label of a grid point, such as `rank8-router_top1`; empty if no swept key needs one.

    The label holds the values of the swept keys under their shortest unique names. Keys that cannot change a trained
    network (seed, paths, processes, ...) are left out. The other values of the sweep do not change the label.

    Args:
        swept: The keys that the sweep varies, spelled as in `point`.
    """
    values = dict(override.split("=", 1) for override in point)
    paths = {key: key.lstrip("+~").rpartition("@")[2] for key in sorted(values) if key in swept}
    names = {key: re.split(r"[./]", path) for key, path in paths.items() if names_config(path)}
    words = []
    for key, name in names.items():
        alone = sum(other[-1] == name[-1] for other in names.values()) == 1
        words.append((name[-1] if alone else "_".join(name[-2:])) + _readable(values[key]))
    return safe_name("-".join(words)) if words else ""


def _names_of_data(points: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return by override of `mix.root` the one of `mix.data` that names its folder; empty if the sweep has one root.

    A name is the last part of the path, with as many parts before it as tell it from the others.
    """
    roots = {override for point in points for override in point if override.startswith(f"{ROOT}=")}
    parts = {root: Path(root.partition("=")[2].strip("'\"")).parts for root in sorted(roots)}
    if len(parts) < 2:
        return {}
    names = {}
    for root, some in parts.items():
        alone = (n for n in range(1, len(some)) if [own[-n:] for own in parts.values()].count(some[-n:]) == 1)
        count = next(alone, len(some))
        names[root] = f"{DATA}={printed.text('/'.join(some[-count:]))}"
    return names


def _values(override: Override) -> list[str]:
    """Return one override text for each value of a sweep."""
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    try:
        some = itertools.islice(override.sweep_string_iterator(), MOST_JOBS + 1)  # which may be range(10**9)
        return [f"{key}={value}" for value in some]
    except Exception:  # OmegaConf raises errors of several kinds for a function among values
        text = "a function such as range(0,3) cannot stand among other values; write out all of them"
        raise ConfigError([Problem(override.key_or_group, text)]) from None


def _readable(value: str) -> str:
    """Return a value as it follows its key in a label: `8`, `0.002`, `_top1`, `_1-2-4`; equal numbers look equal."""
    try:
        return f"{float(value):.12g}".replace("e+", "e")
    except ValueError:
        value = value.lower() if value in ("True", "False") else value  # as Hydra writes out true and false
        return "_" + re.sub(r"[^\w.-]+", "-", value).strip("-")


def _chosen(variants: Variants, only: Sequence[str] | None) -> dict[str, Mapping[str, Any]]:
    names = list(variants) if only is None else [str(name) for name in only]  # `nan` is a number in YAML
    for name in names:
        if name not in variants:
            text = f"no variant {name}{did_you_mean(name, variants, 'variants')}"
            raise ConfigError([Problem("hydra.sweeper.only", text)])
    return {name: variants[name] or {} for name in names}
