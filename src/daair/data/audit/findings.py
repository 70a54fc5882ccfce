"""What an audit of data sets finds: single findings, a summary of each data set, a report on all of them."""

from dataclasses import dataclass, field
from pathlib import Path

LEVELS = ("note", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """One statement about the data.

    Attributes:
        level: One of `LEVELS`.
        dataset: Name of the data set.
        what: What is wrong or worth knowing.
        remedy: What to do about it.
        files: All files concerned, relative to the root.
    """

    level: str
    dataset: str
    what: str
    remedy: str = ""
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        where = f"{self.files[0]}{more}: " if self.files else ""
        return f"{self.level}: {self.dataset}: {where}{self.what}{self.remedy and '; '}{self.remedy}"


@dataclass
class DatasetSummary:
    """What one data set was found to hold.

    Attributes:
        name: Name of the data set.
        layout: Layout in which it was found.
        folders: Its folders, relative to the root.
        images: Number of clean pictures.
        pairs: Number of inputs with a target; None for a set of clean pictures.
        official: Number of images or pairs that it should have, if there is such a number.
        sizes: How many clean pictures have each size, the most frequent first.
        input_psnr: Mean over the pairs measured, in dB: `rgb`, `y` (MATLAB's luma), whole pictures, 8 bits.
        measured: Number of pairs behind it.
        published: Published input PSNR by metric protocol.
        level: Worst finding; empty if there is none.
    """

    name: str
    layout: str
    folders: list[str]
    images: int = 0
    pairs: int | None = None
    official: int | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    input_psnr: dict[str, float] = field(default_factory=dict)
    measured: int = 0
    published: dict[str, float] = field(default_factory=dict)
    level: str = ""

    @property
    def count(self) -> int:
        """The number that `official` is about."""
        return self.images if self.pairs is None else self.pairs

    @property
    def status(self) -> str:
        """`complete` or `n of N`, and the worst finding."""
        share = "" if self.official is None else f"{self.count} of {self.official}"
        share = "complete" if self.count == self.official else share
        return ", ".join(part for part in (share, self.level if self.level != "note" else "") if part) or "ok"


@dataclass
class AuditReport:
    """Everything that `daair.data.audit.root.audit_root` found.

    Attributes:
        root: The folder.
        sets: A summary of each data set found.
        findings: All findings, set by set.
        absent: Names of the known data sets that are not there.
        without_pairs: Degradations of which there is no data set to train on.
        others: Number of pictures that belong to none of the data sets, by folder.
    """

    root: Path
    sets: list[DatasetSummary]
    findings: list[Finding]
    absent: list[str] = field(default_factory=list)
    without_pairs: list[str] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)

    def count(self, level: str) -> int:
        """Return the number of findings of a level."""
        return sum(finding.level == level for finding in self.findings)


def relative_to_root(path: Path, root: Path) -> str:
    """Return a path as users know it: relative to the root if it lies under it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
