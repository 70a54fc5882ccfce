"""Pairs of a degraded and a clean image file, found by their names.

Data sets differ in how the name of an input gives that of its target; the table `RULES` lists the known ways, and
a user can write another. Names that look equal are equal, however Unicode composes their accents.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
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

ARROW = " -> "
r"""Divides a rule of the user's own: `(.+)_s\d+ -> \1` finds the target `7` of the input `7_s2`."""


MOST = 0.75
"""Part of a folder's inputs whose targets one folder has, if that is said to belong to it."""

TRIED = 20
"""Targets that `likely_rule` compares with the first input."""


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
    names with the input, counted from the innermost and from the outermost folder, then the one with the input's
    suffix, then the first. If the folders of inputs have each their own folder of targets, as the scenes of GoPro do,
    a target of the right name in the folder of another one is none: its own is missing.

    Args:
        inputs: Files of degraded images, without repetition.
        targets: Files of clean images, without repetition.
        rule: Name in `RULES`, or a rule of the user's own, see `check_rule`.

    Raises:
        UserError: The rule is unknown or invalid.
    """
    check_rule(rule)
    inputs, targets = sort_naturally(inputs), sort_naturally(targets)
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for file in targets:
        by_stem[_composed(file.stem)].append(file)
    pairs, lone = [], []
    for file, name in zip(inputs, short_names(inputs), strict=True):
        stem = next((stem for stem in target_names(file.stem, rule) if stem in by_stem), None)
        if stem is None:
            lone.append(file)
            continue
        same_name = by_stem[stem]
        target = same_name[0] if len(same_name) == 1 else max(same_name, key=lambda other: _likeness(file, other))
        pairs.append(Pair(name, file, target))
    wrong = _of_another_folder(pairs)
    lone = sort_naturally([*lone, *wrong])
    pairs = [pair for pair in pairs if pair.input not in wrong]
    used = {pair.target for pair in pairs}
    return Pairing(pairs, lone, [file for file in targets if file not in used])


def _of_another_folder(pairs: Sequence[Pair]) -> set[Path]:
    """Return the inputs whose target lies in the folder of targets that belongs to another folder of inputs.

    A folder of targets belongs to one of inputs if it has the targets of most of them.
    """
    folders: dict[Path, Counter[Path]] = defaultdict(Counter)
    for pair in pairs:
        folders[pair.input.parent][pair.target.parent] += 1
    owned = {}
    for folder, counts in folders.items():
        target, count = counts.most_common(1)[0]
        if count >= MOST * counts.total():
            owned[folder] = target
    others = set(owned.values())
    strange = (pair for pair in pairs if owned.get(pair.input.parent, pair.target.parent) != pair.target.parent)
    return {pair.input for pair in strange if pair.target.parent in others}


def check_rule(rule: str) -> None:
    """Raise a UserError if a rule is unknown, with the nearest name, or is not `INPUT -> TARGET`.

    INPUT is a regular expression for the whole name of an input without its suffix, and TARGET the name of its target
    without suffix, in which `\\1` is the first group. Case is ignored in INPUT.
    """
    if ARROW not in rule:
        if rule not in RULES:
            raise UserError(f"rule: {unknown_name(rule, RULES)} (one of your own: '(.+)_x2{ARROW}\\1')")
        return
    for pattern, target in _steps(rule):
        try:
            re.compile(f"{pattern}|").fullmatch("").expand(target)
        except re.error as error:
            raise UserError(f"rule: '{rule}' is not a regular expression and a name ({error})") from None


def target_names(stem: str, rule: str) -> list[str]:
    """Return the possible names of an input's target without suffix, in the order of preference."""
    stem = _composed(stem)
    found = ((re.fullmatch(pattern, stem, re.IGNORECASE), name) for pattern, name in _steps(rule))
    return [match.expand(name) for match, name in found if match]


def best_rule(inputs: Sequence[Path], targets: Sequence[Path]) -> str:
    """Return the rule that finds targets for most inputs; the first in `RULES` in a tie."""
    return min(RULES, key=lambda rule: len(pair(inputs, targets, rule).lone_inputs))


def likely_rule(inputs: Sequence[Path], targets: Sequence[Path]) -> str | None:
    """Return a rule of one's own that finds a target for every input, made from how one name differs from another.

    The part that the first input shares with a target becomes the group, and numbers beside it stand for any number:
    `im_0001_s80_a04` and `im_0001` give `(.+)_s\\d+_a\\d+ -> \\1`. None if no such rule fits all.
    """
    stem = _composed(sort_naturally(inputs)[0].stem)
    for target in sort_naturally(targets)[:TRIED]:
        other = _composed(target.stem)
        match = SequenceMatcher(None, stem, other, autojunk=False).find_longest_match()
        before, after = (re.sub(r"\d+", r"\\d+", re.escape(part)) for part in _around(stem, match.a, match.size))
        first, last = (part.replace("\\", r"\\") for part in _around(other, match.b, match.size))
        rule = f"{before}(.+){after}{ARROW}{first}\\1{last}"
        if match.size and not last[:1].isdigit() and not pair(inputs, targets, rule).lone_inputs:
            return rule
    return None


def case_twin(stem: str, targets: Iterable[Path], rule: str) -> Path | None:
    """Return a target whose name differs from that of an input's target in case only; None if there is none."""
    wanted = {name.casefold() for name in target_names(stem, rule)}
    return next((file for file in targets if _composed(file.stem).casefold() in wanted), None)


def _around(name: str, start: int, size: int) -> tuple[str, str]:
    return name[:start], name[start + size :]


def _steps(rule: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs of an expression and a template of a rule that `check_rule` accepts."""
    if ARROW not in rule:
        return RULES[rule]
    pattern, _, target = _composed(rule).partition(ARROW)
    return ((pattern.strip(), target.strip()),)


def _composed(name: str) -> str:
    """Return a name with composed accents (NFC); macOS and some archives decompose them (NFD)."""
    return unicodedata.normalize("NFC", name)


def _likeness(file: Path, other: Path) -> tuple[int, bool]:
    """Return the number of equal folder names, from both ends inwards, and whether the suffixes are equal."""
    one, two = file.parts[:-1], other.parts[:-1]
    alike = sum(
        sum(1 for _ in takewhile(lambda ends: ends[0] == ends[1], zip(a, b, strict=False)))
        for a, b in ((one, two), (reversed(one), reversed(two)))
    )
    return alike, file.suffix.lower() == other.suffix.lower()
