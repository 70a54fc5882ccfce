"""Pairs of a degraded and a clean image file, found by their names.

Data sets differ in how the name of an input gives that of its target; the table `RULES` lists the known ways.
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
    # Names are equal in LOL, GoPro, CDD-11 and most folders that users have sorted.
    "same": (_SAME,),
    # Rain100L and Rain100H have rain-1.png and norain-1.png, as in PromptIR's training list; the test folders of
    # PromptIR and AirNet have 1.png for both.
    "rain": ((r"rain-(.+)", r"norain-\1"), _SAME),
    # RESIDE has <scene>_<airlight>_<beta> outdoors (0001_0.8_0.2.jpg and 0001.png) and <scene>_<number> indoors.
    # AirNet, PromptIR, AdaIR and MoCE-IR all use the part before the first underscore.
    "haze": ((r"([^_]+)_.+", r"\1"), _SAME),
    # Inputs may have a scale factor at the end: norain-001x2 (JORDER), img_001_x4, baby_LRBI_x2.
    "scale": ((r"(.+?)(?:_LR\w*?)?_?x\d+", r"\1"), _SAME),
}
"""Rules by name that turn the name of an input, without its suffix, into the name of its target.

A rule consists of pairs of a regular expression for the whole input name and a template of the target's name for
`re.Match.expand`. The first pair whose target exists is used. Suffixes may differ (`.jpg` and `.png`).
"""


@dataclass(frozen=True)
class Pair:
    """A degraded image and its clean one.

    Attributes:
        name: Name of the input, unique within its pairing.
        input: File of the degraded image.
        target: File of the clean image.
    """

    name: str
    input: Path
    target: Path


@dataclass(frozen=True)
class Pairing:
    """Pairs of files and the files without a partner, in natural order.

    Attributes:
        pairs: One pair for each input that has a target; several may share a target, as RESIDE's do.
        lone_inputs: Inputs without a target.
        lone_targets: Targets without an input.
    """

    pairs: list[Pair]
    lone_inputs: list[Path]
    lone_targets: list[Path]


def pair(inputs: Iterable[Path], targets: Iterable[Path], rule: str = "same") -> Pairing:
    """Find the target of each input by the files' names; no file is opened.

    Of several targets with the right name (`a/1.png`, `b/1.png`, `b/1.jpg`), the one is used that shares most folder
    names with the input, counted from the innermost folder, then the one with the input's suffix, then the first.

    Args:
        inputs: Files of degraded images, without repetition.
        targets: Files of clean images, without repetition.
        rule: Name in `RULES`; a UserError is raised for another.
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
    """Raise a UserError with the nearest name if a rule is unknown."""
    if name not in RULES:
        raise UserError(f"rule: {unknown_name(name, RULES)}")


def target_names(stem: str, rule: str) -> list[str]:
    """Return the possible names of an input's target without suffix, in the order of preference."""
    found = ((re.fullmatch(pattern, stem, re.IGNORECASE), name) for pattern, name in RULES[rule])
    return [match.expand(name) for match, name in found if match]


def best_rule(inputs: Sequence[Path], targets: Sequence[Path]) -> str:
    """Return the rule that finds targets for most inputs; the first in `RULES` in a tie."""
    return min(RULES, key=lambda rule: len(pair(inputs, targets, rule).lone_inputs))


def _likeness(file: Path, other: Path) -> tuple[int, bool]:
    """Return the number of equal folder names, from the innermost outwards, and whether the suffixes are equal."""
    alike = 0
    for a, b in zip(reversed(file.parts[:-1]), reversed(other.parts[:-1]), strict=False):
        if a != b:
            break
        alike += 1
    return alike, file.suffix.lower() == other.suffix.lower()
