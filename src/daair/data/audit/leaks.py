"""Detection of scenes that are in the training data and in the validation or test data.

A known case is Rain100L: its clean images come from BSDS500, and 67 of them are also in BSD400, the usual training set
for denoising. Clean images are compared by content (see `daair.data.audit.fingerprints`), so neither the degradation
nor the name or encoding of a file matters.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from daair.data.audit.fingerprints import matches
from daair.data.audit.inspection import FileFacts, inspect_files
from daair.data.datasets import LocatedDataset, locate_all

CACHE = ".cache/images.sqlite"
"""Path of the inspection cache below the folder of all runs; see `daair.data.audit.inspection`."""

MOST_NEW = 1000
"""Largest number of images that the start of a training reads for this check; the next start reads further ones."""


@dataclass(frozen=True)
class SharedScenes:
    """Scenes that two sets have in common.

    Attributes:
        first: Name of the first set, usually a training set.
        second: Name of the second set.
        pairs: Files of the first and the second set that show the same scene; a file may occur more than once.
    """

    first: str
    second: str
    pairs: tuple[tuple[Path, Path], ...]

    @property
    def files(self) -> list[Path]:
        """The files of the first set, each listed once."""
        return list(dict.fromkeys(a for a, _ in self.pairs))

    @property
    def scenes(self) -> int:
        """The number of different files of the second set whose scene is in the first."""
        return len({b for _, b in self.pairs})


def clean_pools(sets: Iterable[LocatedDataset]) -> dict[str, list[Path]]:
    """Return the clean files of data sets by name, without the sets whose files are all in other sets.

    CDD-11's eleven degradations share their clean images, for example, and `clean/train` in the papers' layouts is the
    union of BSD400 and WED.
    """
    files = {located.dataset.name: located.files() for located in sets}
    pools: dict[str, list[Path]] = {}
    covered: set[Path] = set()
    # Unions come last, because the names of their parts are more informative.
    for name in sorted(files, key=lambda name: (name.startswith("clean/"), list(files).index(name))):
        if not covered.issuperset(files[name]):
            pools[name] = files[name]
            covered.update(files[name])
    return {name: pools[name] for name in files if name in pools}


def shared_scenes(
    first: Mapping[str, Sequence[Path]], second: Mapping[str, Sequence[Path]], facts: Mapping[Path, FileFacts]
) -> list[SharedScenes]:
    """Return the scenes that the sets of `first` share with those of `second`, for each two sets that share any.

    Args:
        first: Clean files by the name of their set.
        second: Clean files by the name of their set; a file that is also in `first` counts as a shared scene.
        facts: Facts of all the files; see `daair.data.audit.inspection.inspect_files`.
    """
    found = []
    for a, files in first.items():
        for b, others in second.items():
            pairs = matches([facts[file].fingerprint for file in files], [facts[file].fingerprint for file in others])
            if pairs:
                found.append(SharedScenes(a, b, tuple((files[i], others[j]) for i, j in pairs)))
    return found


def training_leaks(
    root: str | Path, cache: Path | None = None, used: Iterable[Path] | None = None, most_new: int | None = None
) -> tuple[list[SharedScenes], int]:
    """Compare the clean training images with the validation and test images under a root folder.

    The smallest sets are read first, so that overlaps between small sets are found even if `most_new` is reached.

    Args:
        root: Folder with the data sets.
        cache: Database of earlier results; see `daair.data.audit.inspection.inspect_files`.
        used: The clean images that are trained on; None means all training sets under the root.
        most_new: Largest number of images to read that are not in the cache; None reads all of them.

    Returns:
        The shared scenes, and the number of images that were not compared.

    Raises:
        UserError: A folder cannot be listed.
    """
    pools = clean_pools(one for one in locate_all(root) if one.holds_images())
    held_out = {name: files for name, files in pools.items() if not name.endswith("/train")}
    train = {name: files for name, files in pools.items() if name not in held_out}
    if used is not None:
        left = set(used)
        train = {name: [file for file in files if file in left] for name, files in train.items()}
        train["the training images"] = sorted(left.difference(*train.values()))
    if not held_out:
        return [], 0
    smallest_first = sorted([*train.values(), *held_out.values()], key=len)
    files = list(dict.fromkeys(file for files in smallest_first for file in files))
    facts = inspect_files(files, cache, most_new=most_new)
    first, second = (
        {name: [file for file in files if file in facts] for name, files in part.items()} for part in (train, held_out)
    )
    return shared_scenes(first, second, facts), len(files) - len(facts)
