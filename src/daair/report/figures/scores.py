"""Draw a metric against what a study varies, and the gain per benchmark."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from daair.files import safe_name
from daair.metrics import METRICS
from daair.report import evaluated
from daair.report.aggregate import AVERAGE, text
from daair.report.figures import style
from daair.report.figures.data import FigureData
from daair.report.figures.style import COLOURS, LINES, MARKERS, SEVERAL, Drawn, Mark

SWEPT = {
    "experts.rank": ("rank", "rank of the experts (first level)"),
    "experts.count": ("experts", "number of experts"),
}
"""The name in files and the label of an axis, for keys whose own name would say too little."""

COSTS = {
    "parameters": ("parameters / M", 1e-6),
    "macs": ("MACs of a 224 x 224 image / G", 1e-9),
}
"""The label of the axis of each cost, and the factor that converts to its unit."""


def axis_label(name: str) -> str:
    """Return a metric with its unit: `PSNR / dB`."""
    metric = METRICS[name]
    return f"{metric.header} / {metric.unit}" if metric.unit else metric.header


def swept(data: FigureData) -> list[str]:
    """Return the keys with several numbers in trained variants among those that name a variant, in their order."""
    runs = evaluated.trained(data.runs)
    numbers = {key: pd.to_numeric(runs[key], errors="coerce") for key in data.rows if key in runs}
    return [key for key, values in numbers.items() if values.nunique() > 1 and runs[key].dtype != bool]


def draw_against(data: FigureData, key: str, metric: str, folder: Path) -> Drawn:
    """Draw a metric against a swept key: one panel per benchmark, and their average.

    Variants that also differ in other keys are separate lines. Networks that were only evaluated are on none, because
    other data and another budget may have made them.
    """
    what, label = SWEPT.get(key, (safe_name(key.rpartition(".")[2]), key))
    name = f"{metric}_against_{what}"
    if reason := _unmeasured(data, metric):
        return Drawn(name, reason=reason)
    values = _values(data, key)
    values = values[values.index.isin(data.trained)]
    if values.nunique() < 2:
        same = f" ({values.iloc[0]:.4g})" if len(values) else ""
        return Drawn(name, reason=f"{key} is the same{same} in all variants")
    lines = _lines(data, key, values)
    if not any(values[members].nunique() > 1 for members in lines.values()):
        return Drawn(name, reason=f"no two variants differ in {key} alone")
    if len(lines) > SEVERAL:
        return Drawn(name, reason=f"more than {SEVERAL} lines, one for each combination of the other keys")
    scores = data.scores(metric)
    columns = list(scores)
    if len(columns) > 1 and data.has_average:
        scores[AVERAGE] = data.averages(metric)
        columns.append(AVERAGE)
    figure, axes = style.panels(len(columns), per_row=3, height=2.4 if len(columns) == 1 else 1.8)
    marks = []
    for axis, benchmark in zip(axes, columns, strict=True):
        marks += _draw_lines(data, axis, scores[benchmark], values, lines, metric, joined=True)
        axis.set(title=data.headings.of(benchmark), xlabel=label)
        _ticks(axis, values, whole=bool((values % 1 == 0).all()))
    for axis in axes[:: min(3, len(axes))]:
        axis.set_ylabel(axis_label(metric))
    style.legend(figure)
    caption = _caption(data, f"{METRICS[metric].header} against {label}", metric)
    return style.save(figure, folder, name, caption, marks)


def draw_cost(data: FigureData, metric: str, folder: Path) -> Drawn:
    """Draw the average of a metric against parameters and MACs, a panel each; each variant is a point."""
    name = f"{metric}_against_cost"
    if reason := _unmeasured(data, metric):
        return Drawn(name, reason=reason)
    costs = {cost: _values(data, cost) * factor for cost, (_, factor) in COSTS.items()}
    costs = {cost: values for cost, values in costs.items() if values.nunique() > 1}
    if not costs:
        return Drawn(name, reason="parameters and MACs are unknown or the same in all variants")
    if not data.has_average:
        return Drawn(name, reason=f"{style.listed(data.benchmarks)} are not comparable and have no average")
    scores = data.averages(metric)
    figure, axes = style.panels(len(costs), per_row=2, height=2.4, width=style.PAGE if len(costs) > 1 else None)
    marks = []
    for axis, (cost, values) in zip(axes, costs.items(), strict=True):
        points = {data.names[variant]: [variant] for variant in data.few()}
        _draw_front(axis, values, data.ranked(metric), METRICS[metric].higher_is_better)
        marks += _draw_lines(data, axis, scores, values, points, metric, joined=False)
        axis.set(xlabel=COSTS[cost][0])
        _ticks(axis, values, whole=False)
    several = len(data.benchmarks) > 1
    axes[0].set_ylabel(f"{axis_label(metric)}, {'average' if several else data.headings.of(data.benchmarks[0])}")
    style.legend(figure)
    against = " and ".join(COSTS[cost][0].partition(" / ")[0] for cost in costs)
    of = f", average of {len(data.benchmarks)} benchmarks" if several else ""
    front = " Grey line: the Pareto front; nothing as cheap is better."
    caption = _caption(data, f"{METRICS[metric].header}{of}, against {against}", metric) + front + data.few_note()
    return style.save(figure, folder, name, caption, marks)


def _draw_front(axis: Axes, costs: pd.Series, scores: pd.Series, higher_is_better: bool) -> None:
    """Draw the Pareto front: for each cost the best score of all variants, by name, that cost at most as much."""
    points = pd.DataFrame({"cost": costs, "score": scores}).dropna().sort_values("cost")
    best = points["score"].cummax() if higher_is_better else points["score"].cummin()
    axis.step(points["cost"], best, where="post", color="#bbbbbb", linewidth=0.8, zorder=0)


def _unmeasured(data: FigureData, metric: str) -> str:
    """Return a sentence if no run was measured with the metric, else an empty text."""
    measured = metric in data.images and data.images[metric].notna().any()
    return "" if measured else f"no run was measured with {metric}"


def _values(data: FigureData, column: str) -> pd.Series:
    """Return a numeric column by variant, in the order of the variants, without missing values."""
    if column not in data.runs:
        return pd.Series(dtype=float)
    values = pd.to_numeric(data.runs.groupby("variant", observed=True)[column].first(), errors="coerce")
    values.index = values.index.astype(str)
    return values[[variant for variant in data.names if variant in values]].dropna()


def draw_gain(data: FigureData, folder: Path) -> Drawn:
    """Draw the PSNR gain over the input per benchmark, a bar per variant."""
    name = "gain"
    shown = data.few()
    scores = data.scores("gain").reindex(shown, level=0)
    if scores.isna().all().all():
        return Drawn(name, reason="no run has results")
    means, spread = scores.groupby(level=0).mean().reindex(shown), scores.groupby(level=0).std().reindex(shown)
    benchmarks, bars = list(map(data.headings.of, data.benchmarks)), len(shown)
    wide = len(benchmarks) * bars > 9 or sum(map(len, benchmarks)) > 36
    figure, (axis,) = style.panels(1, per_row=1, height=2.4, width=style.PAGE if wide else None)
    places, width = np.arange(len(benchmarks)), 0.8 / bars
    marks = []
    for i, variant in enumerate(shown):
        bar = places + (i - (bars - 1) / 2) * width
        axis.bar(
            bar, means.loc[variant], width * 0.92, yerr=spread.loc[variant],
            color=COLOURS[i % SEVERAL], label=data.names[variant], error_kw={"linewidth": 0.8, "ecolor": "#444444"},
        )  # fmt: skip
        own = scores[scores.index.get_level_values(0) == variant].droplevel(0)
        measured = [own[name].dropna().index for name in scores]
        for x, mean, sd, seeds in zip(bar, means.loc[variant], spread.loc[variant], measured, strict=True):
            marks += _mark(data, axis, x, variant, "gain", mean, sd, seeds)
    axis.axhline(0, color="black", linewidth=0.6)
    crowded = sum(map(len, benchmarks)) > 90
    axis.set_xticks(places, benchmarks, rotation=20 if crowded else 0, ha="right" if crowded else "center")
    axis.set(ylabel="PSNR gain / dB")
    axis.grid(False, axis="x")
    style.legend(figure)
    caption = _caption(data, "PSNR gain over the input by benchmark", "gain") + data.few_note()
    return style.save(figure, folder, name, caption, marks)


def _caption(data: FigureData, what: str, metric: str) -> str:
    protocol = style.listed(data.protocols)
    kind = f"protocol{'s' if len(data.protocols) > 1 else ''} {protocol}"
    spread = data.seeds_note()
    means = (
        f"Means over the images; {spread}" if spread.startswith("one") else f"Mean and standard deviation of {spread}"
    )
    return f"{what}. {means}; {kind}.{data.left_out_note(metric)}"


def _lines(data: FigureData, column: str, values: pd.Series) -> dict[str, list[str]]:
    """Return the variants of each line, which differ in `column` alone."""
    others = [key for key in data.keys if key != column and key != "label"]
    first = data.runs.drop_duplicates("variant").set_index(data.runs["variant"].drop_duplicates().astype(str))
    lines: dict[str, list[str]] = {}
    for variant in values.index:
        parts = [f"{key.rpartition('.')[2]} {text(first.loc[variant, key])}" for key in others]
        lines.setdefault(", ".join(parts) or METRICS["psnr"].header, []).append(variant)
    return lines


def _draw_lines(
    data: FigureData,
    axis: Axes,
    scores: pd.Series,
    values: pd.Series,
    lines: dict[str, list[str]],
    metric: str,
    joined: bool,
) -> Iterator[Mark]:
    """Draw the means over the seeds with their spread, and yield a mark for each."""
    of_variant = scores.dropna().groupby(level=0)
    means, spread = of_variant.mean(), of_variant.std()
    seeds = {variant: own.index.get_level_values(1) for variant, own in of_variant}
    for i, (name, members) in enumerate(lines.items()):
        members = [variant for variant in members if variant in means and variant in values]
        if not members:  # its colour stays its own in the other panels
            continue
        members.sort(key=lambda variant: values[variant])
        x, y = [values[m] for m in members], [means[m] for m in members]
        bars = None if spread.reindex(members).isna().all() else spread.reindex(members).fillna(0)
        line = LINES[i] if joined else "none"
        axis.errorbar(x, y, yerr=bars, color=COLOURS[i], marker=MARKERS[i], linestyle=line, label=name)
        for member in members:
            sd = spread.get(member, np.nan)
            yield from _mark(data, axis, values[member], member, metric, means[member], sd, seeds[member])


def _mark(
    data: FigureData, axis: Axes, x: float, variant: str, metric: str, mean: float, spread: float, seeds: pd.Index
) -> Iterator[Mark]:
    """Yield the mark of a mean over seeds, which says the variant and the value; nothing for a missing value."""
    if not np.isfinite(mean):
        return
    digits, unit = METRICS[metric].digits, METRICS[metric].unit
    value = f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if np.isfinite(spread) else "")
    of = f" (seed {', '.join(map(str, sorted(seeds.dropna())))})" if seeds.notna().any() else ""  # only evaluated
    text = f"{data.names[variant]}{of}: {METRICS[metric].header} {value} {unit or ''}".strip()
    yield Mark(axis, float(x), float(mean), variant, text)


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
