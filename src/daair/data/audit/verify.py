"""Is the data under a folder what the papers mean by these names?

`verify` looks for every known data set in every layout and checks each file, each pair and each set, then the
sets against each other. What is wrong comes as `daair.data.audit.findings.Finding`, in three levels: an *error* makes
figures wrong or stops a run, a *warning* makes them incomparable or is a reason to look, a *note* says which of several
honest versions this is. What is not there, and what is there but belongs to no data set, is listed beside.
"""

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from daair.data.audit.checks import SMALLEST, Check
from daair.data.audit.findings import LEVELS, Finding, Report, short
from daair.data.audit.inspection import Facts, inspect
from daair.data.audit.leaks import clean_pools, shared_scenes
from daair.data.audit.pair_checks import measure
from daair.data.catalogue import DATASETS
from daair.data.datasets import Found, found
from daair.data.listing import natural_key, walk
from daair.errors import UserError

LAYOUTS = (
    "train/clean, denoising/cbsd68, deraining/rain100l/test/{input,target}, ... (the pack); "
    "Train/Denoise, Train/Derain/{rainy,gt}, Train/Dehaze/{synthetic,original}, test/... (AirNet, PromptIR, AdaIR); "
    "denoising/BSD400, deraining/RainTrainL/{rainy,gt}, dehazing/RESIDE/part1, deblurring/GoPro, llie/LOLv1, ... "
    "(MoCE-IR)"
)
"""The three layouts in short, for those whose folder is none of them."""


@contextlib.contextmanager
def _silent(name: str, total: int) -> Iterator[Any]:
    class Nothing:
        def advance(self) -> None: ...

    yield Nothing()


def verify(root: str | Path, cache: Path | None = None, progress: Callable[[str, int], Any] = _silent) -> Report:
    """Check all data sets under a folder.

    Args:
        root: As `mix.root`.
        cache: File that remembers what pictures were found to be; None reads all of them anew.
        progress: Makes a context manager from a name and a total, whose `advance()` is called that often.

    Raises:
        UserError: `root` is no folder, or holds no data set that is known here.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"mix.root: {root}: {'is not a folder' if root.exists() else 'no such folder'}")
    sets = found(root)
    if not sets:
        raise UserError(f"mix.root: {root}: no known data set in it; the folders that are looked for: {LAYOUTS}")
    checks = [Check(root, one) for one in sets]
    everything = list(dict.fromkeys(file for check in checks for file in check.files))
    with progress("reading", len(everything)) as bar:
        facts = inspect(everything, cache, bar.advance)
    pairs = [(check, pair) for check in checks for pair in check.sample(facts)]
    with progress("measuring pairs", len(pairs)) as bar:
        for (check, _), figures in zip(pairs, measure([pair for _, pair in pairs], bar.advance), strict=True):
            check.figures.append(figures)
    for check in checks:
        check.run(facts)
    across = _leaks(root, [check.found for check in checks if check.targets], facts)
    for check in checks:
        check.findings += [finding for finding in across if finding.dataset == check.found.dataset.name]
        levels = [LEVELS.index(finding.level) for finding in check.findings]
        check.report.level = LEVELS[max(levels)] if levels else ""
    here = [check.found.dataset for check in checks if check.targets]
    trained = {dataset.label for dataset in here if dataset.name.endswith("/train")}
    # CDD-11 mixes degradations of its own kind; its "haze" is no substitute for RESIDE's.
    single = [dataset for dataset in DATASETS.values() if not dataset.name.startswith("cdd11")]
    paired = [dataset for dataset in single if dataset.paired and dataset.name.endswith("/train")]
    return Report(
        root,
        [check.report for check in checks],
        [finding for check in checks for finding in check.findings],
        absent=[dataset.name for dataset in DATASETS.values() if dataset not in here],
        without_pairs=list(dict.fromkeys(dataset.label for dataset in paired if dataset.label not in trained)),
        others=_others(root, everything),
    )


def _others(root: Path, known: Iterable[Path]) -> dict[str, int]:
    """Count the pictures under a root that are none of `known`, by folder, in natural order."""
    real = functools.cache(os.path.realpath)  # of folders: links may lead to one from several sides
    known = {(real(file.parent), file.name) for file in known}
    left = Counter(
        short(file.parent, root) for file in walk(root, recursive=True) if (real(file.parent), file.name) not in known
    )
    return {folder: left[folder] for folder in sorted(left, key=natural_key)}


def _leaks(root: Path, sets: Sequence[Found], facts: Mapping[Path, Facts]) -> list[Finding]:
    """Return scenes shared between training, validation and test."""
    pools = clean_pools(sets)
    split = {name: name.split("/")[1] for name in pools}
    parts = {key: {name: pools[name] for name in pools if split[name] == key} for key in SMALLEST}
    findings = []
    for first, second, level in (("train", "test", "error"), ("train", "val", "warning"), ("val", "test", "warning")):
        for shared in shared_scenes(parts[first], parts[second], facts):
            files = shared.files
            example = next(short(other, root) for file, other in shared.pairs if file == files[0])
            what = f"{shared.scenes} of {len(parts[second][shared.second])} scenes of {shared.second} are in it, "
            remedy = "figures on it would be wrong: leave these files out"
            findings.append(
                Finding(
                    level, shared.first, f"{what}this one as {example}", remedy, tuple(short(f, root) for f in files)
                )
            )
    return findings
