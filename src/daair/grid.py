"""The points of a sweep: every variant of a study, times the grid of comma-separated values.

Hydra's own sweeper knows only the grid. A *variant* is a named set of values that belong together (`rank 4 with 10
experts`, `no router`): so zipped and conditional combinations are written out, one line each, and the variant's name
labels its runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override

from daair.problems import ConfigError, Problem, nearest

Variants = Mapping[str, Mapping[str, Any] | None]


def points(overrides: Sequence[Override], variants: Variants | None, only: Sequence[str] | None) -> list[list[str]]:
    """Every job of a sweep, as override texts.

    Args:
        overrides: parsed; sweeps among them are expanded, of two for the same key the last holds.
        variants: name -> {key: value}; none at all sweeps the grid alone.
        only: names of the variants to take, in this order; None = all.

    Raises:
        ConfigError: `only` names no variant, or an override sets what a variant sets.
    """
    grid: list[list[str]] = BasicSweeper.split_arguments(list(overrides), None)[0]
    if not variants:
        if only:
            raise ConfigError([Problem("hydra.sweeper.only", "this sweep has no variants to choose from")])
        return grid
    chosen = _chosen(variants, only)
    keys = {override.key_or_group for override in overrides}
    for name, values in chosen.items():
        for key in keys.intersection(values):
            raise ConfigError([Problem(key, f"set by variant {name}; choose variants with hydra.sweeper.only=[...]")])
    labelled = "label" in keys
    return [
        [*(f"{key}={_text(value)}" for key, value in values.items()), *([] if labelled else [f"label={name}"]), *point]
        for name, values in chosen.items()
        for point in grid
    ]


def _chosen(variants: Variants, only: Sequence[str] | None) -> dict[str, Mapping[str, Any]]:
    names = list(variants) if only is None else list(only)
    for name in names:
        if name not in variants:
            near = nearest(name, variants)
            hint = f"; did you mean {near}?" if near else ""
            raise ConfigError(
                [Problem("hydra.sweeper.only", f"no variant {name}{hint} (variants: {', '.join(variants)})")]
            )
    return {name: variants[name] or {} for name in names}


def _text(value: Any) -> str:
    """A value as Hydra's override grammar reads it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(_text(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(item)}" for key, item in value.items()) + "}"
    return str(value)
