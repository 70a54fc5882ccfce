"""The command that composes a given config again: what a report tells of each row.

Group choices come first, then every key that still differs from what they compose to. So the command is as short as it
can be, and it needs nothing but the checkout.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from daair.cli import conf_dir
from daair.config.jobs import Composer
from daair.config.validate import choices_of, validate
from daair.report.config_columns import REPEATED

GROUPS = ("scale", "model", "experts", "router", "control", "mix", "loss", "optimizer", "schedule", "train")
"""Groups of conf/ that make a run what it is, in the order in which a command names them."""

ELSEWHERE = frozenset({
    "task", "choices", "question", "paths", "launch", "logger", "device", "checkpoint", "input", "output", "collate",
    "restore", "profile", "preview",
})  # fmt: skip
"""Root keys that do not change what a training finds, or where it is looked for."""

OPEN = ("mix.tasks.",)
"""Mappings whose keys are the user's: a key that is missing there was taken out."""

_PLAIN = re.compile(r"[A-Za-z_/][\w./:-]*", re.ASCII)


def command(config: Mapping[str, Any], seeds: Sequence[int] | None = None) -> str:
    """Return a line for a shell, run in the checkout: `python run.py model=daair_tiny experts.rank=8 seed=0`.

    Args:
        config: a frozen config (`Record.config`).
        seeds: of several runs of this config; more than one become a sweep.

    Raises:
        UserError: conf/ has changed so that the config cannot be composed any more.
    """
    seeds = [config["seed"]] if seeds is None else sorted(seeds)
    parts = [*overrides(config), f"seed={','.join(map(str, seeds))}"]
    return shlex.join(["python", "run.py", *(["-m"] if len(seeds) > 1 else []), *parts])


def overrides(config: Mapping[str, Any]) -> list[str]:
    """Return what to change in the default config to get `config`, but for its seed.

    Raises:
        UserError: its groups do not compose.
    """
    choices = config.get("choices") or {}
    chosen = [f"{group}={choices[group]}" for group in GROUPS if group in choices]
    default = _composed(())[1]
    chosen = [choice for choice in chosen if choice.partition("=")[2] != default.get(choice.partition("=")[0])]
    base, composed = _composed(tuple(chosen))
    # Parts of a group, such as degradation@mix.tasks.haze.degrade, whose option is not the one that the group takes.
    parts = [f"{g}={o}" for g, o in choices.items() if "@" in g and composed.get(g, o) != o]
    if parts:
        base, _ = _composed((*chosen, *parts))
    wanted, given = _leaves(config), _leaves(base)
    changed = [_override(key, value, key in given) for key, value in wanted.items() if given.get(key, ...) != value]
    taken = [f"~{key}" for key in _taken_out(config, base)]
    return [*chosen, *parts, *taken, *changed]


@cache
def _composed(texts: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the config that overrides compose to, and its choices."""
    cfg = Composer(conf_dir()).compose(texts)
    return validate(cfg).to_dict(), choices_of(cfg)


def _leaves(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return dotted keys and values, without `ELSEWHERE`, the seed and what is told twice."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if name == "benchmarks":
            leaves[name] = _benchmarks(value)
        elif name == "seed" or name in ELSEWHERE or f"{name}." in REPEATED:
            continue
        elif isinstance(value, Mapping) and value:
            leaves |= _leaves(value, f"{name}.")
        else:
            leaves[name] = list(value) if isinstance(value, tuple) else value
    return leaves


def _benchmarks(value: Any) -> Any:
    """As a user writes them: names alone where all of them are known by name."""
    if not isinstance(value, Mapping):
        return value
    given = {name: {k: v for k, v in (entry or {}).items() if v is not None} for name, entry in value.items()}
    return given if any(given.values()) else list(given)


def _taken_out(config: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Return keys of `OPEN` mappings that the base has and the config has not."""
    taken = []
    for prefix in OPEN:
        section, name = prefix.rstrip(".").split(".")
        here, there = (part.get(section, {}).get(name) or {} for part in (config, base))
        taken += [f"{prefix}{key}" for key in there if key not in here]
    return taken


def _override(key: str, value: Any, known: bool) -> str:
    return f"{'' if known else '++'}{key}={text(value)}"


def text(value: Any) -> str:
    """Return a value as Hydra's override grammar reads it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(text, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{text(key)}:{text(item)}" for key, item in value.items()) + "}"
    return quoted(str(value))


def quoted(word: str) -> str:
    """Return a text, in quotes unless it is one word that could be nothing else."""
    if _PLAIN.fullmatch(word) and word.lower() not in {"null", "true", "false", "nan", "inf"}:
        return word
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(word, Quote.single).with_quotes()
