"""Figures of a study for a paper, as vector PDF and PNG, from collated runs and their folders."""

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
    """Draw all figures that a study's data supports, as `<folder>/<name>.pdf` and `.png`.

    Args:
        data: The study.
        folder: Folder for the files; it is created if missing, and other files in it are kept.
        metrics: Metrics to draw against rank, experts, parameters and MACs.

    Returns:
        Every figure in the order of the report; one that was not drawn has the reason.
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
