"""From runs to the numbers of a table: means over seeds, ranks, comparisons, what is missing.

A run's figure in a column is the mean over images of each benchmark, and the mean over benchmarks if a column holds
several. A cell is the mean and the standard deviation (n - 1) of these figures over seeds. Nothing is averaged over
anything else: rows and columns that do not tell two variants apart are refused.

The average column is the papers': the mean over the columns, each benchmark (each noise level) with the same weight.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from daair.errors import UserError
from daair.problems import nearest
from daair.runs import comparable, store, variants
from daair.runs.collate import FACTS, Collated
from daair.runs.record import STATES
from daair.runs.statistics import compare, holm

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


@dataclass(frozen=True)
class Plan:
    """What a table shows.

    Attributes:
        rows: columns of the frame whose values name a row; empty = the config keys that differ between runs.
        columns: the same for columns.
        metrics: names in `MEASURES`.
        reference: values of `rows` that name the row to compare with; None = no comparison.
        benchmarks, protocols: those to show; None = all.
        alpha: level of the tests.
        resamples: of the bootstrap.
    """

    rows: Sequence[str] = ()
    columns: Sequence[str] = ("benchmark",)
    metrics: Sequence[str] = ("psnr", "ssim")
    reference: Mapping[str, Any] | None = None
    benchmarks: Sequence[str] | None = None
    protocols: Sequence[str] | None = None
    alpha: float = 0.05
    resamples: int = 10_000


@dataclass(frozen=True)
class Study:
    """A study's table in numbers.

    Attributes:
        name, question: of the study.
        plan: as asked for, with `rows` and `columns` filled in.
        rows: values of `plan.rows` as texts, in order.
        columns: values of `plan.columns` as texts, in order; without the average.
        reference: position of the reference among the rows.
        numbers: `NUMBERS`, a line per row, column and metric, in order; and per row and cost.
            `row` and `column` are positions (column -1: the average, -2: a cost). `rank` is 1 for the best rounded
            mean, 2 for the second, 0 for others and cells that lack seeds. Averages are not tested.
        runs: the runs that it is made of, all states, as in `Collated.runs`.
        images: the figures that it is made of, as in `Collated.images`.
        notes: what is not as one would expect, in sentences.
    """

    name: str
    question: str
    plan: Plan
    rows: list[tuple[str, ...]]
    columns: list[tuple[str, ...]]
    reference: int | None
    numbers: pd.DataFrame
    runs: pd.DataFrame
    images: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    @property
    def has_average(self) -> bool:
        """Whether there is an average column."""
        return bool((self.numbers["column"] == -1).any())

    @property
    def reference_variant(self) -> str | None:
        """The reference's `variant`, if it is one: a row of a table with config keys as columns has several."""
        if self.reference is None:
            return None
        named = pd.Series(_names(self.runs, self.plan.rows), index=self.runs.index)
        found = self.runs["variant"][named == self.rows[self.reference]].unique()
        return str(found[0]) if len(found) == 1 else None


def study_table(collated: Collated, plan: Plan, name: str = "", question: str = "") -> Study:
    """Make the table of a study.

    Args:
        collated: its runs.
        plan: what to show.
        name, question: of the study.

    Raises:
        UserError: figures do not compare; the text names two runs and the remedy.
    """
    runs = collated.runs
    rows = list(plan.rows) or _differing(runs)
    images = _chosen_images(collated.images, runs, plan)
    columns = _with_protocol(images, list(plan.columns))
    for key in (*rows, *columns):
        _check_key(key, runs)
    _check_metrics(images, plan.metrics)
    measured = runs[runs["run"].isin(images["run"])]
    keys = [key for key in (*rows, *columns) if key not in ("benchmark", "protocol")]
    _check_distinct(runs, keys)
    comparable.check_budgets(measured, keys)
    comparable.check_columns(images, runs.set_index("run")["steps"])

    row_names = _natural_order(runs, rows)
    table = _figures(images, runs, rows, columns, plan.metrics)
    column_names = _column_order(table, columns)
    reference = _reference(plan.reference, rows, row_names)
    seeds = sorted(runs["seed"].unique().tolist())
    average = len(column_names) > 1 and set(columns) == {"benchmark"} and images["protocol"].nunique() == 1
    cells = list(_cells(table, row_names, column_names, plan.metrics, len(seeds), average))
    if reference is not None:
        _compare(cells, images, runs, (rows, row_names), (columns, column_names), reference, plan)
    cells += _costs(runs, rows, row_names, len(seeds))
    numbers = pd.DataFrame(cells, columns=list(NUMBERS))
    plan = Plan(**{**plan.__dict__, "rows": rows, "columns": columns})
    notes = list(_notes(runs, images, numbers))
    return Study(name, question, plan, row_names, column_names, reference, numbers, runs, images, notes)


def _chosen_images(images: pd.DataFrame, runs: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Figures of finished runs on the chosen benchmarks."""
    done = runs.loc[runs["state"] == "done", "run"]
    chosen = images[images["run"].isin(done)]
    for name, wanted in (("benchmark", plan.benchmarks), ("protocol", plan.protocols)):
        if wanted is not None:
            chosen = chosen[chosen[name].isin(wanted)]
    if chosen.empty:
        counts = runs["state"].value_counts()
        states = ", ".join(f"{counts[state]} {state}" for state in STATES if counts.get(state))
        raise UserError(f"no finished run has results to show yet (runs: {states})")
    return chosen


def _with_protocol(images: pd.DataFrame, columns: list[str]) -> list[str]:
    """The column keys, with the protocol among them where runs were measured by several.

    Raises:
        UserError: runs have no protocol in common.
    """
    if "protocol" in columns:
        return columns
    pairs = images[["run", "benchmark", "protocol"]].drop_duplicates()
    several = False
    for benchmark, group in pairs.groupby("benchmark", observed=True):
        several |= bool(group["run"].duplicated().any())
        if group["protocol"].value_counts().max() < group["run"].nunique():  # none that all have
            sets = group.groupby("run", observed=True)["protocol"].agg(frozenset)
            first, other = sets.index[0], next(run for run in sets.index if sets[run] != sets.iloc[0])
            texts = [f"{', '.join(sorted(sets[run]))} in {run}" for run in (first, other)]
            raise UserError(
                f"{benchmark}: protocols differ: {' and '.join(texts)}; measure one of them again with "
                "task=evaluate protocols=[...], or choose with protocols=[...]"
            )
    if several and "benchmark" in columns:
        columns = [key for name in columns for key in ((name, "protocol") if name == "benchmark" else (name,))]
    elif several:
        raise UserError("runs were measured by several protocols; choose one with protocols=[...]")
    return columns


def _check_key(key: str, runs: pd.DataFrame) -> None:
    if key not in runs and key not in ("benchmark", "protocol"):
        near = nearest(key, [*runs.columns, "benchmark", "protocol"])
        hint = f"; did you mean {near}?" if near else "; give config keys, groups or columns of runs.csv"
        raise UserError(f"collate.rows, collate.columns: no run has {key}{hint}")


def _check_metrics(images: pd.DataFrame, metrics: Sequence[str]) -> None:
    for name in metrics:
        if name not in images or images[name].isna().all():
            raise UserError(
                f"collate.metrics: no run has {name}; measure it with task=evaluate metrics=[psnr,ssim,{name}]"
            )


def _differing(runs: pd.DataFrame) -> list[str]:
    """Config keys that tell the variants apart; of those that differ together only the first."""
    names = [name for name in runs.columns[len(FACTS) :] if name.partition(".")[0] not in NOT_TOLD]
    first = runs.drop_duplicates("variant")
    kept: dict[tuple[int, ...], str] = {}
    for name in variants.differing(runs, names):
        kept.setdefault(tuple(pd.factorize(first[name].astype(str))[0].tolist()), name)
    return list(kept.values()) or ["label"]


NOT_TOLD = (
    "collate", "logger", "paths", "launch", "device", "question", "task", "profile", "restore", "preview", "scale",
    "evaluate", "benchmarks", "protocols", "metrics", "checkpoint", "input", "output",
)  # fmt: skip
"""Parts of a config that cannot change a network, and so do not name a variant."""


def _check_distinct(runs: pd.DataFrame, keys: Sequence[str]) -> None:
    """Refuse rows and columns in which two configs would fall into one cell."""
    first = runs.drop_duplicates("id")
    texts = first[list(keys)].astype(str).agg("\0".join, axis=1) if keys else pd.Series("", index=first.index)
    if texts.duplicated().any():
        other = first[texts.duplicated()].iloc[0]
        one = first[texts == texts[other.name]].iloc[0]
        differ = [key for key in _differing(runs.loc[[one.name, other.name]]) if key not in keys]
        raise UserError(
            f"collate.rows: {', '.join(keys) or 'nothing'} does not tell {one['run']} from {other['run']}, which are "
            f"never averaged; they differ in {', '.join(differ)}: add it to collate.rows or collate.columns"
        )


def _natural_order(runs: pd.DataFrame, keys: Sequence[str]) -> list[tuple[str, ...]]:
    names = set(_names(runs, keys))
    return sorted(names, key=lambda texts: [store.natural(text) for text in texts])


def _names(table: pd.DataFrame, keys: Sequence[str]) -> list[tuple[str, ...]]:
    """The values of `keys` in each line, as texts."""
    columns = [[text(value) for value in table[key]] for key in keys]
    return list(zip(*columns, strict=True)) if columns else [()] * len(table)


def text(value: Any) -> str:
    """A value as a table shows it."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "none"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _figures(
    images: pd.DataFrame, runs: pd.DataFrame, rows: Sequence[str], columns: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """A line per run and column: `row` and `column` as texts, `seed`, the number of images, and the metrics."""
    groups = images.groupby(["run", "benchmark", "protocol"], observed=True, sort=False)
    means = _mean(groups, metrics)
    means["images"] = groups.size()
    means = means.reset_index()
    facts = runs.set_index("run").loc[means["run"]].reset_index()
    facts["benchmark"], facts["protocol"] = means["benchmark"].astype(str), means["protocol"].astype(str)
    means["row"], means["column"] = _names(facts, rows), _names(facts, columns)
    means["seed"] = facts["seed"]
    # A column of several benchmarks counts only where all of them were measured.
    means["part"] = facts["benchmark"] + "\0" + facts["protocol"]
    parts = means.groupby("column")["part"].nunique()
    grouped = means.groupby(["row", "column", "seed", "run"], observed=True, sort=False)
    table = _mean(grouped, metrics)
    table["images"], found = grouped["images"].sum(), grouped["part"].nunique()
    table = table[found.to_numpy() == parts.loc[table.index.get_level_values("column")].to_numpy()]
    return table.reset_index()


def _mean(groups: Any, metrics: Sequence[str]) -> pd.DataFrame:
    """The mean of each metric over each group's lines; empty where a line lacks it, instead of over fewer."""
    return groups[list(metrics)].mean().where(groups[list(metrics)].count().eq(groups.size(), axis=0))


def _column_order(table: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Benchmarks as they were measured, other keys in natural order."""
    names = list(dict.fromkeys(table["column"]))
    ranks = [{text: i for i, text in enumerate(dict.fromkeys(name[k] for name in names))} for k in range(len(columns))]

    def key(name: tuple[str, ...]) -> list:
        measured = ("benchmark", "protocol")
        return [(ranks[k][part],) if columns[k] in measured else store.natural(part) for k, part in enumerate(name)]

    return sorted(names, key=key)


def _reference(wanted: Mapping[str, Any] | None, rows: Sequence[str], names: Sequence[tuple[str, ...]]) -> int | None:
    if wanted is None:
        return None
    wanted = {key: text(value) for key, value in wanted.items()}
    strange = [key for key in wanted if key not in rows]
    if strange:
        raise UserError(f"collate.reference: {strange[0]} is not one of the table's rows ({', '.join(rows)})")
    found = [i for i, name in enumerate(names) if all(name[rows.index(key)] == value for key, value in wanted.items())]
    if len(found) != 1:
        said = ", ".join(f"{key}={value}" for key, value in wanted.items())
        has = "; ".join(" ".join(name) for name in names)
        raise UserError(f"collate.reference: {said} names {len(found) or 'no'} rows, one is needed (rows: {has})")
    return found[0]


def _cells(
    table: pd.DataFrame,
    rows: Sequence[tuple[str, ...]],
    columns: Sequence[tuple[str, ...]],
    metrics: Sequence[str],
    expected: int,
    average: bool,
) -> Iterator[dict[str, Any]]:
    """Means and deviations over seeds, and their ranks."""
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


def _compare(
    cells: list[dict[str, Any]],
    images: pd.DataFrame,
    runs: pd.DataFrame,
    rows: tuple[Sequence[str], Sequence[tuple[str, ...]]],
    columns: tuple[Sequence[str], Sequence[tuple[str, ...]]],
    reference: int,
    plan: Plan,
) -> None:
    """Add comparisons with the reference row to the cells; Holm's correction is over all of them together."""
    facts = runs.set_index("run").loc[images["run"]].reset_index()
    facts["benchmark"], facts["protocol"] = (images[name].astype(str).to_numpy() for name in ("benchmark", "protocol"))
    picture = facts["benchmark"] + "/" + images["image"].astype(str).to_numpy()
    figures = images[list(plan.metrics)].set_index(pd.MultiIndex.from_arrays([picture, facts["seed"]]))
    names = [
        pd.Series(_names(facts, keys)).map({name: i for i, name in enumerate(known)}) for keys, known in (rows, columns)
    ]
    groups = {key: figures.iloc[where] for key, where in names[0].groupby([names[0], names[1]]).indices.items()}
    tested = []
    for cell in cells:
        mine, other = (groups.get((row, cell["column"])) for row in (cell["row"], reference))
        if cell["row"] != reference and mine is not None and other is not None:
            metric = cell["metric"]
            found = compare(mine[metric], other[metric], alpha=plan.alpha, resamples=plan.resamples)
            cell |= {
                "delta": found.delta, "delta_low": found.low, "delta_high": found.high, "p": found.p,
                "seeds_agreeing": found.seeds_agreeing, "paired_images": found.images, "paired_seeds": found.seeds,
            }  # fmt: skip
            tested.append(cell)
    for cell, p in zip(tested, holm([cell["p"] for cell in tested]), strict=True):
        cell["p_holm"] = p
    for metric in plan.metrics:  # of averages the difference alone: their images repeat each other's pictures
        mine = [cell for cell in cells if cell["column"] == -1 and cell["metric"] == metric]
        parts = [
            [c.get("delta") for c in cells if c["row"] == i and c["metric"] == metric and c["column"] >= 0]
            for i in range(len(rows[1]))
        ]
        for cell in mine:
            if cell["seeds"] and None not in parts[cell["row"]]:
                cell["delta"] = float(np.mean(parts[cell["row"]]))


def _costs(
    runs: pd.DataFrame, rows: Sequence[str], names: Sequence[tuple[str, ...]], expected: int
) -> Iterator[dict[str, Any]]:
    """Parameters, MACs and speed of each row, where they are known; speed only where the hardware is the same."""
    measured = runs[runs["state"] == "done"]
    position = pd.Series(_names(measured, rows), index=measured.index).map({name: i for i, name in enumerate(names)})
    for cost in COSTS:
        if measured[cost].isna().all() or (cost == "images_per_second" and measured["hardware"].nunique() > 1):
            continue
        found = measured[cost].groupby(position).agg(["mean", "std", "count"]).to_dict("index")
        for i in range(len(names)):
            cell = {"row": i, "column": COSTS_COLUMN, "metric": cost, "seeds": 0, "expected": expected}
            if i in found:
                cell |= {"mean": found[i]["mean"], "sd": found[i]["std"], "seeds": found[i]["count"]}
            yield cell


def _notes(runs: pd.DataFrame, images: pd.DataFrame, numbers: pd.DataFrame) -> Iterator[str]:
    """What a reader would not expect."""
    left = runs[~runs["run"].isin(images["run"])]
    if len(left):
        listed = [f"{run} ({state})" for run, state in zip(left["run"], left["state"], strict=True)]
        more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
        yield f"Without results: {', '.join(listed[:5])}{more}."
    incomplete = numbers[(numbers["column"] != COSTS_COLUMN) & (numbers["seeds"] < numbers["expected"])]
    if len(incomplete):
        first = incomplete.iloc[0]
        yield f"Cells that lack seeds say how many ({first['seeds']}/{first['expected']}), and are not ranked."
    measured_on = sorted(set(runs.loc[runs["state"] == "done", "hardware"].dropna()))
    if len(measured_on) > 1:
        yield f"Trained on different hardware ({'; '.join(measured_on)}): no images/s."
