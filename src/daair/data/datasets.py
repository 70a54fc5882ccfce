"""Finding the data sets of `daair.data.catalogue.DATASETS` under a folder, in whichever layout they lie there.

Nothing is moved or renamed, and no file is opened: folders are taken as they are.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import islice
from pathlib import Path

from daair.data.catalogue import DATASETS, Dataset, Place, find_dataset
from daair.data.listing import check_folder, list_images, short_names, sort_naturally, walk
from daair.data.pairing import Pairing, best_rule, pair, target_names
from daair.errors import UserError

OUTER = ("", "data")
"""Folders under the root that may hold a layout: AdaIR keeps `Train` and `test` in `data`, PromptIR only one."""


@dataclass(frozen=True)
class LocatedDataset:
    """A data set as it lies on this disk.

    Attributes:
        dataset: The data set.
        place: In which of its places it was found.
        inputs: Folders of the degraded images; none for a set of clean images.
        targets: Folders of the clean images.
    """

    dataset: Dataset
    place: Place
    inputs: tuple[Path, ...]
    targets: tuple[Path, ...]

    @property
    def layout(self) -> str:
        """Name of the layout."""
        return self.place.layout

    @property
    def folders(self) -> tuple[Path, ...]:
        """All its folders, inputs first."""
        return (*self.inputs, *self.targets)

    @property
    def count(self) -> int | None:
        """Official number of images in this place."""
        return self.place.count or self.dataset.count

    def files(self) -> list[Path]:
        """List the clean images.

        Raises:
            UserError: There are none, or a folder cannot be listed.
        """
        return self._list(self.targets)

    def input_files(self) -> list[Path]:
        """List the degraded images; none for a set of clean images.

        Raises:
            UserError: There should be some and there are none, or a folder cannot be listed.
        """
        return self._list(self.inputs) if self.inputs else []

    def named_files(self) -> list[tuple[str, Path]]:
        """List the clean images with their names, unique within the data set."""
        files = self.files()
        return list(zip(short_names(files), files, strict=True))

    def pairing(self) -> Pairing:
        """Pair inputs and targets by name.

        Raises:
            UserError: A folder is empty or cannot be listed, or this is a set of clean images.
        """
        if not self.inputs:
            raise UserError(f"{self.dataset.name}: holds clean images only; there are no pairs in it")
        return pair(self.input_files(), self.files(), self.place.rule)

    def holds_images(self) -> bool:
        """Return whether there is at least one image in each of its parts, reading no further than the first."""
        parts = [self.inputs, self.targets] if self.inputs else [self.targets]
        return all(any(True for _ in islice(self._walk(part), 1)) for part in parts)

    def _walk(self, folders: tuple[Path, ...]) -> Iterator[Path]:
        for folder in folders:
            yield from walk(folder, recursive=self.place.recursive, match=self._match)

    def _list(self, folders: tuple[Path, ...]) -> list[Path]:
        files = sort_naturally(self._walk(folders))
        return files or list_images(folders[0], recursive=self.place.recursive, match=self._match)  # which complains

    @cached_property
    def _match(self):
        return self.place.files and re.compile(self.place.files, re.IGNORECASE).fullmatch


def locate_dataset(name: str, root: str | Path) -> LocatedDataset | None:
    """Find a data set under a root folder, in whichever layout it lies there.

    Of several places the first that holds images counts, else the first whose folders exist.

    Args:
        name: One of `DATASETS`.
        root: Folder with the data.

    Raises:
        UserError: Unknown name, or a folder that cannot be listed.
    """
    first = None
    for place in _all_places(find_dataset(name), Path(root)):
        if place.holds_images():
            return place
        # A folder shared with other data sets says nothing about this one.
        first = first or (place if place.place.files is None else None)
    return first


def locate_all(root: str | Path) -> list[LocatedDataset]:
    """Find all data sets under a root folder, in the order of `DATASETS`."""
    return [located for name in DATASETS if (located := locate_dataset(name, root)) is not None]


def likely_folders(name: str, root: str | Path) -> tuple[Path, str]:
    """Return the likeliest folder of a data set, and in words for a message those of the other layouts, if any.

    Raises:
        UserError: Unknown name.
    """
    folders: dict[str, str] = {}
    for place in find_dataset(name).places:
        folders.setdefault(place.layout, (place.input or place.target)[0])
    first, *others = folders.values()
    return Path(root, first), f" (in other layouts: {', '.join(others)})" if others else ""


def from_folders(name: str, target: str | Path, input: str | Path | None = None, rule: str = "same") -> LocatedDataset:
    """Take folders of the user's own for a data set; subfolders count where no picture lies above them.

    Args:
        name: What to call it.
        target: Folder of the clean images.
        input: Folder of the degraded images, if any.
        rule: How an input's name gives its target's; see `daair.data.pairing.RULES`.

    Raises:
        UserError: A folder is missing or cannot be listed.
    """
    given = {"input": input, "target": target}
    folders = {part: check_folder(folder, f"{part}: ") for part, folder in given.items() if folder is not None}
    nested = any(next(walk(folder), None) is None for folder in folders.values())
    inputs = () if input is None else (folders["input"],)
    place = Place("own", (str(target),), tuple(map(str, inputs)), rule=rule, recursive=nested)
    return LocatedDataset(Dataset(name, (place,)), place, inputs, (folders["target"],))


def half_a_pair(located: LocatedDataset, pairing: Pairing) -> str:
    """Say which input of a data set has no clean image, and what to do; there must be such an input."""
    rule, file = located.place.rule, pairing.lone_inputs[0]
    wanted = target_names(file.stem, rule)[0]
    others = f" (nor for {len(pairing.lone_inputs) - 1} others)" if len(pairing.lone_inputs) > 1 else ""
    better, remedy = best_rule(located.input_files(), located.files()), "restore the pair"
    if better != rule:
        remedy += f", or name them by the rule of such files, .rule={better} beside its folders"
    return f"{file}: no clean image '{wanted}' in {located.targets[0]}{others}; {remedy}"


def _all_places(dataset: Dataset, root: Path) -> Iterator[LocatedDataset]:
    for outer in OUTER:
        for base in _resolve(root, outer) if outer else [root]:
            for place in dataset.places:
                inputs = [_resolve(base, folder) for folder in place.input]
                targets = [_resolve(base, folder) for folder in place.target]
                if all(inputs) and all(targets):
                    yield LocatedDataset(dataset, place, tuple(sum(inputs, [])), tuple(sum(targets, [])))


def _resolve(base: Path, folder: str) -> list[Path]:
    """Find the existing folders that a relative path with wildcards and any capitals means; in natural order."""
    current = [base]
    for part in folder.split("/"):
        current = [match for parent in current for match in _children(parent, part)]
    return current


def _children(parent: Path, part: str) -> list[Path]:
    if "*" not in part and (parent / part).is_dir():
        return [parent / part]
    if not parent.is_dir():
        return []
    try:
        named = (path for path in parent.iterdir() if fnmatchcase(path.name.lower(), part.lower()))
        return sort_naturally(path for path in named if path.is_dir())
    except OSError as error:
        raise UserError(f"{parent}: cannot be listed ({error.strerror})") from None
