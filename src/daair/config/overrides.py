"""Write overrides as text: values in Hydra's grammar, and the command line that reproduces runs."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

PATHS = re.compile(
    r"((input|runs)(\[\d+\])?|(profile\.|collate\.)?output|checkpoint|mix\.(root|cache)|paths\.runs|train\.init"
    r"|collate\.tables|benchmarks\.[^.]+\.(input|target)|mix\.tasks\.[^.]+\.pairs\.(input|target))"
)
"""Keys whose values are paths; `~` in them is the home folder."""

OF_ONE_COMMAND = ("launch.rerun", "launch.dry_run", "launch.devices")
"""Keys that say how one command is carried out, on one machine, and nothing about its runs."""

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


def table_command(study: str, runs: str) -> str:
    """Return the shell command that makes a study's table from the runs in the folder `runs`."""
    place = [] if runs == "runs" else [f"paths.runs={text(runs)}"]
    return shlex.join(["python", "run.py", "task=collate", f"study={text(study)}", *place])


def command(overrides: Sequence[str], seeds: Sequence[int]) -> str:
    """Return the shell command that repeats the runs with these overrides, one per seed.

    Args:
        overrides: The overrides of one run as the user gave them (`Record.overrides`).
        seeds: The seeds of all runs of that config; several seeds become a sweep; empty for an evaluation.
    """
    named = {override: override.partition("=")[0].lstrip("+") for override in overrides}
    others = [override for override, name in named.items() if name not in ("seed", *OF_ONE_COMMAND)]
    launched = any(named[override].startswith(("launch.", "hydra/launcher")) for override in others)
    flags = ["-m"] if len(seeds) > 1 or launched else []
    seed = [f"seed={','.join(map(str, sorted(seeds)))}"] if seeds else []
    return shlex.join(["python", "run.py", *flags, *others, *seed])
