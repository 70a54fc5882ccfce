"""The audit of one data set: its counts, pairs, files, sizes, colours, duplicates and input PSNR."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from daair.data.audit.findings import LEVELS, DatasetSummary, Finding, relative_to_root
from daair.data.audit.fingerprints import matches
from daair.data.audit.inspection import FileFacts
from daair.data.audit.pair_measurements import PairMeasurement
from daair.data.datasets import LocatedDataset
from daair.data.pairing import Pair, Pairing, pair
from daair.errors import UserError

SMALLEST = {"train": 128, "val": 16, "test": 16}
"""Shortest side in pixels that an image may have, by split: the papers' training crops have 128 pixels, and test images
are cropped to multiples of 16."""

TRAINING_PAIRS = 200
"""Number of evenly spread pairs of a training set that are measured; all pairs of a test set are measured."""

TOLERANCE_DB = 0.05
"""Largest difference in dB from a published input PSNR, which has two decimals, at which the data count as the same."""

CHANCE = 4.0
"""Number of standard errors by which the mean of a subset may differ from that of the complete set."""

UNLIKE = 0.25
"""Similarity of the fingerprints of an input and its target below which they count as different scenes. It was at least
0.67 for all tested pairs with rain, haze or low light, and is rarely above 0.25 for different scenes."""

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
    "gopro/train": {"GoPro": {"1280x720"}},
    "gopro_crops/train": {"512x512 crops of Restormer's script": {"512x512"}},
    "gopro/test": {"GoPro": {"1280x720"}},
    "lolv1/train": {"LOL": {"600x400"}},
    "lolv1/test": {"LOL": {"600x400"}},
}
"""Sizes of the clean images, by data set and version. Two versions of Kodak24 are in use (Restormer's issue 48)."""

_KNOWN = {
    "rain100l/test": "nine backgrounds occur twice in the complete benchmark, with different rain: leave it as it is",
    "lolv1/train": "LOL took several exposures of its scenes: leave it as it is",
}
"""Known duplicates within published sets."""


class DatasetAudit:
    """The audit of one data set; construction lists its files.

    Attributes:
        findings: The findings so far.
        summary: The summary of the data set.
        facts: Facts by file, for at least the files of the data set; the caller sets them after construction.
        measurements: Measurements of the pairs that `pairs_to_measure` returns; the caller adds them before `run`.
    """

    def __init__(self, root: Path, located: LocatedDataset) -> None:
        self.root, self.located, self.name = root, located, located.dataset.name
        self.split = self.name.split("/")[1]
        self.severity = "error" if self.split == "test" else "warning"  # of images that are not those of the papers
        self.findings: list[Finding] = []
        self.summary = DatasetSummary(
            self.name,
            located.place.layout,
            [relative_to_root(folder, root) for folder in (*located.inputs, *located.targets)],
            official=located.dataset.count,
            published=dict(located.dataset.input_psnr),
        )
        self.targets: list[Path] = []
        self.inputs: list[Path] = []
        self.pairing = Pairing([], [], [])
        self.facts: Mapping[Path, FileFacts] = {}
        self.measurements: list[PairMeasurement] = []
        try:
            self.targets, self.inputs = located.files(), located.input_files()
        except UserError as error:
            self.add("error", str(error))
            return
        self.summary.images = len(self.targets)
        if located.inputs:
            self.pairing = located.pairing()
            self.summary.pairs = len(self.pairing.pairs)

    @property
    def files(self) -> list[Path]:
        """All files of the data set."""
        return self.inputs + self.targets

    def pairs_to_measure(self) -> list[Pair]:
        """Return the readable pairs of equal size, at most `TRAINING_PAIRS` of a training set."""
        pairs = self.pairing.pairs
        if self.split == "train" and len(pairs) > TRAINING_PAIRS:
            pairs = [pairs[i] for i in np.linspace(0, len(pairs) - 1, TRAINING_PAIRS).astype(int)]
        return [pair for pair in pairs if self._readable_pair(pair) and self._fits(pair)]

    def run(self) -> None:
        """Run all checks of the set, and add their findings."""
        readable = [file for file in self.targets if not self.facts[file].error]
        self.summary.sizes = dict(Counter(self.facts[file].size for file in readable).most_common())
        if not self.targets:
            return
        self._counts()
        self._pairs()
        self._readable()
        self._sizes(readable)
        self._grey(readable)
        self._duplicates(readable)
        self._quality()

    def _counts(self) -> None:
        here, official, unit = self.summary.count, self.summary.official, "pairs" if self.located.inputs else "images"
        if official is None or here == official:
            return
        known = self.located.dataset.variants.get(here)
        if known:
            level = "note" if here < official else self.severity
            self.add(level, f"{here} {unit} instead of {official}: {known}")
        elif here < official:
            remedy = "results on it are not those of the benchmark" if self.split == "test" else ""
            self.add("warning", f"{here} of {official} {unit}: a subset", remedy)
        else:
            self.add(self.severity, f"{here} {unit}, but there are only {official} of them", "remove the others")

    def _pairs(self) -> None:
        lone_inputs, lone_targets = self.pairing.lone_inputs, self.pairing.lone_targets
        if lone_inputs and not self.pairing.pairs:
            other = pair(self.targets, self.inputs, self.located.place.rule)
            if other.pairs:
                self.add("error", "input and target folders are swapped, by the files' names", "rename the folders")
                return
        if lone_inputs:
            self.add("error", "no clean image for this input", "complete or remove the pair", lone_inputs)
        if lone_targets:
            self.add("warning", "no input for this clean image", "complete or remove the pair", lone_targets)
        readable = [pair for pair in self.pairing.pairs if self._readable_pair(pair)]
        unequal = [pair for pair in readable if not self._fits(pair)]
        if unequal:
            sizes = f"{self.facts[unequal[0].input].size} and {self.facts[unequal[0].target].size}"
            inputs = [pair.input for pair in unequal]
            self.add("error", f"input and target differ in size ({sizes})", "get both from the same source", inputs)
        prints = [(self.facts[pair.input].fingerprint, self.facts[pair.target].fingerprint) for pair in readable]
        unlike = [p.input for p, (a, b) in zip(readable, prints, strict=True) if a.any() and b.any() and a @ b < UNLIKE]
        if unlike:
            self.add("warning", "shows another scene than its clean image", "check the pair", unlike)

    def _readable_pair(self, pair: Pair) -> bool:
        return not (self.facts[pair.input].error or self.facts[pair.target].error)

    def _fits(self, pair: Pair) -> bool:
        """Return whether input and target are equal in size, or differ by the margin of the published targets."""
        one, other, border = self.facts[pair.input], self.facts[pair.target], 2 * self.located.dataset.margin
        return (other.width - one.width, other.height - one.height) in {(0, 0), (border, border)}

    def _readable(self) -> None:
        for file in self.files:
            if self.facts[file].error:
                self.add("error", self.facts[file].error, files=[file])

    def _sizes(self, readable: Sequence[Path]) -> None:
        versions = _SIZES.get(self.name, {})
        by_version = defaultdict(list)
        for file in readable:
            by_version[next((v for v, sizes in versions.items() if self.facts[file].size in sizes), "")].append(file)
        if versions and by_version[""]:
            odd = by_version[""]
            expected = ", ".join(sorted(size for sizes in versions.values() for size in sizes))
            what = f"is {self.facts[odd[0]].size}, not {expected}"
            self.add(self.severity, what, "this is another version: replace it", odd)
        named = [version for version in versions if by_version[version]]
        if len(named) > 1:
            rarest = min(named, key=lambda version: len(by_version[version]))
            self.add(self.severity, f"mixes versions: {'; '.join(named)}", "keep one", by_version[rarest])
        elif named and len(versions) > 1:
            self.add("note", named[0])
        shortest = {file: min(self.facts[file].width, self.facts[file].height) for file in readable}
        small = [file for file in readable if shortest[file] < SMALLEST[self.split]]
        if small:
            what = f"is only {self.facts[small[0]].size}"
            why = "the papers' crops have 128 pixels" if self.split == "train" else "benchmarks crop to multiples of 16"
            self.add(self.severity, what, f"{why}: remove it", small)

    def _grey(self, readable: Sequence[Path]) -> None:
        grey = [file for file in readable if self.facts[file].grey]
        if len(grey) > len(readable) / 2 and len(readable) > 1:
            self.add(self.severity, f"{len(grey)} of {len(readable)} images are grey", "get the colour version", grey)
        elif grey:
            self.add("warning", "is grey in a set of colour images", "get the colour version", grey)

    def _duplicates(self, readable: Sequence[Path]) -> None:
        digests = {file: self.facts[file].digest for file in self.files}
        for files, what in ((self.inputs, "inputs"), (readable, "images")):
            first: dict[str, Path] = {}
            twice = [file for file in files if first.setdefault(digests[file], file) != file and digests[file]]
            if twice:
                twin = relative_to_root(first[digests[twice[0]]], self.root)
                self.add("warning", f"is identical to {twin}", f"{len(twice)} {what} occur more than once", twice)
        if self.located.dataset.label == "blur":
            return  # deblurring sets hold frames of a few videos, and neighbouring frames are alike
        found = matches([self.facts[file].fingerprint for file in readable])
        near = [(a, b) for i, j in found if digests[a := readable[i]] != digests[b := readable[j]]]
        if near:
            what = f"shows the scene of {relative_to_root(near[0][0], self.root)}"
            files = list(dict.fromkeys(b for _, b in near))
            remedy = f"{len(files)} of {len(readable)} images repeat a scene"
            known = f" ({_KNOWN[self.name]})" if self.name in _KNOWN else ""
            self.add("warning", what, f"{remedy}{known}", files)

    def _quality(self) -> None:
        """Check the input PSNR, and whether the folders are swapped or inputs equal their targets."""
        if not self.measurements:
            return
        mean = {
            key: float(np.mean([getattr(m, key) for m in self.measurements if np.isfinite(m.rgb)] or [np.inf]))
            for key in ("rgb", "y")
        }
        self.summary.input_psnr, self.summary.measured = mean, len(self.measurements)
        equal = [m.pair.input for m in self.measurements if not np.isfinite(m.rgb)]
        if equal:
            self.add("error", "input and target are equal", "get the degraded picture", equal)
        swapped = [m.swapped(self.located.dataset.label) for m in self.measurements]
        swapped = [sign for sign in swapped if sign is not None]
        if swapped and np.mean(swapped) > 0.5:
            self.add("error", "inputs look cleaner than targets: the folders are swapped", "rename the folders")
        complete = self.summary.count == self.summary.official == len(self.measurements)
        for protocol, published in self.summary.published.items():
            key = "y" if protocol.endswith("_y") else "rgb"
            here = [value for m in self.measurements if np.isfinite(value := getattr(m, key))]
            if len(here) < 2:
                continue
            margin = TOLERANCE_DB if complete else CHANCE * float(np.std(here)) / len(here) ** 0.5
            if abs(mean[key] - published) > margin:
                over = "" if complete else f" over {len(here)} pairs"
                what = f"input PSNR is {mean[key]:.2f} dB{over}, published are {published:.2f} dB ({protocol})"
                remedy, example = "this is another version of the data", [self.pairing.pairs[0].input]
                level, remedy = ("error", remedy) if complete else ("warning", f"perhaps {remedy}")
                self.add(level, what, remedy, example)

    def add(self, level: str, what: str, remedy: str = "", files: Sequence[Path] = ()) -> None:
        """Add a finding; see `Finding` for the arguments."""
        shown = tuple(relative_to_root(file, self.root) for file in files)
        self.findings.append(Finding(level, self.name, what, remedy, shown))
        self.summary.level = max(self.summary.level, level, key=("", *LEVELS).index)
