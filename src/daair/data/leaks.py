"""Scenes that training shares with validation or test, found by content: a figure measured on them says nothing.

The classic case: all clean pictures of Rain100L come from BSDS500, and 67 of them lie in BSD400, which everybody trains
on. Clean pictures are compared (see :mod:`daair.data.fingerprints`), so it does not matter which rain or haze lies over
them, nor how a file is named or encoded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from daair.data.datasets import Found
from daair.data.fingerprints import matches
from daair.data.inspection import Facts


@dataclass(frozen=True)
class Shared:
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
        """How many different files of the second set occur in the first."""
        return len({b for _, b in self.pairs})


def clean_pools(sets: Iterable[Found]) -> dict[str, list[Path]]:
    """Lists the clean pictures of data sets, each folder once.

    Several data sets may share their clean pictures (CDD-11's eleven degradations), or one may be the union of others
    (``clean/train`` in the papers' layouts, of BSD400 and WED); such sets are left out.
    """
    files = {found.dataset.name: found.files() for found in sets}
    pools: dict[str, list[Path]] = {}
    covered: set[Path] = set()
    # Unions last: named parts say more.
    for name in sorted(files, key=lambda name: (name.startswith("clean/"), list(files).index(name))):
        if not covered.issuperset(files[name]):
            pools[name] = files[name]
            covered.update(files[name])
    return {name: pools[name] for name in files if name in pools}


def shared_scenes(
    first: Mapping[str, Sequence[Path]], second: Mapping[str, Sequence[Path]], facts: Mapping[Path, Facts]
) -> list[Shared]:
    """Compares every set of ``first`` with every set of ``second``; the empty intersections are left out.

    Args:
        first: Clean files by name of their set.
        second: The same; a file that is in both sets is a shared scene too.
        facts: Of all the files; see :func:`daair.data.inspection.inspect`.
    """
    found = []
    for a, files in first.items():
        for b, others in second.items():
            pairs = matches([facts[file].fingerprint for file in files], [facts[file].fingerprint for file in others])
            if pairs:
                found.append(Shared(a, b, tuple((files[m.first], others[m.second]) for m in pairs)))
    return found
