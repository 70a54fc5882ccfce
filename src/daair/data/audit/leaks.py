"""Scenes that training shares with validation or test, found by content: a figure measured on them says nothing.

The classic case: all clean pictures of Rain100L come from BSDS500, and 67 of them lie in BSD400, which everybody trains
on. Clean pictures are compared (see `daair.data.audit.fingerprints`), so it does not matter which rain or haze lies
over them, nor how a file is named or encoded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from daair.data.audit.fingerprints import matches
from daair.data.audit.inspection import FileFacts, inspect_files
from daair.data.datasets import LocatedDataset, locate_all

CACHE = ".cache/images.sqlite"
"""Database, below the folder of all runs, of what image files were found to be; see `daair.data.audit.inspection`."""

MOST_NEW = 1000
"""Most pictures that the start of a training reads for this; the next start goes on where this one stopped."""


@dataclass(frozen=True)
class SharedScenes:
    """Scenes that two sets have in common.

    Attributes:
        first: Name of the one set, usually trained on.
        second: Name of the other.
        pairs: File of the first, file of the second; a scene may occur more than once.
    """

    first: str
    second: str
    pairs: tuple[tuple[Path, Path], ...]

    @property
    def files(self) -> list[Path]:
        """Files of the first set, each once."""
        return list(dict.fromkeys(a for a, _ in self.pairs))

    @property
    def scenes(self) -> int:
        """Number of different files of the second set that occur in the first."""
        return len({b for _, b in self.pairs})


def clean_pools(sets: Iterable[LocatedDataset]) -> dict[str, list[Path]]:
    """List the clean pictures of data sets, each folder once.

    Several data sets may share their clean pictures (CDD-11's eleven degradations), or one may be the union of others
    (`clean/train` in the papers' layouts, of BSD400 and WED); such sets are left out.
    """
    files = {located.dataset.name: located.files() for located in sets}
    pools: dict[str, list[Path]] = {}
    covered: set[Path] = set()
    # Unions last: named parts say more.
    for name in sorted(files, key=lambda name: (name.startswith("clean/"), list(files).index(name))):
        if not covered.issuperset(files[name]):
            pools[name] = files[name]
            covered.update(files[name])
    return {name: pools[name] for name in files if name in pools}


def shared_scenes(
    first: Mapping[str, Sequence[Path]], second: Mapping[str, Sequence[Path]], facts: Mapping[Path, FileFacts]
) -> list[SharedScenes]:
    """Compare every set of `first` with every set of `second`; sets without a shared scene are left out.

    Args:
        first: Clean files by name of their set.
        second: The same; a file that is in both sets is a shared scene too.
        facts: What is known of all the files; see `daair.data.audit.inspection.inspect_files`.
    """
    found = []
    for a, files in first.items():
        for b, others in second.items():
            pairs = matches([facts[file].fingerprint for file in files], [facts[file].fingerprint for file in others])
            if pairs:
                found.append(SharedScenes(a, b, tuple((files[m.first], others[m.second]) for m in pairs)))
    return found


def training_leaks(
    root: str | Path, cache: Path | None = None, used: Iterable[Path] | None = None, most_new: int | None = None
) -> tuple[list[SharedScenes], int]:
    """Compare the clean pictures to train on with those to validate and test on.

    The smallest sets come first, so that a first look at a folder with RESIDE in it still finds the classic leak.

    Args:
        root: Folder with the data sets.
        cache: File that remembers what pictures were found to be; see `daair.data.audit.inspection.inspect_files`.
        used: The clean pictures that are trained on; None stands for all training sets under the root.
        most_new: Pictures to read at most, beyond what the cache knows; None reads all.

    Returns:
        What is shared, and how many pictures were not compared.

    Raises:
        UserError: A folder cannot be listed.
    """
    pools = clean_pools(one for one in locate_all(root) if one.holds_images())
    held_out = {name: files for name, files in pools.items() if not name.endswith("/train")}
    train = {name: files for name, files in pools.items() if name not in held_out}
    if used is not None:
        left = set(used)
        train = {name: [file for file in files if file in left] for name, files in train.items()}
        train["the training pictures"] = sorted(left.difference(*train.values()))
    if not held_out:
        return [], 0
    smallest_first = sorted([*train.values(), *held_out.values()], key=len)
    files = list(dict.fromkeys(file for files in smallest_first for file in files))
    facts = inspect_files(files, cache, most_new=most_new)
    first, second = (
        {name: [file for file in files if file in facts] for name, files in part.items()} for part in (train, held_out)
    )
    return shared_scenes(first, second, facts), len(files) - len(facts)
