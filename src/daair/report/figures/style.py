"""The look of all figures: sizes for a two-column paper, colours for colour-blind readers, file formats."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, findfont, fontManager
from matplotlib.ticker import MaxNLocator

from daair.files import replacing

COLUMN, PAGE = 3.5, 7.16
"""Widths in inches of one column and of the full page (IEEE)."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#882255", "#999999")
"""Colours of Okabe and Ito, "Color Universal Design" (2008), without yellow, which is hard to see on white paper; then
Paul Tol's wine red, and grey."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)), (0, (3, 1)), (0, (6, 1, 1, 1)))
"""Line styles; like the markers, they distinguish the same things as the colours, for print in black and white."""

SEVERAL = len(COLOURS)
"""Most lines in one figure that a reader can distinguish."""

SHARES = "Blues"
"""Colour map of shares in [0, 1], from white to dark."""

FONT = "DejaVu Sans"
"""The font, which comes with Matplotlib, so that figures are the same everywhere."""

SMALL_FONT = "DejaVu Sans of the usual signs"
"""Its subset that `styled` makes; other signs come from the whole font."""

SIGNS = (range(0x20, 0x180), range(0x370, 0x400), range(0x2000, 0x2300))
"""Unicode ranges of the subset: Latin, Greek, and punctuation, arrows and mathematics."""

FAST = 1
"""zlib's level for the pixels of figures, since pictures of noise hardly shrink at any level."""

RC = {
    "pdf.compression": FAST,
    "font.family": [SMALL_FONT, FONT],
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "errorbar.capsize": 2,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # keeps text as text, as publishers require
    "text.parse_math": False,  # names of variants are not formulas
}


class Mark(NamedTuple):
    """A point of a plot that stands for a variant: where it is in its axes, and what it shows."""

    axes: Axes
    x: float
    y: float
    variant: str
    text: str


class Spot(NamedTuple):
    """The place of a `Mark` in a figure as fractions of its width from the left and of its height from the top."""

    left: float
    top: float
    variant: str
    text: str


@dataclass(frozen=True)
class Drawn:
    """A figure, or the reason why it was not drawn.

    Attributes:
        name: Name of its files, without suffix.
        caption: Caption, including how spread and means were computed; empty if it was not drawn.
        files: PDF and PNG; empty if it was not drawn.
        reason: Reason why it was not drawn; empty if it was.
        spots: Places in the figure that show a variant.
    """

    name: str
    caption: str = ""
    files: tuple[Path, ...] = ()
    reason: str = ""
    spots: tuple[Spot, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}: {self.reason or ', '.join(file.name for file in self.files)}"


@contextmanager
def styled() -> Iterator[None]:
    """Apply the common look to figures that are made inside the `with` block."""
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it logs every font that goes into a PDF
    _add_small_font()
    with matplotlib.rc_context(RC):
        yield


@cache
def _add_small_font() -> None:
    """Make the subset of the font known; Matplotlib would parse and cut the whole font anew for every PDF file."""
    file = Path(matplotlib.get_cachedir()) / f"daair-{matplotlib.__version__}.ttf"
    if not file.exists():
        from fontTools import subset

        options = subset.Options(layout_features=[], legacy_kern=True, glyph_names=True, recalc_timestamp=False)
        options.drop_tables += ["GSUB", "GPOS", "GDEF", "FFTM"]
        font = subset.load_font(findfont(FONT), options)
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=chain(*SIGNS))
        subsetter.subset(font)
        with replacing(file) as temporary:
            font.save(temporary)
    fontManager.ttflist.append(FontEntry(fname=str(file), name=SMALL_FONT, weight=400))


def panels(count: int, *, per_row: int, height: float, width: float | None = None) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` axes in rows of at most `per_row`, each `height` inches high.

    Args:
        width: Width of the figure in inches; None = one column for one or two axes, else the page.
    """
    columns = min(count, per_row)
    rows = -(-count // columns)
    width = width or (COLUMN if count <= 2 else PAGE)
    figure = Figure(figsize=(width, rows * height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for empty in axes[count:]:
        figure.delaxes(empty)
    for axis in axes[:count]:  # ticks that depended on the height would change with the layout that made room for them
        axis.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    return figure, axes[:count]


def legend(figure: Figure) -> None:
    """Add one legend for all axes, above them; what has the same name in several axes looks the same."""
    found: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    if len(found) < 2:
        return
    letters = max(map(len, found)) + 6
    columns = max(1, min(len(found), int(figure.get_figwidth() * 16 / letters)))
    figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=columns)


def save(
    figure: Figure, folder: Path, name: str, caption: str, marks: Sequence[Mark] = (), dpi: int | None = None
) -> Drawn:
    """Write `<name>.pdf` and `<name>.png`, of `dpi` dots per inch, atomically; the figure is laid out once for both."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")
    files = []
    for suffix, options in (
        (".pdf", {"metadata": {"CreationDate": None}}),  # no date: same data, same bytes
        (".png", {"pil_kwargs": {"compress_level": FAST}, "dpi": dpi or RC["savefig.dpi"]}),
    ):
        with replacing(Path(folder) / f"{name}{suffix}") as temporary:
            figure.savefig(temporary, **options)
        files.append(Path(folder) / f"{name}{suffix}")
    return Drawn(name, caption, tuple(files), spots=tuple(_spot(figure, mark) for mark in marks))


def _spot(figure: Figure, mark: Mark) -> Spot:
    x, y = figure.transFigure.inverted().transform(mark.axes.transData.transform((mark.x, mark.y)))
    return Spot(round(float(x), 4), round(1 - float(y), 4), mark.variant, mark.text)


def listed(names: Sequence[str]) -> str:
    """Return names as in a sentence: `a, b and c`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
