"""Read the words of a command line as their user meant them, before Hydra's grammar does.

`study=` and paths are taken as they stand, whatever they contain: `input=Holiday (2), #3`. A word that is no override
is refused with what to write in its place. The values that Hydra gives a meaning stay what they are: `null`, texts in
quotes, interpolations such as `${oc.env:DATA}`, and the values of a sweep, `-m mix.root=/a,/b`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from daair.config import overrides
from daair.config.compose import conf_dir, parse_arguments, unknown_flags
from daair.errors import UserError

RULES = r"(mix\.tasks\.[^.]+\.pairs|benchmarks\.[^.]+)\.rule"
TEXTS = re.compile(
    rf"{overrides.PATHS.pattern}|{RULES}|study|label|question|logger\.(project|entity)"
    r"|collate\.(project|name|table\.(caption|label))"
)
"""Keys whose values are texts of any characters."""

PROSE = ("question", "collate.table.caption")
"""Those of sentences, whose commas do not separate the values of a sweep."""

WITHOUT_EFFECT = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.chdir")
"""Keys that choose where Hydra's own programs write."""

_IN_QUOTES = re.compile(r"'.*'|\".*\"", re.DOTALL)
_ITEMS = re.compile(r"'[^']*'|\"[^\"]*\"|[^,]+")
_SEVERAL = re.compile(r"(choice|range|glob|interval|shuffle|sort|tag)\(.*\)", re.DOTALL)


def read(words: Sequence[str]) -> list[str]:
    """Return the words of a command line with values and flags as Hydra reads them.

    Raises:
        UserError: A word is neither a flag nor an override, or sets a key that has no effect.
    """
    words = flags_first(words)
    _refuse_flags(words)
    arguments = parse_arguments(words)
    if arguments.config_path is not None:
        raise UserError("--config-path: has no effect here; --config-dir DIR adds a folder with configs")
    typed = list(arguments.overrides)
    _refuse_words(typed)
    return [_read(word, typed, arguments.multirun) if word in typed else word for word in words]


def flags_first(words: Sequence[str]) -> list[str]:
    """Return the words with `-m` in front, since argparse does not find it in `seed=0,1 -m rank=4`."""
    return sorted(words, key=lambda word: word not in ("-m", "--multirun"))


def spell_out(word: str, others: Sequence[str] = ()) -> str:
    """Return an override with `++` in front if its key is one that users add, else unchanged.

    These are the keys of benchmarks, as in `benchmarks.mine.input=DIR`, and the arguments of a class that one of the
    `others` sets: `model.width=32` beside `model._target_=mypkg.Net`.
    """
    keys = [text.partition("=")[0].lstrip("+") for text in others]
    users = ("benchmarks.", *(key.removesuffix("_target_") for key in keys if key.endswith("._target_")))
    key, equals, _ = word.partition("=")
    return f"++{word}" if equals and key.startswith(users) and not key.endswith("._target_") else word


def quoted(value: str, *, sweep: bool = False, several: bool = False) -> str:
    """Return a text as it follows `key=` in Hydra's grammar; one that names a file is always that file.

    Args:
        sweep: Whether commas separate the values of a sweep.
        several: Whether the key also takes a list, `[a.png,b.png]`.
    """
    if value in ("", "null", "???") or "${" in value:
        return value
    if not os.path.lexists(os.path.expanduser(value)):
        if _IN_QUOTES.fullmatch(value) or sweep and _SEVERAL.fullmatch(value):
            return value
        if several and value.startswith("[") and value.endswith("]"):
            return f"[{','.join(quoted(item.strip()) for item in _ITEMS.findall(value[1:-1]))}]"
        if sweep and "," in value:
            return ",".join(quoted(item.strip(), several=several) for item in _ITEMS.findall(value))
    return overrides.text(value)


def _read(word: str, others: Sequence[str], sweep: bool) -> str:
    key, equals, value = word.partition("=")
    key, name = key.strip(), key.strip().lstrip("+")
    if name in WITHOUT_EFFECT:
        raise UserError(f"{name}: has no effect here; paths.runs=DIR is the folder of all results")
    if equals and name == "where":  # a condition has quotes of its own
        return f"{key}={value if value in ('', 'null') else overrides.text(value)}"
    if equals and TEXTS.fullmatch(name):
        several = name in ("input", "runs", "study")
        return spell_out(f"{key}={quoted(value, sweep=sweep and name not in PROSE, several=several)}", others)
    return spell_out(f"{key}={value.strip()}" if equals else word, others)


def _refuse_flags(words: Sequence[str]) -> None:
    """Refuse `--experts.rank 4` and `--experts.rank=4`."""
    for flag in unknown_flags(words):
        key, equals, value = flag.lstrip("-").partition("=")
        after = words[words.index(flag) + 1 : words.index(flag) + 2]
        value = value if equals else next((word for word in after if "=" not in word), "...")
        raise UserError(f"{flag}: no such flag; write {key}={value}" if key else f"{flag}: no such flag")


def _refuse_words(words: Sequence[str]) -> None:
    """Refuse words that are no overrides, such as those of `experts.rank = 4` and `train`."""
    for i, word in enumerate(words):
        before, after = words[i - 1] if i else "", words[i + 1] if i + 1 < len(words) else ""
        key, equals, value = word.partition("=")
        if ":" in key.partition("@")[0]:
            if not equals:
                key, _, value = key.rpartition(":")
                value = value or (after if "=" not in after else "")
            raise UserError(f"{word}: not an override; write {key.strip(':').replace(':', '.')}={value or '...'}")
        if equals and key:
            continue
        if equals:
            key, value = before, value or after
            raise UserError(f"{key} {word}: write {key or 'KEY'}={value or 'VALUE'} without spaces")
        if word.startswith("~") or after.startswith("="):  # `~KEY` deletes; the next word is refused
            continue
        if before.endswith("=") and word:
            raise UserError(f"{before} {word}: write {before}{word} without spaces")
        tasks = [path.stem for path in Path(conf_dir(), "task").glob("*.yaml")]
        hint = f"write task={word}" if word in tasks else "write KEY=VALUE, as in seed=1"
        if "." in word and after and "=" not in after:
            hint = f"write {word}={after}"
        raise UserError(f"{word.strip() or repr(word)}: not an override; {hint}")
