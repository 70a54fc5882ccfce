"""Draw training curves: loss and validation PSNR against updates, with bands over seeds."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from daair.report.figures import style
from daair.report.figures.data import FigureData
from daair.report.figures.style import COLOURS, LINES, Drawn

POINTS = 60
"""Most points of a curve; a longer one is averaged over this many intervals."""

PANELS = {"train/loss": "training loss", "val/psnr": "validation PSNR / dB"}


def draw_curves(data: FigureData, folder: Path) -> Drawn:
    """Draw loss and validation PSNR of each variant: the mean over seeds, and the band from lowest to highest."""
    name, shown = "curves", data.few()
    wanted = dict(PANELS)
    if any(key.partition(".")[0] == "loss" for key in data.keys):
        del wanted["train/loss"]  # the variants' losses have different units
    drawn = {
        value: {variant: band for variant in shown if (band := _band(data, variant, value)) is not None}
        for value in wanted
    }
    drawn = {value: bands for value, bands in drawn.items() if bands}
    if not drawn:
        return Drawn(name, reason="no run has logged two steps of the same quantity")
    width = style.PAGE if len(drawn) > 1 else None
    figure, axes = style.panels(len(drawn), per_row=2, height=2.3, width=width)
    for axis, (value, bands) in zip(axes, drawn.items(), strict=True):
        for i, variant in enumerate(shown):
            if variant in bands:
                _draw(axis, bands[variant], i, data.names[variant])
        axis.set(xlabel="updates", ylabel=wanted[value])
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        if value == "train/loss":
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_minor_locator(LogLocator(subs=range(1, 10)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(NullFormatter())
    style.legend(figure, axes[-1])
    caption = (
        f"{' and '.join(wanted[value].partition(' / ')[0] for value in drawn).capitalize()} during training: mean and "
        f"range over the seeds; losses are means over up to {POINTS} parts of the training."
    ).replace("psnr", "PSNR")
    return style.save(figure, folder, name, caption + data.few_note())


def _band(data: FigureData, variant: str, value: str) -> pd.DataFrame | None:
    """Return mean, low and high over the seeds by step; None if there are fewer than two steps."""
    columns = {}
    for run in data.runs_of(variant)["run"].astype(str):
        points = {line["step"]: line[value] for line in data.metrics(run) if line.get(value) is not None}
        columns[run] = pd.Series(points, dtype=float).sort_index()
    table = pd.DataFrame(columns).dropna()  # only steps that all seeds have reached
    if len(table) > POINTS:
        parts = pd.Series(range(len(table))) * POINTS // len(table)
        table = table.reset_index().groupby(parts).mean().set_index("index")
    if len(table) < 2:
        return None
    return pd.DataFrame({"mean": table.mean(axis=1), "low": table.min(axis=1), "high": table.max(axis=1)})


def _draw(axis: Axes, band: pd.DataFrame, i: int, name: str) -> None:
    axis.plot(band.index, band["mean"], color=COLOURS[i], linestyle=LINES[i], label=name)
    if (band["high"] > band["low"]).any():
        axis.fill_between(band.index, band["low"], band["high"], color=COLOURS[i], alpha=0.2, linewidth=0)
