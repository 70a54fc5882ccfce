"""Where pairs of a degraded and a clean image come from, for training."""

from pathlib import Path
from typing import Protocol

from daair.data import datasets
from daair.data.catalogue import find
from daair.data.datasets import Found
from daair.data.pairing import find_rule
from daair.errors import UserError


class Pairs(Protocol):
    """What a mix asks of a set of pairs."""

    needs_root: bool
    """Whether it lies under the folder `mix.root`."""

    def find(self, root: str | None, key: str) -> Found | None:
        """Return the set as it lies on this disk, or None if it is not there.

        Args:
            root: As `mix.root`.
            key: Config key of this node, for messages.
        """
        ...

    def missing(self, root: str | None) -> str:
        """Say where it was looked for."""
        ...


class PairedSet:
    """The pairs of a data set that is known by name, in whichever layout it lies under `mix.root`.

    Args:
        name: One of `daair.data.catalogue.DATASETS`, such as `rain100l/train`.
    """

    needs_root = True

    def __init__(self, name: str) -> None:
        if not find(name).paired:
            raise UserError(f"mix.pairs: {name} holds clean images only; there are no pairs in it")
        self.name = name

    def find(self, root: str | None, key: str) -> Found | None:
        """Look for it; see `daair.data.datasets.locate`."""
        found = None if root is None else datasets.locate(self.name, root)
        return found if found is not None and found.holds_images() else None

    def missing(self, root: str | None) -> str:
        """Say where it was looked for."""
        folder, others = datasets.first_place(self.name, root or "")
        return f"{self.name}: nothing in {folder}{others}"


class PairedFolders:
    """Any two folders.

    Args:
        input: Folder of the degraded images, relative to `mix.root`; an absolute path stands for itself.
        target: Folder of the clean images, likewise.
        rule: How an input's name gives its target's; see `daair.data.pairing.RULES`.
    """

    def __init__(self, input: str, target: str, rule: str = "same") -> None:
        find_rule(rule)
        self.input, self.target, self.rule = input, target, rule
        self.needs_root = not (Path(input).is_absolute() and Path(target).is_absolute())

    def find(self, root: str | None, key: str) -> Found:
        """Take the folders.

        Raises:
            UserError: One of them is missing.
        """
        base = Path(root or ".")
        return datasets.from_folders(
            f"{Path(self.input).name} and {Path(self.target).name}",
            base / self.target,
            base / self.input,
            self.rule,
            key=key,
        )

    def missing(self, root: str | None) -> str:
        """Say where it was looked for."""
        return f"{self.input} and {self.target}: no pairs"
