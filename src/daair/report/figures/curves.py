"""Draw training curves: loss and validation PSNR against updates, with bands over seeds."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from daair.report.figures import style
from daair.report.figures.data import FigureData
from daair.report.figures.style import COLOURS, LINES, SEVERAL, Drawn

POINTS = 60
"""Most points of a curve; a longer one is averaged over this many intervals."""

PANELS = {"train/loss": "training loss", "val/psnr": "validation PSNR / dB"}


def draw_curves(data: FigureData, folder: Path) -> Drawn:
    """Draw loss and validation PSNR of each variant: the mean over seeds, and the band from lowest to highest."""
    runs = {variant: data.runs_of(variant)["run"].astype(str) for variant in data.few()}
    lines = {data.names[variant]: [data.metrics(run) for run in names] for variant, names in runs.items()}
    return draw_lines(lines, panels(data.keys), folder, data.few_note())


def panels(keys: Iterable[str]) -> dict[str, str]:
    """Return those of `PANELS` that runs with these differing keys share: not the loss if its units differ."""
    changed = any(key.partition(".")[0] == "loss" for key in keys)
    return {value: label for value, label in PANELS.items() if not (changed and value == "train/loss")}


def draw_lines(
    lines: Mapping[str, Sequence[list[dict]]], wanted: Mapping[str, str], folder: Path, note: str = ""
) -> Drawn:
    """Draw the logged values of runs as `curves`.

    Args:
        lines: The lines of metrics.jsonl of each seed, by the name in the legend.
        wanted: The label of each value to draw, of `PANELS`.
        folder: Folder for the files.
        note: End of the caption.
    """
    name = "curves"
    drawn = {
        value: {one: band for one, seeds in lines.items() if (band := _band(seeds, value)) is not None}
        for value in wanted
    }
    drawn = {value: bands for value, bands in drawn.items() if bands}
    if not drawn:
        return Drawn(name, reason="no run has logged two steps of the same quantity")
    if len(lines) > SEVERAL:
        return Drawn(name, reason=f"more than {SEVERAL} lines")
    width = style.PAGE if len(drawn) > 1 else None
    figure, axes = style.panels(len(drawn), per_row=2, height=2.3, width=width)
    for axis, (value, bands) in zip(axes, drawn.items(), strict=True):
        for i, one in enumerate(lines):
            if one in bands:
                _draw(axis, bands[one], i, one)
        axis.set(xlabel="updates", ylabel=wanted[value])
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        if value == "train/loss":
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_minor_locator(LogLocator(subs=range(1, 10)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(NullFormatter())
    style.legend(figure)
    caption = (
        f"{' and '.join(wanted[value].partition(' / ')[0] for value in drawn).capitalize()} during training: mean and "
        f"range over the seeds; losses are means over up to {POINTS} parts of the training."
    ).replace("psnr", "PSNR")
    if any(_cut(seeds, value) for value, bands in drawn.items() for seeds in map(lines.get, bands)):
        caption += " A curve ends where its slowest seed is."
    return style.save(figure, folder, name, caption + note)


def _band(seeds: Sequence[list[dict]], value: str) -> pd.DataFrame | None:
    """Return mean, low and high over the seeds by step; None if there are fewer than two steps."""
    table = pd.DataFrame(dict(enumerate(_logged(seeds, value)))).dropna()  # only steps that all seeds have reached
    if len(table) > POINTS:
        parts = pd.Series(range(len(table))) * POINTS // len(table)
        table = table.reset_index().groupby(parts).mean().set_index("index")
    if len(table) < 2:
        return None
    return pd.DataFrame({"mean": table.mean(axis=1), "low": table.min(axis=1), "high": table.max(axis=1)})


def _logged(seeds: Sequence[list[dict]], value: str) -> list[pd.Series]:
    """Return the values by step of each seed that has logged any; one that waits has not."""
    points = [{line["step"]: line[value] for line in lines if line.get(value) is not None} for lines in seeds]
    return [pd.Series(found, dtype=float).sort_index() for found in points if found]


def _cut(seeds: Sequence[list[dict]], value: str) -> bool:
    """Say whether the curve of these seeds leaves out the later values of some of them."""
    return len({int(found.index[-1]) for found in _logged(seeds, value)}) > 1


def _draw(axis: Axes, band: pd.DataFrame, i: int, name: str) -> None:
    axis.plot(band.index, band["mean"], color=COLOURS[i], linestyle=LINES[i], label=name)
    if (band["high"] > band["low"]).any():
        axis.fill_between(band.index, band["low"], band["high"], color=COLOURS[i], alpha=0.2, linewidth=0)
