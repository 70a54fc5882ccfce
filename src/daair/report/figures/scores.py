"""Draw a metric against what a study varies, and the gain per benchmark."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from daair.metrics import METRICS
from daair.report.aggregate import AVERAGE, text
from daair.report.figures import style
from daair.report.figures.data import FigureData
from daair.report.figures.style import COLOURS, LINES, MARKERS, SEVERAL, Drawn

KEYS = {
    "rank": ("experts.rank", "rank of the experts (first level)", 1.0),
    "experts": ("experts.count", "number of experts", 1.0),
    "parameters": ("parameters", "parameters / M", 1e-6),
    "macs": ("macs", "MACs of a 224 x 224 image / G", 1e-9),
}
"""The column that a metric is drawn against, the label of its axis, and the factor that converts to the axis' unit."""

COSTS = ("parameters", "macs")


def axis_label(name: str) -> str:
    """Return a metric with its unit: `PSNR / dB`."""
    metric = METRICS[name]
    return f"{metric.header} / {metric.unit}" if metric.unit else metric.header


def draw_against(data: FigureData, what: str, metric: str, folder: Path) -> Drawn:
    """Draw a metric against rank, experts, parameters or MACs: one panel per benchmark, and their average.

    Variants that also differ in other keys are separate lines; against parameters or MACs each variant is a point.
    """
    name, (column, label, factor) = f"{metric}_against_{what}", KEYS[what]
    if metric not in data.images or data.images[metric].isna().all():
        return Drawn(name, reason=f"no run was measured with {metric}")
    if column not in data.runs or data.runs[column].isna().all():
        return Drawn(name, reason=f"no run says its {column}")
    values = pd.to_numeric(data.runs.groupby("variant", observed=True)[column].first(), errors="coerce")
    values.index = values.index.astype(str)
    values = values[[variant for variant in data.names if variant in values]].dropna() * factor
    if values.nunique() < 2:
        same = f" ({values.iloc[0]:.4g})" if len(values) else ""
        return Drawn(name, reason=f"{column} is the same{same} in all variants")
    scores = data.scores(metric)
    columns = list(scores)
    if len(columns) > 1:
        scores[AVERAGE] = data.averages(metric)
        columns = [AVERAGE] if what in COSTS else [*columns, AVERAGE]
    lines = _points(data, values) if what in COSTS else _lines(data, column, values)
    if not lines:
        return Drawn(name, reason=f"more than {SEVERAL} lines, one for each combination of the other keys")
    figure, axes = style.panels(len(columns), per_row=3, height=2.4 if len(columns) == 1 else 1.8)
    for axis, benchmark in zip(axes, columns, strict=True):
        _draw_lines(axis, scores[benchmark], values, lines, joined=what not in COSTS)
        alone = f"average of {len(data.benchmarks)} benchmarks" if columns == [AVERAGE] else benchmark
        axis.set(title=alone, xlabel=label)
        _ticks(axis, values, whole=what not in COSTS)
    for axis in axes[:: min(3, len(axes))]:
        axis.set_ylabel(axis_label(metric))
    style.legend(figure, axes[0])
    caption = _caption(data, f"{METRICS[metric].header} against {label.partition(' / ')[0]}")
    return style.save(figure, folder, name, caption)


def draw_gain(data: FigureData, folder: Path) -> Drawn:
    """Draw the PSNR gain over the input per benchmark, a bar per variant."""
    name = "gain"
    shown = data.few()
    scores = data.scores("gain").reindex(shown, level=0)
    if scores.replace([np.inf, -np.inf], np.nan).isna().all().all():
        return Drawn(name, reason="no run has results")
    means, spread = scores.groupby(level=0).mean().reindex(shown), scores.groupby(level=0).std().reindex(shown)
    benchmarks, bars = data.benchmarks, len(shown)
    wide = len(benchmarks) * bars > 9 or sum(map(len, benchmarks)) > 36
    figure, (axis,) = style.panels(1, per_row=1, height=2.4, width=style.PAGE if wide else None)
    places, width = np.arange(len(benchmarks)), 0.8 / bars
    for i, variant in enumerate(shown):
        axis.bar(
            places + (i - (bars - 1) / 2) * width, means.loc[variant], width * 0.92, yerr=spread.loc[variant],
            color=COLOURS[i % SEVERAL], label=data.names[variant], error_kw={"linewidth": 0.8, "ecolor": "#444444"},
        )  # fmt: skip
    axis.axhline(0, color="black", linewidth=0.6)
    crowded = sum(map(len, benchmarks)) > 90
    axis.set_xticks(places, benchmarks, rotation=20 if crowded else 0, ha="right" if crowded else "center")
    axis.set(ylabel="PSNR gain over the input / dB")
    axis.grid(False, axis="x")
    style.legend(figure, axis)
    return style.save(figure, folder, name, _caption(data, "PSNR gain over the input by benchmark") + data.few_note())


def _caption(data: FigureData, what: str) -> str:
    protocol = style.listed(data.protocols)
    kind = f"protocol{'s' if len(data.protocols) > 1 else ''} {protocol}"
    spread = data.seeds_note()
    means = (
        f"Means over the images; {spread}" if spread.startswith("one") else f"Mean and standard deviation of {spread}"
    )
    return f"{what}. {means}; {kind}."


def _lines(data: FigureData, column: str, values: pd.Series) -> dict[str, list[str]]:
    """Return the variants of each line, which differ in `column` alone; {} if there are too many lines."""
    others = [key for key in data.keys if key != column and key != "label"]
    first = data.runs.drop_duplicates("variant").set_index(data.runs["variant"].drop_duplicates().astype(str))
    lines: dict[str, list[str]] = {}
    for variant in values.index:
        parts = [f"{key.rpartition('.')[2]} {text(first.loc[variant, key])}" for key in others]
        lines.setdefault(", ".join(parts) or METRICS["psnr"].header, []).append(variant)
    return lines if len(lines) <= SEVERAL else {}


def _points(data: FigureData, values: pd.Series) -> dict[str, list[str]]:
    shown = [variant for variant in data.few() if variant in values]
    return {data.names[variant]: [variant] for variant in shown}


def _draw_lines(axis: Axes, scores: pd.Series, values: pd.Series, lines: dict[str, list[str]], joined: bool) -> None:
    of_variant = scores.dropna().groupby(level=0)
    means, spread = of_variant.mean(), of_variant.std()
    for i, (name, members) in enumerate(lines.items()):
        members = sorted((variant for variant in members if variant in means), key=lambda variant: values[variant])
        x, y = [values[m] for m in members], [means[m] for m in members]
        bars = None if spread.reindex(members).isna().all() else spread.reindex(members).fillna(0)
        line = LINES[i] if joined else "none"
        axis.errorbar(x, y, yerr=bars, color=COLOURS[i], marker=MARKERS[i], linestyle=line, label=name)


def _ticks(axis: Axes, values: pd.Series, whole: bool) -> None:
    """Set the ticks; the axis is logarithmic if the largest value is at least four times the smallest."""
    places = sorted(set(values))
    if places[0] > 0 and places[-1] / places[0] >= 4:
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_locator(NullLocator())
    if whole and len(places) <= 8:
        axis.set_xticks(places)
    else:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=whole, steps=[1, 2, 5, 10]))
    axis.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.margins(y=0.15)
