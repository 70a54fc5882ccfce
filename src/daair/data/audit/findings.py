"""The results of an audit: single findings, a summary of each data set, and a report on all of them."""

from dataclasses import dataclass, field
from pathlib import Path

LEVELS = ("note", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """One statement about the data.

    Attributes:
        level: One of `LEVELS`.
        dataset: Name of the data set.
        what: The problem, or the fact worth knowing.
        remedy: Advice on what to do about it.
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
    """A summary of one data set.

    Attributes:
        name, layout, folders: The data set, the layout in which it was found, and its folders relative to the root.
        images: Number of clean images.
        pairs: Number of inputs with a target; None for a set of clean images.
        official: Official number of images or pairs; None if no number is known.
        sizes: Number of clean images of each size (`481x321`), the most frequent size first.
        input_psnr: Mean input PSNR in dB over the measured pairs, for whole 8-bit images: `rgb`, and `y` (MATLAB's
            luma).
        measured: Number of measured pairs.
        published: Published input PSNR in dB by metric protocol.
        level: Most severe level of the findings; empty if there are none.
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
        """The number of pairs, or of images if the set has no pairs; comparable with `official`."""
        return self.images if self.pairs is None else self.pairs

    @property
    def status(self) -> str:
        """`complete` or `n of N`, followed by the most severe level above `note`."""
        share = "" if self.official is None else f"{self.count} of {self.official}"
        share = "complete" if self.count == self.official else share
        return ", ".join(part for part in (share, self.level if self.level != "note" else "") if part) or "ok"


@dataclass
class AuditReport:
    """The report of `daair.data.audit.root.audit_root`.

    Attributes:
        sets, findings: The summaries of the data sets that were found, and all findings, ordered by data set.
        absent: Names of the known data sets that were not found.
        without_pairs: Degradations for which no paired training set was found.
        others: Number of images that belong to no known data set, by folder.
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
    """Return a path relative to the root if it lies under the root, else the path as it is."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
