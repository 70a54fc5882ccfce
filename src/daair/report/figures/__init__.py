"""Figures of a study for a paper, as vector PDF and PNG, from collated runs and their folders."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import matplotlib.backends.backend_pdf  # noqa: F401 - takes long, and would be imported by both processes

from daair.report.figures import style
from daair.report.figures.before_after import draw_before_after
from daair.report.figures.beside import beside
from daair.report.figures.curves import draw_curves
from daair.report.figures.data import FigureData, figure_data
from daair.report.figures.methods import draw_methods
from daair.report.figures.routing import draw_routing
from daair.report.figures.scores import draw_against, draw_cost, draw_gain, swept
from daair.report.figures.sheet import Box
from daair.report.figures.style import Drawn

__all__ = ["Drawn", "FigureData", "draw", "figure_data"]


def draw(
    data: FigureData,
    folder: str | Path,
    metrics: Sequence[str] = ("psnr",),
    which: Literal["answer", "all"] = "answer",
    crops: Mapping[str, Sequence[Box]] | None = None,
) -> list[Drawn]:
    """Draw the figures of a study that its data supports, as `<folder>/<name>.pdf` and `.png`.

    Args:
        data: The study.
        folder: Folder for the files; it is created if missing, and other files in it are kept.
        metrics: Metrics to draw against the swept keys and the costs.
        which: "answer" draws what answers the study's question, so only the first metric, and the routing of the
            reference and the best variant, or of every variant if they have different routers; "all" draws every
            metric and the routing of every variant.
        crops: Squares that pictures enlarge, by benchmark, see `daair.report.figures.methods.draw_methods`.

    Returns:
        Every figure in the order of the report; one that was not drawn has the reason.
    """
    everything, folder = which == "all", Path(folder)

    def methods() -> list[Drawn]:
        return [] if data.images.empty else list(draw_methods(data, folder, crops))

    with style.styled(), beside(methods) as of_methods:  # they take about as long as all others
        return [*_drawn(data, folder, metrics if everything else metrics[:1], everything), *of_methods()]


def _drawn(data: FigureData, folder: Path, metrics: Sequence[str], everything: bool) -> Iterator[Drawn]:
    if data.images.empty:
        yield Drawn("scores", reason="no run has results")
    else:
        for metric in metrics:
            for key in swept(data):
                yield draw_against(data, key, metric, folder)
            yield draw_cost(data, metric, folder)
        yield draw_gain(data, folder)
    yield draw_curves(data, folder)
    routers = any(key.split(".")[0] == "router" for key in data.keys)
    yield from draw_routing(data, folder, data.few() if everything or routers else data.leading())
    if not data.images.empty:
        yield draw_before_after(data, folder)
