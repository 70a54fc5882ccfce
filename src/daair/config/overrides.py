"""Write overrides as text: values in Hydra's grammar, and the command line that reproduces runs."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

PATHS = re.compile(
    r"((input|runs)(\[\d+\])?|(profile\.|collate\.)?output|checkpoint|mix\.(root|cache)|paths\.runs|train\.init"
    r"|collate\.tables|benchmarks\.[^.]+\.(input|target))"
)
"""Keys whose values are paths; `~` in them is the home folder."""

_PLAIN = re.compile(r"[A-Za-z_/][\w./:-]*", re.ASCII)


def text(value: Any) -> str:
    """Return a value in Hydra's grammar, as it is written after `key=`."""
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
    word = str(value)
    if _PLAIN.fullmatch(word) and word.lower() not in {"null", "true", "false", "nan", "inf"}:
        return word
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(word, Quote.single).with_quotes()


def command(overrides: Sequence[str], seeds: Sequence[int]) -> str:
    """Return the shell command that repeats the runs with these overrides, one per seed.

    Args:
        overrides: The overrides of one run as the user gave them (`Record.overrides`).
        seeds: The seeds of all runs of that config; several seeds become a sweep; empty for an evaluation.
    """
    others = [override for override in overrides if override.partition("=")[0].lstrip("+") != "seed"]
    flags = ["-m"] if len(seeds) > 1 else []
    seed = [f"seed={','.join(map(str, sorted(seeds)))}"] if seeds else []
    return shlex.join(["python", "run.py", *flags, *others, *seed])
