"""Sources of training pairs of a degraded and a clean image."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from daair.data.catalogue import find_dataset
from daair.data.datasets import LocatedDataset, from_folders, likely_folders, locate_dataset
from daair.data.pairing import check_rule
from daair.errors import UserError


@runtime_checkable
class Pairs(Protocol):
    """The interface of a set of pairs in a mix."""

    needs_root: bool
    """Whether the pairs lie under the root folder of the mix."""

    def find(self, root: str | None) -> LocatedDataset | None:
        """Return the folders of the pairs, or None if they do not exist."""
        ...

    def missing(self, root: str | None) -> str:
        """Return a phrase for messages that names the folders where the pairs were expected."""
        ...


class PairedSet:
    """The pairs of a known data set, which is looked for under the root in any layout.

    Args:
        name: Name in `daair.data.catalogue.DATASETS`, such as `rain100l/train`.
    """

    needs_root = True

    def __init__(self, name: str) -> None:
        if not find_dataset(name).paired:
            raise UserError(f"{name} holds clean images only; there are no pairs in it")
        self.name = name

    def find(self, root: str | None) -> LocatedDataset | None:
        """Return the data set if it is there and holds images; see `daair.data.datasets.locate_dataset`."""
        found = None if root is None else locate_dataset(self.name, root)
        return found if found is not None and found.holds_images() else None

    def missing(self, root: str | None) -> str:
        """Return a phrase for messages that names the folders where the data set was expected."""
        folder, others = likely_folders(self.name, root or "")
        return f"{self.name}: nothing in {folder}{others}"


class PairedFolders:
    """The pairs of any two folders.

    Args:
        input: Folder of the degraded images, absolute or relative to the root.
        target: Folder of the clean images, absolute or relative to the root.
        rule: Rule that gives the name of an input's target; see `daair.data.pairing.check_rule`.
    """

    def __init__(self, input: str, target: str, rule: str = "same") -> None:
        check_rule(rule)
        self.input, self.target, self.rule = input, target, rule
        self.needs_root = not (Path(input).is_absolute() and Path(target).is_absolute())

    def find(self, root: str | None) -> LocatedDataset:
        """Return the folders as a data set; see `daair.data.datasets.from_folders`."""
        base, name = Path(root or "."), f"{Path(self.input).name} and {Path(self.target).name}"
        return from_folders(name, base / self.target, base / self.input, self.rule)

    def missing(self, root: str | None) -> str:
        """Return a phrase for messages that names the two folders."""
        return f"{self.input} and {self.target}: no pairs"
