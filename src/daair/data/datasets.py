"""The search for the data sets of `daair.data.catalogue.DATASETS` under a folder, in any known layout.

No file is opened, moved or renamed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from filecmp import cmp
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import islice
from pathlib import Path

from daair.data.catalogue import DATASETS, find_dataset
from daair.data.listing import check_folder, list_images, short_names, sort_naturally, walk
from daair.data.pairing import Pair, Pairing, best_rule, case_twin, likely_rule, pair, target_names
from daair.data.sets.places import Dataset, Place
from daair.errors import UserError, first_line

OUTER = ("", "data")
"""Folders under the root that may hold a layout: AdaIR has both `Train` and `test` in `data`, PromptIR one of them."""

OWN = "own"
"""The layout of the user's own folders."""


@dataclass(frozen=True)
class LocatedDataset:
    """A data set that was found on disk.

    The methods that list files raise a UserError if there are none or a folder cannot be listed.

    Attributes:
        dataset: The data set.
        place: The one of its places where it was found.
        inputs: Folders of the degraded images; empty for a set of clean images.
        targets: Folders of the clean images.
        listed: File that names the images of the data set; None = all in the folders belong to it.
    """

    dataset: Dataset
    place: Place
    inputs: tuple[Path, ...]
    targets: tuple[Path, ...]
    listed: Path | None = None

    def files(self) -> list[Path]:
        """List the clean images."""
        return self._list(self.targets, self.place.files)

    def input_files(self) -> list[Path]:
        """List the degraded images; the list is empty for a set of clean images."""
        return self._list(self.inputs, self.place.inputs or self.place.files) if self.inputs else []

    def named_files(self) -> list[tuple[str, Path]]:
        """List the clean images with their names, unique within the data set."""
        files = self.files()
        return list(zip(short_names(files), files, strict=True))

    def pairing(self) -> Pairing:
        """Pair inputs and targets by name.

        Raises:
            UserError: This is a set of clean images, or in own folders all inputs are copies of their targets.
        """
        if not self.inputs:
            raise UserError(f"{self.dataset.name}: holds clean images only; there are no pairs in it")
        found = pair(self.input_files(), self.files(), self.place.rule)
        if (
            self.place.layout == OWN and found.pairs and all(map(_is_copy, found.pairs))
        ):  # the first pair mostly decides
            raise UserError(f"{self.inputs[0]}: every image equals its clean image in {self.targets[0]}")
        return found

    def holds_images(self) -> bool:
        """Return whether there are targets, and inputs if the set is paired; listing stops at the first image."""
        parts = [(self.targets, self.place.files)]
        if self.inputs:
            parts.append((self.inputs, self.place.inputs or self.place.files))
        return all(any(True for _ in islice(self._walk(*part), 1)) for part in parts)

    def _walk(self, folders: tuple[Path, ...], names: str | None) -> Iterator[Path]:
        match = names and re.compile(names, re.IGNORECASE).fullmatch
        for folder in folders:
            found = walk(folder, recursive=self.place.recursive, match=match)
            yield from found if self.listed is None else (file for file in found if file.parts[-3:] in self._names)

    def _list(self, folders: tuple[Path, ...], names: str | None) -> list[Path]:
        files = sort_naturally(self._walk(folders, names))
        return files or list_images(folders[0], recursive=self.place.recursive, match=lambda name: False)  # raises

    @cached_property
    def _names(self) -> set[tuple[str, ...]]:
        """The last three parts of the paths in the list."""
        try:
            return {Path(word).parts[-3:] for word in self.listed.read_text().split()}
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.listed}: cannot be read ({first_line(error)})") from None


def locate_dataset(name: str, root: str | Path) -> LocatedDataset | None:
    """Find a data set under a root folder, in any of its layouts; return None if it is not there.

    If several places exist, the first that holds images is returned, or else the first whose folders exist.

    Raises:
        UserError: The name is not in `DATASETS`, or a folder cannot be listed.
    """
    first = None
    for place in _all_places(find_dataset(name), Path(root)):
        if place.holds_images():
            return place
        # An empty folder that several data sets share does not show that this one is meant.
        first = first or (place if place.place.files is None else None)
    return first


def locate_all(root: str | Path) -> list[LocatedDataset]:
    """Find all data sets under a root folder, in the order of `DATASETS`."""
    return [located for name in DATASETS if (located := locate_dataset(name, root)) is not None]


def likely_folders(name: str, root: str | Path) -> tuple[Path, str]:
    """Return the most likely folder of a data set, and a phrase for messages with those of other layouts, if any."""
    folders: dict[str, str] = {}
    for place in find_dataset(name).places:
        folders.setdefault(place.layout, (place.input or place.target)[0])
    first, *others = folders.values()
    return Path(root, first), f" (in other layouts: {', '.join(others)})" if others else ""


def from_folders(name: str, target: str | Path, input: str | Path | None = None, rule: str = "same") -> LocatedDataset:
    """Return a data set of the user's own folders; subfolders are searched if one of the folders holds no image itself.

    Args:
        name: Name of the data set.
        target: Folder of the clean images.
        input: Folder of the degraded images, if any.
        rule: Rule that gives the name of an input's target; see `daair.data.pairing.check_rule`.

    Raises:
        UserError: A folder is missing or cannot be listed, or both are the same; the message begins with its argument.
    """
    given = {"input": input, "target": target}
    folders = {part: check_folder(folder, f"{part}: ") for part, folder in given.items() if folder is not None}
    if input is not None and folders["input"].samefile(folders["target"]):
        raise UserError(f"input: {input}: is the folder of the clean images too; inputs and targets need one each")
    nested = any(next(walk(folder), None) is None for folder in folders.values())
    inputs = () if input is None else (folders["input"],)
    place = Place(OWN, (str(target),), tuple(map(str, inputs)), rule=rule, recursive=nested)
    return LocatedDataset(Dataset(name, (place,)), place, inputs, (folders["target"],))


def half_a_pair(located: LocatedDataset, pairing: Pairing) -> str:
    """Return a message that names the first input without a clean image and a remedy; there must be such an input."""
    rule, file, lone = located.place.rule, pairing.lone_inputs[0], len(pairing.lone_inputs)
    inputs, targets = located.input_files(), located.files()
    others = f" (nor for {lone - 1} other{'s' if lone > 2 else ''})" if lone > 1 else ""
    if not (wanted := target_names(file.stem, rule)):
        return f"{file}: its name does not fit the rule '{rule}'{others}"
    missing = f"{file}: no clean image '{wanted[0]}' in {located.targets[0]}{others}"
    if twin := case_twin(file.stem, targets, rule):
        return f"{missing}; there is {twin.name}, whose case differs: rename one of them"
    better, remedy = best_rule(inputs, targets), "restore the pair"
    fits = better != rule and len(pair(inputs, targets, better).lone_inputs) < lone
    if not fits and targets and (made := likely_rule(inputs, targets)):
        better, fits = f"'{made}'", True
    if fits:
        remedy += f", or set .rule={better} beside its folders, if the files are named by that rule"
    return f"{missing}; {remedy}"


def _is_copy(pair: Pair) -> bool:
    try:
        return cmp(pair.input, pair.target, shallow=False)
    except OSError:  # who reads the images says so
        return False


def _all_places(dataset: Dataset, root: Path) -> Iterator[LocatedDataset]:
    for outer in OUTER:
        for base in _resolve(root, outer) if outer else [root]:
            for place in dataset.places:
                inputs = [_resolve(base, folder) for folder in place.input]
                targets = [_resolve(base, folder) for folder in place.target]
                listed = base / place.listed if place.listed else None
                if (all(inputs) and all(targets) or place.some and any(targets)) and (not listed or listed.is_file()):
                    yield LocatedDataset(dataset, place, tuple(sum(inputs, [])), tuple(sum(targets, [])), listed)


def _resolve(base: Path, folder: str) -> list[Path]:
    """Return the existing folders that match a relative path with wildcards, ignoring case, in natural order."""
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
