"""The numbers in a table's cells: means and deviations over seeds, ranks, comparisons with the reference, costs.

A run's figure in a column is the mean over images of each benchmark, and the mean over benchmarks if a column holds
several. A cell is the mean and the standard deviation (n - 1) of these figures over seeds. What a run lacks is counted,
never averaged over.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from daair.report.statistics import compare, holm

AVERAGE = "average"
COSTS_COLUMN = -2  # in place of a column's position
MEASURES = {
    "psnr": ("PSNR", "dB", 2, True),
    "ssim": ("SSIM", "", 4, True),
    "gain": ("gain", "dB", 2, True),
    "lpips": ("LPIPS", "", 4, False),
    "dists": ("DISTS", "", 4, False),
}
"""Metrics: heading, unit, digits, whether more is better."""

COSTS = {
    "parameters": ("params", "M", 2, 1e6),
    "macs": ("MACs", "G", 2, 1e9),
    "images_per_second": ("images/s", "", 1, 1),
}
"""Costs of a row: heading, unit, digits, divisor."""

NUMBERS = (
    "row", "column", "metric", "mean", "sd", "seeds", "expected", "images", "rank", "delta", "delta_low", "delta_high",
    "p", "p_holm", "seeds_agreeing", "paired_images", "paired_seeds",
)  # fmt: skip
"""Columns of `Study.numbers`."""


def figures(
    images: pd.DataFrame, runs: pd.DataFrame, rows: Sequence[str], columns: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """Return a line per run and column: `row` and `column` as texts, `seed`, the number of images, and the metrics."""
    groups = images.groupby(["run", "benchmark", "protocol"], observed=True, sort=False)
    means = _mean(groups, metrics)
    means["images"] = groups.size()
    means = means.reset_index()
    facts = runs.set_index("run").loc[means["run"]].reset_index()
    facts["benchmark"], facts["protocol"] = means["benchmark"].astype(str), means["protocol"].astype(str)
    means["row"], means["column"] = names_of(facts, rows), names_of(facts, columns)
    means["seed"] = facts["seed"]
    # A column of several benchmarks counts only where all of them were measured.
    means["part"] = facts["benchmark"] + "\0" + facts["protocol"]
    parts = means.groupby("column")["part"].nunique()
    grouped = means.groupby(["row", "column", "seed", "run"], observed=True, sort=False)
    table = _mean(grouped, metrics)
    table["images"], found = grouped["images"].sum(), grouped["part"].nunique()
    table = table[found.to_numpy() == parts.loc[table.index.get_level_values("column")].to_numpy()]
    return table.reset_index()


def names_of(table: pd.DataFrame, keys: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the values of `keys` in each line, as texts."""
    columns = []
    for key in keys:  # each value is put into words once, not in each of many thousand lines
        codes, values = pd.factorize(table[key], use_na_sentinel=False)
        texts = [text(value) for value in values]
        columns.append([texts[code] for code in codes.tolist()])
    return list(zip(*columns, strict=True)) if columns else [()] * len(table)


def text(value: Any) -> str:
    """Return a value as a table shows it."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "none"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _mean(groups: Any, metrics: Sequence[str]) -> pd.DataFrame:
    """Return the mean of each metric over each group's lines; empty where a line lacks it, instead of over fewer."""
    return groups[list(metrics)].mean().where(groups[list(metrics)].count().eq(groups.size(), axis=0))


def cells_of(
    table: pd.DataFrame,
    rows: Sequence[tuple[str, ...]],
    columns: Sequence[tuple[str, ...]],
    metrics: Sequence[str],
    expected: int,
    average: bool,
) -> Iterator[dict[str, Any]]:
    """Yield means and deviations over seeds, and their ranks."""
    position = {name: i for i, name in enumerate(columns)}
    table = table.assign(column=table["column"].map(position))
    if average:
        runs = table.groupby(["row", "seed"], sort=False)
        means = _mean(runs, metrics).assign(images=np.nan, column=-1)[runs.size() == len(columns)]
        table = pd.concat([table, means.reset_index()])
    groups = table.groupby(["row", "column"], sort=False)
    images = groups["images"].first().to_dict()
    for metric in metrics:
        _, _, digits, more = MEASURES[metric]
        means, spreads = groups[metric].mean().to_dict(), groups[metric].std(ddof=1).to_dict()
        sizes = groups[metric].count().to_dict()  # not of the rows: a run may lack a metric that others have
        for column in (*range(len(columns)), *([-1] if average else [])):
            cells = []
            for i, row in enumerate(rows):
                cell = {"row": i, "column": column, "metric": metric, "seeds": 0, "expected": expected}
                if sizes.get(place := (row, column)):
                    values = {"mean": means[place], "sd": spreads[place], "images": images[place]}
                    cell |= {**values, "seeds": sizes[place]}
                cells.append(cell)
            _rank(cells, digits, more)
            yield from cells


def _rank(cells: list[dict[str, Any]], digits: int, more: bool) -> None:
    """Rank the rounded means of complete cells; equal ones share a rank, the next value is the second."""
    rounded = {i: round(cell["mean"], digits) for i, cell in enumerate(cells) if cell["seeds"] == cell["expected"]}
    ordered = sorted(set(rounded.values()), reverse=more)[:2]
    for i, cell in enumerate(cells):
        cell["rank"] = ordered.index(rounded[i]) + 1 if rounded.get(i) in ordered else 0


def add_comparisons(
    cells: list[dict[str, Any]],
    images: pd.DataFrame,
    runs: pd.DataFrame,
    rows: tuple[Sequence[str], Sequence[tuple[str, ...]]],
    columns: tuple[Sequence[str], Sequence[tuple[str, ...]]],
    reference: int,
    metrics: Sequence[str],
    alpha: float,
    resamples: int,
) -> None:
    """Add comparisons with the reference row to the cells; Holm's correction is over all of them together.

    Args:
        cells: of `cells_of`; their deltas and tests are filled in.
        images, runs: as in `Collated`.
        rows, columns: the keys that name them, and their names in order.
        reference: position of the reference among the rows.
        metrics, alpha, resamples: see `daair.report.pivot.Plan`.
    """
    facts = runs.set_index("run").loc[images["run"]].reset_index()
    facts["benchmark"], facts["protocol"] = (images[name].astype(str).to_numpy() for name in ("benchmark", "protocol"))
    picture = facts["benchmark"] + "/" + images["image"].astype(str).to_numpy()
    figures = images[list(metrics)].set_index(pd.MultiIndex.from_arrays([picture, facts["seed"]]))
    names = [
        pd.Series(names_of(facts, keys)).map({name: i for i, name in enumerate(known)})
        for keys, known in (rows, columns)
    ]
    groups = {key: figures.iloc[where] for key, where in names[0].groupby([names[0], names[1]]).indices.items()}
    tested = []
    for cell in cells:
        mine, other = (groups.get((row, cell["column"])) for row in (cell["row"], reference))
        if cell["row"] != reference and mine is not None and other is not None:
            metric = cell["metric"]
            found = compare(mine[metric], other[metric], alpha=alpha, resamples=resamples)
            cell |= {
                "delta": found.delta, "delta_low": found.low, "delta_high": found.high, "p": found.p,
                "seeds_agreeing": found.seeds_agreeing, "paired_images": found.images, "paired_seeds": found.seeds,
            }  # fmt: skip
            tested.append(cell)
    for cell, p in zip(tested, holm([cell["p"] for cell in tested]), strict=True):
        cell["p_holm"] = p
    for metric in metrics:  # of averages the difference alone: their images repeat each other's pictures
        mine = [cell for cell in cells if cell["column"] == -1 and cell["metric"] == metric]
        parts = [
            [c.get("delta") for c in cells if c["row"] == i and c["metric"] == metric and c["column"] >= 0]
            for i in range(len(rows[1]))
        ]
        for cell in mine:
            if cell["seeds"] and None not in parts[cell["row"]]:
                cell["delta"] = float(np.mean(parts[cell["row"]]))


def costs(
    runs: pd.DataFrame, rows: Sequence[str], names: Sequence[tuple[str, ...]], expected: int
) -> Iterator[dict[str, Any]]:
    """Parameters, MACs and speed of each row, where they are known; speed only where the hardware is the same."""
    measured = runs[runs["state"] == "done"]
    position = pd.Series(names_of(measured, rows), index=measured.index).map({name: i for i, name in enumerate(names)})
    for cost in COSTS:
        if measured[cost].isna().all() or (cost == "images_per_second" and measured["hardware"].nunique() > 1):
            continue
        found = measured[cost].groupby(position).agg(["mean", "std", "count"]).to_dict("index")
        for i in range(len(names)):
            cell = {"row": i, "column": COSTS_COLUMN, "metric": cost, "seeds": 0, "expected": expected}
            if i in found:
                cell |= {"mean": found[i]["mean"], "sd": found[i]["std"], "seeds": found[i]["count"]}
            yield cell
