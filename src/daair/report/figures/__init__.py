"""Figures of a study for a paper: vector PDF and PNG, from collated runs and what their folders hold.

Only what the data can support is drawn; of everything else `draw` says why it is not.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from daair.report.figures import style
from daair.report.figures.before_after import draw_before_after
from daair.report.figures.curves import draw_curves
from daair.report.figures.data import FigureData, figure_data
from daair.report.figures.routing import draw_routing
from daair.report.figures.scores import KEYS, draw_against, draw_gain
from daair.report.figures.style import Drawn

__all__ = ["Drawn", "FigureData", "draw", "figure_data"]


def draw(data: FigureData, folder: str | Path, metrics: Sequence[str] = ("psnr",)) -> list[Drawn]:
    """Draw all figures of a study that its data supports, as `<folder>/<name>.pdf` and `.png`.

    Args:
        data: The study.
        folder: For the files; made when missing. Files of other names in it are left alone.
        metrics: Names of those to draw against rank, experts, parameters and MACs.

    Returns:
        Every figure, drawn or not, in the order in which a report shows them.
    """
    with style.styled():
        return list(_all(data, Path(folder), metrics))


def _all(data: FigureData, folder: Path, metrics: Sequence[str]) -> Iterator[Drawn]:
    if data.images.empty:
        yield Drawn("scores", reason="no run has results")
    else:
        for metric in metrics:
            for what in KEYS:
                yield draw_against(data, what, metric, folder)
        yield draw_gain(data, folder)
    yield draw_curves(data, folder)
    yield from draw_routing(data, folder)
    if not data.images.empty:
        yield draw_before_after(data, folder)
