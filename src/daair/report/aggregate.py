"""The numbers of a table: means and deviations over seeds, ranks, comparisons with the reference, costs.

A run's figure in a column is the mean over the images of each benchmark, and the mean over benchmarks if a column holds
several. A cell is the mean and the standard deviation (n - 1) of these figures over seeds. What a run lacks is counted,
never averaged over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from daair.metrics import METRICS
from daair.report.statistics import compare, holm

AVERAGE = "average"
AVERAGE_COLUMN, COSTS_COLUMN = -1, -2
"""In place of a column's position."""


class Cost(NamedTuple):
    """How a cost is shown."""

    heading: str
    digits: int
    divisor: float


COSTS = {
    "parameters": Cost("params, M", 2, 1e6),
    "macs": Cost("MACs, G", 2, 1e9),
    "images_per_second": Cost("images/s", 1, 1),
}
"""Costs of a row, by their column of the frame."""

NUMBERS = (
    "row", "column", "metric", "mean", "sd", "seeds", "expected", "images", "rank", "delta", "delta_low", "delta_high",
    "p", "p_holm", "seeds_agreeing", "paired_images", "paired_seeds",
)  # fmt: skip
"""Columns of `StudyTable.numbers`."""

Cell = dict[str, Any]
"""A line of `StudyTable.numbers`."""


@dataclass(frozen=True)
class Axis:
    """The rows of a table, or its columns.

    Attributes:
        keys: Columns of the frame whose values name them.
        names: Their values of `keys` as texts, in order.
    """

    keys: list[str]
    names: list[tuple[str, ...]]

    def positions(self, table: pd.DataFrame) -> pd.Series:
        """Return which of them each line of a table belongs to; NaN for none."""
        positions = {name: i for i, name in enumerate(self.names)}
        return pd.Series(names_of(table, self.keys), index=table.index, dtype=object).map(positions)


def names_of(table: pd.DataFrame, keys: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the values of `keys` in each line, as texts."""
    columns = []
    for key in keys:  # each value is made a text once, not in each of many thousand lines
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


def run_means(
    images: pd.DataFrame, runs: pd.DataFrame, rows: Sequence[str], columns: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """Return a line per run and column: `row` and `column` as texts, `seed`, the number of images, and the metrics.

    Args:
        images, runs: As in `Collated`.
        rows, columns: Keys that name them.
        metrics: Names.
    """
    groups = images.groupby(["run", "benchmark", "protocol"], observed=True, sort=False)
    means = _mean(groups, metrics)
    means["images"] = groups.size()
    means = means.reset_index()
    facts = _facts(means, runs)
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


def _facts(lines: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the row of `runs` that each line belongs to, with its benchmark and protocol."""
    facts = runs.set_index("run").loc[lines["run"]].reset_index()
    facts["benchmark"], facts["protocol"] = (lines[name].astype(str).to_numpy() for name in ("benchmark", "protocol"))
    return facts


def _mean(groups: Any, metrics: Sequence[str]) -> pd.DataFrame:
    """Return the mean of each metric over each group's lines; empty where a line lacks it, instead of over fewer."""
    return groups[list(metrics)].mean().where(groups[list(metrics)].count().eq(groups.size(), axis=0))


def seed_statistics(
    table: pd.DataFrame, rows: Axis, columns: Axis, metrics: Sequence[str], expected: int, average: bool
) -> Iterator[Cell]:
    """Yield a cell for each row, column and metric: mean and deviation over the seeds, and the rank.

    Args:
        table: Of `run_means`.
        rows, columns: Of the table.
        metrics: Names.
        expected: How many seeds a complete cell has.
        average: Whether there is an average column.
    """
    position = {name: i for i, name in enumerate(columns.names)}
    table = table.assign(column=table["column"].map(position))
    if average:
        runs = table.groupby(["row", "seed"], sort=False)
        means = _mean(runs, metrics).assign(images=np.nan, column=AVERAGE_COLUMN)[runs.size() == len(columns.names)]
        table = pd.concat([table, means.reset_index()])
    groups = table.groupby(["row", "column"], sort=False)
    images = groups["images"].first().to_dict()
    for metric in metrics:
        means, spreads = groups[metric].mean().to_dict(), groups[metric].std(ddof=1).to_dict()
        sizes = groups[metric].count().to_dict()  # not of the rows: a run may lack a metric that others have
        for column in (*range(len(columns.names)), *([AVERAGE_COLUMN] if average else [])):
            cells = []
            for i, row in enumerate(rows.names):
                cell = {"row": i, "column": column, "metric": metric, "seeds": 0, "expected": expected}
                if sizes.get(place := (row, column)):
                    values = {"mean": means[place], "sd": spreads[place], "images": images[place]}
                    cell |= {**values, "seeds": sizes[place]}
                cells.append(cell)
            _rank(cells)
            yield from cells


def _rank(cells: list[Cell]) -> None:
    """Rank the rounded means of complete cells of a metric; equal ones share a rank, the next value is the second."""
    metric = METRICS[cells[0]["metric"]]
    complete = {i: cell["mean"] for i, cell in enumerate(cells) if cell["seeds"] == cell["expected"]}
    rounded = {i: round(mean, metric.digits) for i, mean in complete.items()}
    ordered = sorted(set(rounded.values()), reverse=metric.higher_is_better)[:2]
    for i, cell in enumerate(cells):
        cell["rank"] = ordered.index(rounded[i]) + 1 if rounded.get(i) in ordered else 0


def add_comparisons(
    cells: list[Cell],
    images: pd.DataFrame,
    runs: pd.DataFrame,
    rows: Axis,
    columns: Axis,
    reference: int,
    alpha: float,
    resamples: int,
) -> None:
    """Add comparisons with the reference row to the cells; Holm's correction is over all of them together.

    Args:
        cells: Of `seed_statistics`; their deltas and tests are filled in.
        images, runs: As in `Collated`.
        rows, columns: Of the table.
        reference: Position of the reference among the rows.
        alpha, resamples: See `daair.report.table.TableSpec`.
    """
    facts = _facts(images, runs)
    picture = facts["benchmark"] + "/" + images["image"].astype(str).to_numpy()
    metrics = list(dict.fromkeys(cell["metric"] for cell in cells))
    figures = images[metrics].set_index(pd.MultiIndex.from_arrays([picture, facts["seed"]]))
    places = [axis.positions(facts) for axis in (rows, columns)]
    groups = {place: figures.iloc[lines] for place, lines in facts.groupby(places).indices.items()}
    tested = []
    for cell in cells:
        own, other = (groups.get((row, cell["column"])) for row in (cell["row"], reference))
        if cell["row"] != reference and own is not None and other is not None:
            found = compare(own[cell["metric"]], other[cell["metric"]], alpha=alpha, resamples=resamples)
            cell |= {
                "delta": found.delta, "delta_low": found.low, "delta_high": found.high, "p": found.p,
                "seeds_agreeing": found.seeds_agreeing, "paired_images": found.images, "paired_seeds": found.seeds,
            }  # fmt: skip
            tested.append(cell)
    for cell, p in zip(tested, holm([cell["p"] for cell in tested]), strict=True):
        cell["p_holm"] = p
    # Averages have a difference but no test: their images repeat each other's pictures.
    deltas: dict[tuple[int, str], list[float | None]] = {}
    for cell in cells:
        if cell["column"] >= 0:
            deltas.setdefault((cell["row"], cell["metric"]), []).append(cell.get("delta"))
    for cell in cells:
        parts = deltas[cell["row"], cell["metric"]]
        if cell["column"] == AVERAGE_COLUMN and cell["seeds"] and None not in parts:
            cell["delta"] = float(np.mean(parts))


def costs(runs: pd.DataFrame, rows: Axis, expected: int) -> Iterator[Cell]:
    """Yield parameters, MACs and speed of each row, where they are known; speed only if the hardware is the same."""
    measured = runs[runs["state"] == "done"]
    positions = rows.positions(measured)
    for cost in COSTS:
        if measured[cost].isna().all() or (cost == "images_per_second" and measured["hardware"].nunique() > 1):
            continue
        found = measured[cost].groupby(positions).agg(["mean", "std", "count"]).to_dict("index")
        for i in range(len(rows.names)):
            cell = {"row": i, "column": COSTS_COLUMN, "metric": cost, "seeds": 0, "expected": expected}
            if i in found:
                cell |= {"mean": found[i]["mean"], "sd": found[i]["std"], "seeds": found[i]["count"]}
            yield cell
