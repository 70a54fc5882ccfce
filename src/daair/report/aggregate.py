"""The numbers of a table: means and standard deviations over seeds, ranks, comparisons with the reference, costs.

A run's value in a column is the mean over the images of each benchmark, then over the benchmarks if the column holds
several. A cell has the mean and standard deviation (n - 1) of these values over the seeds. Missing runs are counted
and never averaged over. Values that are not finite (`daair.metrics.finite`) are left out of the mean over the images,
and such a cell is not ranked. A run without any finite value is left out of the cell's mean, but it is not missing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from daair.files import natural_key
from daair.metrics import METRICS
from daair.metrics.finite import not_finite
from daair.report.comparable import TIME, check_mixtures, stopped_early
from daair.report.evaluated import is_trained, trained
from daair.report.statistics import Comparison, compare, compare_averages, holm, seed_differences

AVERAGE = "average"
AVERAGE_COLUMN, COSTS_COLUMN = -1, -2
"""Values of `column` for lines that belong to no column of the table; further averages have -3, -4, ..."""

OF_IMAGES = ("benchmark", "protocol", "degradation")
"""Columns that belong to an image's line, not to a run."""

NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
"""A number as `text` gives it."""

EXACT = 2.0**53
"""Below it a float holds every integer."""

LEFT_OUT = "‡"
"""Mark of means from which values are left out because they are not finite."""


class Cost(NamedTuple):
    """The heading, decimals and unit of a cost in a table."""

    heading: str
    digits: int
    divisor: float


COSTS = {
    "parameters": Cost("params, M", 2, 1e6),
    "macs": Cost("MACs, G", 2, 1e9),
    "images_per_second": Cost("images/s", 1, 1),
    "steps": Cost("updates", 0, 1),
}
"""Costs of a row, by their column of the frame."""

NUMBERS = (
    "row", "column", "metric", "mean", "sd", "seeds", "expected", "images", "rank", "delta", "delta_low", "delta_high",
    "p", "images_low", "images_high", "p_images", "p_holm", "seeds_agreeing", "paired_images", "paired_seeds",
    "not_finite",
)  # fmt: skip
"""Columns of `StudyTable.numbers`."""


@dataclass(frozen=True)
class Axis:
    """The rows of a table, or its columns.

    Attributes:
        keys: Columns of the frame whose values name the rows.
        names: The values of `keys` as texts, in order.
        trained: For rows, the number of variants that the study trained; the rows after them were only evaluated.
    """

    keys: list[str]
    names: list[tuple[str, ...]]
    trained: int = 0

    @property
    def places(self) -> dict[tuple[str, ...], int]:
        """Return the position of each name."""
        return {name: i for i, name in enumerate(self.names)}

    def positions(self, table: pd.DataFrame) -> pd.Series:
        """Return the position that each line of `table` belongs to; NaN if there is none."""
        return pd.Series(names_of(table, self.keys), index=table.index, dtype=object).map(self.places)


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
    if isinstance(value, float):  # a column of integers is one of floats where a cell is empty
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else f"{value:g}"
    return str(value)


def order_key(name: str) -> tuple:
    """Return a sort key for texts of `text`: numbers by their value, then the others in natural order."""
    return (0, float(name), ()) if NUMBER.fullmatch(name) else (1, 0.0, natural_key(name))


def run_means(
    images: pd.DataFrame, runs: pd.DataFrame, rows: Sequence[str], columns: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """Return a line per run and column: `row` and `column` as texts, `seed`, the number of images, and the metrics.

    A metric is infinite where no value is finite, and NaN where it was not measured.

    Raises:
        UserError: A column would average over benchmarks that are not comparable.
    """
    strange, keys = not_finite(images, metrics), ["run", *(name for name in OF_IMAGES if name in images)]
    values, lacking = images[list(metrics)].mask(strange), images[list(metrics)].isna() & ~strange
    groups = images[keys].join(values).groupby(keys, observed=True, sort=False)
    means = groups.mean().fillna(np.inf)
    if lacking.any(axis=None):
        means = means.mask(images[keys].join(lacking).groupby(keys, observed=True, sort=False).any())
    means["images"] = groups.size()
    means = means.reset_index()
    facts = facts_of(means, runs)
    means["row"], means["column"] = names_of(facts, rows), names_of(facts, columns)
    means["seed"] = facts["seed"].fillna(0)  # of a network that was only evaluated, whose row has no other run
    check_mixtures(means)
    # A column of several benchmarks counts only where all of them were measured.
    means["part"] = facts["benchmark"] + "\0" + facts["protocol"]
    parts = means.groupby("column")["part"].nunique()
    grouped = means.groupby(["row", "column", "seed", "run"], observed=True, sort=False)
    table = _mean(grouped, metrics)
    table["images"], found = grouped["images"].sum(), grouped["part"].nunique()
    table = table[found.to_numpy() == parts.loc[table.index.get_level_values("column")].to_numpy()]
    return table.reset_index()


def facts_of(lines: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the row of `runs` that each line belongs to, with its benchmark, protocol and degradation."""
    facts = runs.set_index("run").loc[lines["run"]].reset_index()
    for name in OF_IMAGES:
        if name in lines:
            facts[name] = lines[name].astype(str).to_numpy()
    return facts


def _mean(groups: Any, metrics: Sequence[str]) -> pd.DataFrame:
    """Return the mean of each metric over each group; NaN if any line of the group lacks the metric."""
    return groups[list(metrics)].mean().where(groups[list(metrics)].count().eq(groups.size(), axis=0))


def seed_statistics(
    table: pd.DataFrame,
    rows: Axis,
    columns: Axis,
    metrics: Sequence[str],
    expected: Sequence[int],
    averages: Mapping[int, Sequence[int]],
) -> pd.DataFrame:
    """Return a line for each metric, column and row: mean and deviation over the seeds of `run_means`.

    `expected` holds the number of seeds that each row should have, `averages` the columns that each average is over,
    by its place.
    """
    table = table.assign(**{name: table[name].map(axis.places) for name, axis in (("row", rows), ("column", columns))})
    places = list(columns.places.values())
    parts = [table]
    for place, over in averages.items():
        runs = table[table["column"].isin(over)].groupby(["row", "seed"], sort=False)
        means = _mean(runs, metrics).assign(images=np.nan, column=place)[runs.size() == len(over)]
        parts.append(means.reset_index())
    table, places = pd.concat(parts), [*places, *averages]
    lines = table.melt(["row", "column", "images"], list(metrics), "metric", "value")
    lines["finite"] = lines["value"].where(np.isfinite(lines["value"]))
    groups = lines.groupby(["metric", "column", "row"], sort=False)
    numbers = groups["finite"].agg(mean="mean", sd="std").join(groups["value"].count().rename("seeds"))
    numbers = numbers.join(groups["images"].first())
    wanted = pd.MultiIndex.from_product([metrics, places, rows.places.values()], names=["metric", "column", "row"])
    numbers = numbers[numbers["seeds"] > 0].reindex(wanted).reset_index()
    numbers["seeds"] = numbers["seeds"].fillna(0).astype(int)
    numbers["expected"] = numbers["seeds"].where(numbers["row"] >= rows.trained, np.array(expected)[numbers["row"]])
    return numbers


def add_ranks(
    numbers: pd.DataFrame,
    images: pd.DataFrame,
    runs: pd.DataFrame,
    rows: Axis,
    columns: Axis,
    averages: Mapping[int, Sequence[int]],
) -> pd.DataFrame:
    """Return the numbers with `not_finite`, how many values are left out of a cell's means, and with the ranks."""
    metrics = list(numbers["metric"].unique())
    strange = not_finite(images, metrics)
    bad = strange.any(axis=1)
    facts = facts_of(images[bad], runs)
    strange = strange[bad].set_axis(facts.index).assign(row=rows.positions(facts), column=columns.positions(facts))
    of_averages = [strange[strange["column"].isin(over)].assign(column=place) for place, over in averages.items()]
    counts = pd.concat([strange, *of_averages]).melt(["row", "column"], metrics, "metric", "not_finite")
    counts = counts.groupby(["metric", "column", "row"])["not_finite"].sum()
    numbers = numbers.join(counts, on=["metric", "column", "row"])
    numbers["not_finite"] = numbers["not_finite"].fillna(0).astype(int)
    ranks = _ranks(numbers[numbers["row"] < (rows.trained or len(rows.names))])
    return numbers.assign(rank=ranks.reindex(numbers.index, fill_value=0))


def _ranks(numbers: pd.DataFrame) -> pd.Series:
    """Return 1 and 2 for the best and second rounded mean of complete cells, else 0; equal means share a rank."""
    places = [METRICS[metric] for metric in numbers["metric"]]
    signed = [
        (-1 if metric.higher_is_better else 1) * round(mean, metric.digits)
        for metric, mean in zip(places, numbers["mean"], strict=True)
    ]
    rounded = pd.Series(signed, index=numbers.index)
    complete = rounded.where((numbers["seeds"] == numbers["expected"]) & (numbers["not_finite"] == 0))
    ranks = complete.groupby([numbers["metric"], numbers["column"]]).rank("dense")
    return ranks.where(ranks <= 2, 0).astype(int)


def add_comparisons(
    numbers: pd.DataFrame,
    images: pd.DataFrame,
    runs: pd.DataFrame,
    rows: Axis,
    columns: Axis,
    reference: int,
    averages: Mapping[int, Sequence[int]],
    alpha: float,
    resamples: int,
) -> pd.DataFrame:
    """Return the numbers with comparisons to the reference row.

    `p_holm` is the correction of `corrected` over the whole table.
    Rows of networks that were only evaluated have differences, which are not tested. Nor are averages and columns of
    several benchmarks, because one photograph may occur in several; their intervals are for other seeds alone, and
    benchmarks weigh the same, as in the cells.
    """
    facts = facts_of(images, runs)
    index = [facts["benchmark"], images["image"].astype(str).to_numpy(), facts["seed"]]
    figures = images[numbers["metric"].unique()].set_index(pd.MultiIndex.from_arrays(index))
    places = [axis.positions(facts) for axis in (rows, columns)]
    figures_of = {place: figures.iloc[lines] for place, lines in facts.groupby(places).indices.items()}
    benchmarks = facts["benchmark"].groupby(places[1]).nunique()
    found = {}
    for i, row, column, metric in numbers[["row", "column", "metric"]].itertuples():
        over = averages.get(column, (column,))
        sides = [[figures_of.get((place, one)) for one in over] for place in (row, reference)]
        tested = row != reference and max(row, reference) < rows.trained
        if not tested or any(values is None for side in sides for values in side):
            continue
        own, other = ([values[metric] for values in side] for side in sides)
        if column in averages or benchmarks[column] > 1:
            found[i] = _average(own, other, benchmarks[list(over)], alpha)
        else:
            pair = (values.droplevel(0) for values in (*own, *other))
            found[i] = vars(compare(*pair, alpha=alpha, resamples=resamples))
    comparisons = pd.DataFrame.from_dict(found, orient="index", columns=[field.name for field in fields(Comparison)])
    numbers = numbers.join(comparisons)
    numbers["p_holm"] = corrected(numbers)
    finite = numbers.assign(finite=numbers["mean"].where(numbers["not_finite"] == 0))
    of_reference = finite[numbers["row"] == reference].set_index(["metric", "column"])["finite"].rename("reference")
    to_reference = finite["finite"] - numbers.join(of_reference, on=["metric", "column"])["reference"]
    untested = (numbers["row"] != reference) & (numbers["row"].clip(lower=reference) >= rows.trained)
    return numbers.assign(delta=numbers["delta"].mask(untested, to_reference))


def corrected(numbers: pd.DataFrame, further: Sequence[float] = ()) -> pd.Series:
    """Return Holm's correction of `p`, or of `p_images` where there are too few seeds for `p`; nan where neither is.

    Args:
        numbers: The lines of a table. One whose metric repeats another of the table has the value of that one's line.
        further: Other p that count as tests, too.
    """
    p = numbers["p"].fillna(numbers["p_images"]).where(single(numbers))
    once = pd.Series(holm([*p, *further])[: len(p)], index=numbers.index, dtype=float)
    return once.groupby([numbers["row"], numbers["column"], _tested_as(numbers)]).transform("first")


def single(numbers: pd.DataFrame) -> pd.Series:
    """Return which lines of a table are tests of their own: they do not repeat another metric of the table."""
    return _tested_as(numbers) == numbers["metric"]


def _tested_as(numbers: pd.DataFrame) -> pd.Series:
    """Return the metric whose test is that of each line."""
    shown = set(numbers["metric"])
    return numbers["metric"].replace({name: each.repeats for name, each in METRICS.items() if each.repeats in shown})


def _average(
    variant: Sequence[pd.Series], reference: Sequence[pd.Series], benchmarks: Sequence[int], alpha: float
) -> dict[str, Any]:
    """Return the comparison by the mean over columns of the mean over their benchmarks of the paired differences.

    Only seeds that were measured on all benchmarks of all columns count, as in the means.

    Args:
        variant, reference: For each column, values with an index (benchmark, image, seed).
        benchmarks: The number of benchmarks of each column; the result is empty if one of them has no pairs.
        alpha: See `compare_averages`.
    """
    pair = [_of_complete_seeds(values, benchmarks) for values in (variant, reference)]
    columns = []
    for own, other in zip(*pair, strict=True):
        if own.empty or other.empty:
            return {}
        parts, others = ({name: part.droplevel(0) for name, part in side.groupby(level=0)} for side in (own, other))
        of_benchmarks = pd.DataFrame({name: seed_differences(parts[name], others[name]) for name in parts})
        columns.append(of_benchmarks.mean(axis=1, skipna=False))
    return vars(compare_averages(pd.concat(columns, axis=1), alpha))


def _of_complete_seeds(columns: Sequence[pd.Series], benchmarks: Sequence[int]) -> list[pd.Series]:
    """Return the values of the seeds that were measured on all benchmarks of all columns."""
    complete: set[Any] | None = None
    for values, count in zip(columns, benchmarks, strict=True):
        measured = values.dropna().index.to_frame(index=False, name=["benchmark", "image", "seed"])
        counts = measured.groupby("seed", observed=True)["benchmark"].nunique()
        seeds = set(counts.index[counts == count])
        complete = seeds if complete is None else complete & seeds
    return [values[values.index.isin(complete, level=2)] for values in columns]


def costs(runs: pd.DataFrame, rows: Axis, expected: Sequence[int]) -> pd.DataFrame:
    """Return known parameters, MACs and speed of each row; its updates where runs trained for a time or stopped early.

    A row of several variants has a cost only if it is the same for all of them, and never a speed, whose mean would be
    that of no network. Speed is shown only if all runs used the same hardware.
    """
    measured = runs[(runs["state"] == "done") | ~is_trained(runs)]
    shown = {
        "images_per_second": trained(measured)["hardware"].nunique() <= 1,
        "steps": (TIME in measured and measured[TIME].notna().any()) or stopped_early(trained(measured)).any(),
    }
    tables, places = [], rows.positions(measured)
    of_variants = measured.groupby([places, "variant"], observed=True)
    for cost in COSTS:
        if measured[cost].isna().all() or not shown.get(cost, True):
            continue
        means = of_variants[cost].mean().dropna().groupby(level=0)
        alike = (means.size() if cost == "images_per_second" else means.nunique()) == 1
        if alike.any():
            found = measured[cost].groupby(places).agg(mean="mean", sd="std", seeds="count")
            found.loc[~alike.reindex(found.index, fill_value=True), ["mean", "sd"]] = np.nan
            found = found.reindex(pd.RangeIndex(len(rows.names), name="row")).reset_index()
            found["seeds"] = found["seeds"].fillna(0).astype(int)
            found["expected"] = found["seeds"].where(found["row"] >= rows.trained, np.array(expected)[found["row"]])
            tables.append(found.assign(column=COSTS_COLUMN, metric=cost))
    return pd.concat(tables) if tables else pd.DataFrame(columns=["column"], dtype=int)
