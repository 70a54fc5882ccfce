"""The audit of all data sets under a folder: whether they are the data that papers report results on.

`audit_root` looks for every known data set in every layout, checks each file, pair and set, and compares the sets with
each other. A finding has one of three levels. An *error* makes results wrong or stops a run. A *warning* may make
results incomparable. A *note* says which of several published versions was found. The report also lists the known data
sets that were not found, and the images that belong to no known data set.
"""

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from daair.data.audit.dataset import SMALLEST, DatasetAudit
from daair.data.audit.findings import AuditReport, relative_to_root
from daair.data.audit.inspection import FileFacts, inspect_files
from daair.data.audit.leaks import clean_pools, shared_scenes
from daair.data.audit.pair_measurements import measure_pair
from daair.data.benchmarks import DEGRADED
from daair.data.catalogue import DATASETS
from daair.data.datasets import locate_all
from daair.data.images import in_threads
from daair.data.listing import check_folder, walk
from daair.errors import UserError
from daair.files import natural_key

LAYOUTS_IN_WORDS = (
    "train/clean, denoising/cbsd68, deraining/rain100l/test/{input,target}, ... (the pack); "
    "Train/Denoise, Train/Derain/{rainy,gt}, Train/Dehaze/{synthetic,original}, test/... (AirNet, PromptIR, AdaIR); "
    "denoising/BSD400, deraining/RainTrainL/{rainy,gt}, dehazing/RESIDE/part1, deblurring/GoPro, llie/LOLv1, ... "
    "(MoCE-IR); GOPRO_Large, our485, SOTS, rain_data_test_Light, ... (as the archives unpack)"
)
"""Examples of the layouts, for the message to users whose folder has none of them."""


def audit_root(root: str | Path, progress: Callable[[str, int], Any], cache: Path | None = None) -> AuditReport:
    """Check all data sets under a folder.

    Args:
        root: Folder with the data sets.
        progress: Returns a context manager, given a name and a total; its `advance()` is called `total` times.
        cache: Database of earlier results; see `daair.data.audit.inspection.inspect_files`.

    Raises:
        UserError: `root` is not a folder, or holds no known data set.
    """
    root = check_folder(root, "root: ")
    audits = [DatasetAudit(root, located) for located in locate_all(root)]
    if not audits:
        raise UserError(f"root: {root}: no known data set found; expected folders such as {LAYOUTS_IN_WORDS}")
    files = list(dict.fromkeys(file for audit in audits for file in audit.files))
    with progress("reading", len(files)) as bar:
        facts = inspect_files(files, cache, bar.advance)
    for audit in audits:
        audit.facts = facts
    pairs = [(audit, pair) for audit in audits for pair in audit.pairs_to_measure()]
    with progress("measuring pairs", len(pairs)) as bar:
        measured = in_threads(measure_pair, [pair for _, pair in pairs])
        for (audit, _), measurement in zip(pairs, measured, strict=True):
            audit.measurements.append(measurement)
            bar.advance()
    for audit in audits:
        audit.run()
    _compare({audit.name: audit for audit in audits if audit.targets}, facts)
    here = [audit.located.dataset for audit in audits if audit.targets]
    # CDD-11 has synthetic degradations of its own; its "haze" cannot replace that of RESIDE.
    single = [dataset for dataset in DATASETS.values() if not dataset.name.startswith("cdd11")]
    paired = [dataset for dataset in single if dataset.name.endswith("/train") and dataset.label in DEGRADED]
    trained = {dataset.label for dataset in paired if dataset in here}
    return AuditReport(
        root,
        [audit.summary for audit in audits],
        [finding for audit in audits for finding in audit.findings],
        absent=[dataset.name for dataset in DATASETS.values() if dataset not in here],
        without_pairs=list(dict.fromkeys(dataset.label for dataset in paired if dataset.label not in trained)),
        others=_others(root, files),
    )


def _others(root: Path, known: Iterable[Path]) -> dict[str, int]:
    """Count the images under a root that are not in `known`, by folder in natural order."""
    real = functools.cache(os.path.realpath)  # called for folders only, to which several links may lead
    known = {(real(file.parent), file.name) for file in known}
    left = (file for file in walk(root, recursive=True) if (real(file.parent), file.name) not in known)
    counts = Counter(relative_to_root(file.parent, root) for file in left)
    return {folder: counts[folder] for folder in sorted(counts, key=natural_key)}


def _compare(audits: Mapping[str, DatasetAudit], facts: Mapping[Path, FileFacts]) -> None:
    """Add a finding for each two sets of different splits that share scenes."""
    pools = clean_pools(audit.located for audit in audits.values())
    parts = {split: {name: pools[name] for name in pools if name.split("/")[1] == split} for split in SMALLEST}
    for first, second, level in (("train", "test", "error"), ("train", "val", "warning"), ("val", "test", "warning")):
        for shared in shared_scenes(parts[first], parts[second], facts):
            audit = audits[shared.first]
            what = f"{shared.scenes} of {len(parts[second][shared.second])} scenes of {shared.second} are in it"
            example = relative_to_root(shared.pairs[0][1], audit.root)
            remedy = f"leave these files out, or results on {shared.second} are wrong"
            audit.add(level, f"{what}, this file shows {example}", remedy, shared.files)
