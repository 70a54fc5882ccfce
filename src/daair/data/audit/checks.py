"""What is checked of one data set: counts, pairs, each file, sizes, colours, duplicates, input PSNR."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from daair.data.audit.findings import Finding, SetReport, short
from daair.data.audit.fingerprints import matches
from daair.data.audit.inspection import Facts
from daair.data.audit.pair_checks import PairFigures
from daair.data.datasets import Found
from daair.data.pairing import Pair, Pairing, pair
from daair.errors import UserError

SMALLEST = {"train": 128, "val": 16, "test": 16}
"""Shortest side in pixels that a picture may have: the papers' training crops, and the unit of test crops."""

TRAINING_PAIRS = 200
"""Pairs of a training set that are measured, evenly spread; test sets are measured completely."""

TOLERANCE_DB = 0.05
"""Difference from a published input PSNR, which has two decimals, that is still the same data."""

CHANCE = 4.0
"""Standard errors by which the mean of a subset may differ from that of the complete set."""

ALIEN = 0.25
"""Similarity of an input's and its target's fingerprint below which they show different things; rain, haze and low
light leave at least 0.67 at hand, and different scenes rarely have so much."""

_BSD = {"481x321", "321x481"}
_SIZES: dict[str, dict[str, set[str]]] = {
    "bsd400/train": {"BSDS500": _BSD},
    "cbsd68/test": {"BSDS500": _BSD},
    "kodak24/test": {
        "500x500 crops, as FFDNet, KAIR and most denoising papers": {"500x500"},
        "768x512 originals, as Restormer and SwinIR": {"768x512", "512x768"},
    },
    "mcmaster/test": {"McMaster": {"500x500"}},
    "rain100l/train": {"BSDS500": _BSD},
    "rain100l/test": {"BSDS500": _BSD},
    "rain100h/train": {"BSDS500": _BSD},
    "rain100h/test": {"BSDS500": _BSD},
    "gopro/train": {"GoPro": {"1280x720"}, "512x512 crops of Restormer's script": {"512x512"}},
    "gopro/test": {"GoPro": {"1280x720"}},
    "lolv1/train": {"LOL": {"600x400"}},
    "lolv1/test": {"LOL": {"600x400"}},
}
"""Sizes of the clean pictures, by data set and version. Two Kodak24 are in circulation (Restormer's issue 48)."""

_KNOWN = {
    "rain100l/test": "nine backgrounds occur twice in the complete benchmark, with different rain: leave it as it is",
    "lolv1/train": "LOL took several exposures of its scenes: leave it as it is",
}
"""What is known of duplicates within published sets."""


class Check:
    """The checks of one data set; `findings` and `report` are its result."""

    def __init__(self, root: Path, one: Found) -> None:
        self.root, self.found, self.findings = root, one, []
        self.name, self.split = one.dataset.name, one.dataset.name.split("/")[1]
        self.report = SetReport(
            self.name,
            one.layout,
            [self._short(folder) for folder in one.folders],
            official=one.count,
            published=dict(one.dataset.input_psnr),
        )
        self.targets: list[Path] = []
        self.inputs: list[Path] = []
        self.pairing = Pairing([], [], [])
        self.figures: list[PairFigures] = []
        try:
            self.targets, self.inputs = one.files(), one.input_files()
        except UserError as error:
            self._add("error", str(error))
            return
        self.report.images = len(self.targets)
        if one.inputs:
            self.pairing = one.pairing()
            self.report.pairs = len(self.pairing.pairs)

    @property
    def files(self) -> list[Path]:
        """All its files."""
        return self.inputs + self.targets

    def sample(self, facts: Mapping[Path, Facts]) -> list[Pair]:
        """Return the pairs to measure: readable, of equal size; a part of a training set."""
        pairs = self.pairing.pairs
        if self.split == "train" and len(pairs) > TRAINING_PAIRS:
            pairs = [pairs[i] for i in np.linspace(0, len(pairs) - 1, TRAINING_PAIRS).astype(int)]
        return [pair for pair in pairs if self._readable_pair(pair, facts) and self._fits(pair, facts)]

    def run(self, facts: Mapping[Path, Facts]) -> None:
        """All checks within the set."""
        readable = [file for file in self.targets if not facts[file].error]
        self.report.sizes = dict(Counter(facts[file].size for file in readable).most_common())
        if not self.targets:
            return
        self._counts()
        self._pairs(facts)
        self._readable(facts)
        self._sizes(readable, facts)
        self._grey(readable, facts)
        self._duplicates(readable, facts)
        self._quality()

    def _counts(self) -> None:
        here, official, unit = self.report.count, self.report.official, "pairs" if self.found.inputs else "images"
        if official is None or here == official:
            return
        known = self.found.dataset.variants.get(here)
        if known:
            level = "note" if here < official else "error" if self.split == "test" else "warning"
            self._add(level, f"{here} {unit} instead of {official}: {known}")
        elif here < official:
            remedy = "figures on it are not those of the benchmark" if self.split == "test" else ""
            self._add("warning", f"{here} of {official} {unit}: a subset", remedy)
        else:
            level = "error" if self.split == "test" else "warning"
            self._add(level, f"{here} {unit}, but there are only {official} of them", "remove what does not belong")

    def _pairs(self, facts: Mapping[Path, Facts]) -> None:
        lone_inputs, lone_targets = self.pairing.lone_inputs, self.pairing.lone_targets
        if lone_inputs and not self.pairing.pairs:
            other = pair(self.targets, self.inputs, self.found.place.rule)
            if other.pairs:
                self._add("error", "input and target folders are swapped, by the files' names", "rename the folders")
                return
        if lone_inputs:
            self._add("error", "no clean picture for this input", "restore or remove the half pair", lone_inputs)
        if lone_targets:
            self._add("warning", "no input for this clean picture", "restore or remove the half pair", lone_targets)
        readable = [pair for pair in self.pairing.pairs if self._readable_pair(pair, facts)]
        unequal = [pair for pair in readable if not self._fits(pair, facts)]
        if unequal:
            sizes = f"{facts[unequal[0].input].size} and {facts[unequal[0].target].size}"
            inputs = [pair.input for pair in unequal]
            self._add("error", f"input and target differ in size ({sizes})", "get both halves from one source", inputs)
        prints = [(facts[pair.input].fingerprint, facts[pair.target].fingerprint) for pair in readable]
        alien = [p.input for p, (a, b) in zip(readable, prints, strict=True) if a.any() and b.any() and a @ b < ALIEN]
        if alien:
            self._add("warning", "does not show what its clean picture shows", "check the pair", alien)

    def _readable_pair(self, pair: Pair, facts: Mapping[Path, Facts]) -> bool:
        return not (facts[pair.input].error or facts[pair.target].error)

    def _fits(self, pair: Pair, facts: Mapping[Path, Facts]) -> bool:
        """Return whether input and target have one size, or the target the margin that it has as published."""
        one, other, border = facts[pair.input], facts[pair.target], 2 * self.found.dataset.margin
        return (other.width - one.width, other.height - one.height) in {(0, 0), (border, border)}

    def _readable(self, facts: Mapping[Path, Facts]) -> None:
        for file in self.files:
            if facts[file].error:
                self._add("error", facts[file].error, files=[file])

    def _sizes(self, readable: Sequence[Path], facts: Mapping[Path, Facts]) -> None:
        versions = _SIZES.get(self.name, {})
        by_version = defaultdict(list)
        for file in readable:
            by_version[next((v for v, sizes in versions.items() if facts[file].size in sizes), "")].append(file)
        level = "error" if self.split == "test" else "warning"
        if versions and by_version[""]:
            odd = by_version[""]
            expected = ", ".join(sorted(size for sizes in versions.values() for size in sizes))
            self._add(level, f"is {facts[odd[0]].size}, not {expected}", "this is another version: replace it", odd)
        named = [version for version in versions if by_version[version]]
        if len(named) > 1:
            rarest = min(named, key=lambda version: len(by_version[version]))
            self._add(level, f"mixes versions: {'; '.join(named)}", "keep one", by_version[rarest])
        elif named and len(versions) > 1:
            self._add("note", named[0])
        small = [file for file in readable if min(facts[file].width, facts[file].height) < SMALLEST[self.split]]
        if small:
            what = f"is only {facts[small[0]].size}"
            why = "the papers' crops have 128 pixels" if self.split == "train" else "benchmarks cut to multiples of 16"
            self._add(level, what, f"{why}: remove it", small)

    def _grey(self, readable: Sequence[Path], facts: Mapping[Path, Facts]) -> None:
        grey = [file for file in readable if facts[file].grey]
        if len(grey) > len(readable) / 2 and len(readable) > 1:
            level = "error" if self.split == "test" else "warning"
            self._add(level, f"{len(grey)} of {len(readable)} pictures are grey", "get the colour version", grey)
        elif grey:
            self._add("warning", "is grey in a set of colour pictures", "get the colour version", grey)

    def _duplicates(self, readable: Sequence[Path], facts: Mapping[Path, Facts]) -> None:
        for files, what in ((self.inputs, "inputs"), (readable, "pictures")):
            same = defaultdict(list)
            for file in files:
                same[facts[file].digest].append(file)
            twice = [file for group in same.values() for file in group[1:] if facts[file].digest]
            if twice:
                twin = self._short(next(group[0] for group in same.values() if twice[0] in group))
                self._add("warning", f"the very same file as {twin}", f"{len(twice)} {what} more than once", twice)
        if self.found.dataset.label == "blur":
            return  # frames of a few videos, which all resemble their neighbours
        prints = [facts[file].fingerprint for file in readable]
        near = [m for m in matches(prints) if facts[readable[m.first]].digest != facts[readable[m.second]].digest]
        if near:
            first, other = readable[near[0].first], readable[near[0].second]
            what = f"shows the scene of {self._short(first)}"
            files = list(dict.fromkeys(readable[match.second] for match in near))
            remedy = f"{len(files)} of {len(readable)} pictures repeat a scene"
            known = _KNOWN.get(self.name, "")
            assert other == files[0]
            self._add("warning", what, f"{remedy}{known and ' ('}{known}{known and ')'}", files)

    def _quality(self) -> None:
        """Input PSNR, swapped folders, and inputs that are not of their targets."""
        if not self.figures:
            return
        mean = {
            key: float(np.mean([getattr(f, key) for f in self.figures if np.isfinite(f.rgb)] or [np.inf]))
            for key in ("rgb", "y")
        }
        self.report.input_psnr, self.report.measured = mean, len(self.figures)
        files = [pair.input for pair in self.pairing.pairs]
        equal = [f.pair.input for f in self.figures if not np.isfinite(f.rgb)]
        if equal:
            self._add("error", "input and target are equal", "get the degraded picture", equal)
        swapped = [f.swapped(self.found.dataset.label) for f in self.figures]
        known = [s for s in swapped if s is not None]
        if known and np.mean(known) > 0.5:
            self._add("error", "inputs look cleaner than targets: the folders are swapped", "rename the folders")
        complete = self.report.count == self.report.official == len(self.figures)
        for protocol, published in self.report.published.items():
            key = "y" if protocol.endswith("_y") else "rgb"
            here = [value for f in self.figures if np.isfinite(value := getattr(f, key))]
            if len(here) < 2:
                continue
            margin = TOLERANCE_DB if complete else CHANCE * float(np.std(here)) / len(here) ** 0.5
            if abs(mean[key] - published) > margin:
                over = "" if complete else f" over {len(here)} pairs"
                what = f"input PSNR is {mean[key]:.2f} dB{over}, published are {published:.2f} dB ({protocol})"
                remedy = "this is another version of the data"
                self._add(
                    "error" if complete else "warning", what, remedy if complete else f"perhaps {remedy}", files[:1]
                )

    def _add(self, level: str, what: str, remedy: str = "", files: Sequence[Path] = ()) -> None:
        self.findings.append(Finding(level, self.name, what, remedy, tuple(self._short(file) for file in files)))

    def _short(self, path: Path) -> str:
        return short(path, self.root)
