"""Pairs of a degraded image and its clean one, found by name.

How an input's name gives its target's differs from data set to data set; each way is a rule in a table.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from daair.data.listing import short_names, sort_naturally
from daair.errors import UserError, unknown_name

_SAME = (r".+", r"\g<0>")

RULES: dict[str, tuple[tuple[str, str], ...]] = {
    # LOL, GoPro, CDD-11, and most folders that somebody has put in order.
    "same": (_SAME,),
    # Rain100L and Rain100H as published: PromptIR's training list has rain-1.png and norain-1.png; its test folders
    # (as AirNet's) have 1.png in both.
    "rain": ((r"rain-(.+)", r"norain-\1"), _SAME),
    # RESIDE: <scene>_<airlight>_<beta> outdoors (0001_0.8_0.2.jpg and 0001.png), <scene>_<number> indoors. AirNet,
    # PromptIR, AdaIR and MoCE-IR all take what stands before the first underscore.
    "haze": ((r"([^_]+)_.+", r"\1"), _SAME),
    # Scale factors at the end of the input's name: norain-001x2 (JORDER), img_001_x4, baby_LRBI_x2.
    "scale": ((r"(.+?)(?:_LR\w*?)?_?x\d+", r"\1"), _SAME),
}
"""The rules by name: how the name of an input, without its suffix, gives the name of its target.

A rule is pairs of a regular expression for the whole input name, and the target's name as `re.Match.expand` writes it.
The first pair whose target exists counts. Suffixes need not agree (`.jpg` and `.png`).
"""


@dataclass(frozen=True)
class Pair:
    """A degraded image and its clean one.

    Attributes:
        name: Of the input; unique within its pairing.
        input: File of the degraded image.
        target: File of the clean image.
    """

    name: str
    input: Path
    target: Path


@dataclass(frozen=True)
class Pairing:
    """Pairs of files, and what is left over, in natural order whatever the order of the files was.

    Attributes:
        pairs: One for each input that has a target; several may share a target, as RESIDE's do.
        lone_inputs: Inputs without a target.
        lone_targets: Targets that no input asked for.
    """

    pairs: list[Pair]
    lone_inputs: list[Path]
    lone_targets: list[Path]


def pair(inputs: Iterable[Path], targets: Iterable[Path], rule: str = "same") -> Pairing:
    """Find the target of each input by the files' names; no file is opened.

    Where several targets have the right name (`a/1.png`, `b/1.png`, `b/1.jpg`), the one counts whose folders are
    named like the input's, from the innermost outwards, then the one with the input's suffix, then the first.

    Args:
        inputs: Files of degraded images, without repetition.
        targets: Files of clean images, without repetition.
        rule: One of `RULES`.

    Raises:
        UserError: There is no such rule.
    """
    check_rule(rule)
    inputs, targets = sort_naturally(inputs), sort_naturally(targets)
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for file in targets:
        by_stem[file.stem].append(file)
    pairs, lone, used = [], [], set()
    for file, name in zip(inputs, short_names(inputs), strict=True):
        stem = next((stem for stem in target_names(file.stem, rule) if stem in by_stem), None)
        if stem is None:
            lone.append(file)
            continue
        same_name = by_stem[stem]
        target = same_name[0] if len(same_name) == 1 else max(same_name, key=lambda other: _likeness(file, other))
        pairs.append(Pair(name, file, target))
        used.add(target)
    return Pairing(pairs, lone, [file for file in targets if file not in used])


def check_rule(name: str) -> None:
    """Refuse an unknown rule.

    Raises:
        UserError: There is no such rule; the message suggests the nearest name.
    """
    if name not in RULES:
        raise UserError(f"rule: {unknown_name(name, RULES)}")


def target_names(stem: str, rule: str) -> list[str]:
    """Return the names that the target of an input may have, the likeliest first, all without suffix."""
    found = ((re.fullmatch(pattern, stem, re.IGNORECASE), name) for pattern, name in RULES[rule])
    return [match.expand(name) for match, name in found if match]


def best_rule(inputs: Sequence[Path], targets: Sequence[Path]) -> str:
    """Return the rule that leaves the fewest inputs alone, for a hint; the first of `RULES` in a tie."""
    return min(RULES, key=lambda rule: len(pair(inputs, targets, rule).lone_inputs))


def _likeness(file: Path, other: Path) -> tuple[int, bool]:
    """Return how many folders have the same names, from the innermost outwards, and whether the suffix is the same."""
    alike = 0
    for a, b in zip(reversed(file.parts[:-1]), reversed(other.parts[:-1]), strict=False):
        if a != b:
            break
        alike += 1
    return alike, file.suffix.lower() == other.suffix.lower()
