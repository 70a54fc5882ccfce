"""From runs to a table: which rows, columns and runs it has, in what order, and what is missing.

The numbers are those of `daair.report.cells`. Nothing is averaged over anything but images, benchmarks of one column
and seeds: rows and columns that do not tell two variants apart are refused.

The average column is the papers': the mean over the columns, each benchmark (each noise level) with the same weight.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from daair.errors import UserError, nearest
from daair.report import comparable, variants
from daair.report.cells import COSTS_COLUMN, NUMBERS, add_comparisons, cells_of, costs, figures, names_of, text
from daair.report.frame import FACTS, Collated
from daair.runs import store
from daair.runs.record import STATES


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
        named = pd.Series(names_of(self.runs, self.plan.rows), index=self.runs.index)
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
    table = figures(images, runs, rows, columns, plan.metrics)
    column_names = _column_order(table, columns)
    reference = _reference(plan.reference, rows, row_names)
    seeds = sorted(runs["seed"].unique().tolist())
    average = len(column_names) > 1 and set(columns) == {"benchmark"} and images["protocol"].nunique() == 1
    cells = list(cells_of(table, row_names, column_names, plan.metrics, len(seeds), average))
    if reference is not None:
        named = (rows, row_names), (columns, column_names)
        add_comparisons(cells, images, runs, *named, reference, plan.metrics, plan.alpha, plan.resamples)
    cells += costs(runs, rows, row_names, len(seeds))
    numbers = pd.DataFrame(cells, columns=list(NUMBERS))
    plan = Plan(**{**plan.__dict__, "rows": rows, "columns": columns})
    notes = list(_notes(runs, images, numbers))
    return Study(name, question, plan, row_names, column_names, reference, numbers, runs, images, notes)


def _chosen_images(images: pd.DataFrame, runs: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Return figures of finished runs on the chosen benchmarks."""
    done = runs.loc[runs["state"] == "done", "run"]
    chosen = measured = images[images["run"].isin(done)]
    for name, wanted in (("benchmark", plan.benchmarks), ("protocol", plan.protocols)):
        if wanted is not None:
            chosen = chosen[chosen[name].isin(wanted)]
    if chosen.empty and len(measured):
        pairs = measured[["benchmark", "protocol"]].drop_duplicates().astype(str).agg(" by ".join, axis=1)
        raise UserError(f"no finished run was measured on what is to be shown; there is {', '.join(pairs)}")
    if chosen.empty:
        counts = runs["state"].value_counts()
        states = ", ".join(f"{counts[state]} {state}" for state in STATES if counts.get(state))
        raise UserError(f"no finished run has results to show yet (runs: {states})")
    return chosen


def _with_protocol(images: pd.DataFrame, columns: list[str]) -> list[str]:
    """Return the column keys, with the protocol among them where runs were measured by several.

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
    """Return config keys that tell the variants apart; of those that differ together only the first."""
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
    texts = pd.Series(["\0".join(name) for name in names_of(first, keys)], index=first.index)  # as the table shows them
    if texts.duplicated().any():
        other = first[texts.duplicated()].iloc[0]
        one = first[texts == texts[other.name]].iloc[0]
        differ = [key for key in _differing(runs.loc[[one.name, other.name]]) if key not in keys]
        raise UserError(
            f"collate.rows: {', '.join(keys) or 'nothing'} does not tell {one['run']} from {other['run']}, which are "
            f"never averaged; they differ in {', '.join(differ)}: add it to collate.rows or collate.columns"
        )


def _natural_order(runs: pd.DataFrame, keys: Sequence[str]) -> list[tuple[str, ...]]:
    names = set(names_of(runs, keys))
    return sorted(names, key=lambda texts: [store.natural(text) for text in texts])


def _column_order(table: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return benchmarks as they were measured, other keys in natural order."""
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


def _notes(runs: pd.DataFrame, images: pd.DataFrame, numbers: pd.DataFrame) -> Iterator[str]:
    """Yield what a reader would not expect."""
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
