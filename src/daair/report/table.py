"""A study's table: its rows, columns and runs, their order, and what is missing.

The numbers come from `daair.report.aggregate`. Averages are only taken over images, over the benchmarks of one column
and over seeds; a table whose rows and columns do not tell all variants apart is refused. The average column is the mean
over the columns, with equal weight for each benchmark (each noise level), as in the papers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from daair.config.schema import names_config
from daair.errors import UserError, suggestion
from daair.metrics import finite
from daair.report import aggregate, comparable, contents, evaluated, joint
from daair.report.aggregate import (
    AVERAGE_COLUMN,
    COSTS_COLUMN,
    LEFT_OUT,
    NUMBERS,
    OF_IMAGES,
    Axis,
    names_of,
    order_key,
    text,
)
from daair.report.contents import TableSpec
from daair.report.frame import FACTS, Collated
from daair.runs.record import STATES


@dataclass(frozen=True)
class StudyTable:
    """A study's table in numbers.

    Attributes:
        name, question: The study's name and question.
        spec: The contents that were asked for.
        rows: The rows in order.
        columns: The columns in order, without the average.
        reference: Position of the reference among the rows.
        numbers: A line per row, column and metric, then per row and cost, with the columns `NUMBERS`. `row` and
            `column` are positions (or `AVERAGE_COLUMN`, `COSTS_COLUMN`). `rank` is 1 for the best rounded mean, 2 for
            the second, 0 for others, for cells with missing seeds, and where `not_finite`, the number of values that
            are left out of the cell's means, is not 0. Averages are not tested.
        runs: The table's runs in all states, as in `Collated.runs`.
        images: The table's results, as in `Collated.images`.
        notes: Sentences on missing runs and other exceptions.
        averages: The heading of each average and the columns that it is over, by its place.
        transposed: Whether benchmarks name the rows for readers, and runs the columns.
        tests: The number of tests over which p is corrected: those of the study, also where `spec.only` hides some.
    """

    name: str
    question: str
    spec: TableSpec
    rows: Axis
    columns: Axis
    reference: int | None
    numbers: pd.DataFrame
    runs: pd.DataFrame
    images: pd.DataFrame
    notes: list[str]
    averages: Mapping[int, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    transposed: bool = False
    tests: int = 0

    @property
    def reference_variant(self) -> str | None:
        """Return the reference's `variant`; None if its row has several, as in a table with config keys as columns."""
        if self.reference is None:
            return None
        found = self.runs["variant"][self.rows.positions(self.runs) == self.reference].unique()
        return str(found[0]) if len(found) == 1 else None


def study_table(collated: Collated, spec: TableSpec, name: str = "", question: str = "") -> StudyTable:
    """Return the table of a study.

    Raises:
        UserError: Results are not comparable; the message names two runs and a remedy.
    """
    spec, transposed = contents.upright(spec)
    study, everything = collated, contents.shown(collated, spec)
    collated, common = joint.once(everything, [*spec.rows, *spec.columns])
    runs = collated.runs
    if set(spec.columns) - set(OF_IMAGES):  # of a network that was only evaluated, no such key is known
        runs = evaluated.trained(runs)
    row_keys = list(spec.rows) or _naming_keys(evaluated.trained(runs))
    images = _chosen_images(collated.images, runs, spec)
    column_keys = _with_protocol(images, list(spec.columns))
    for key in (*row_keys, *column_keys):
        _check_key(key, runs)
    _check_metrics(images, spec.metrics)
    keys = [key for key in (*row_keys, *column_keys) if key not in OF_IMAGES]
    trained = evaluated.trained(runs)
    _check_distinct(trained, keys)
    comparable.check_budgets(trained[trained["run"].isin(images["run"])], keys)
    comparable.check_columns(images, runs.set_index("run")["steps"])

    about = [*common, *filter(None, [joint.seeds_note(everything.runs)])]
    about += list(evaluated.notes(runs[runs["run"].isin(images["run"])]))
    trained, runs = evaluated.is_trained(runs), evaluated.named(runs, row_keys)
    means = aggregate.run_means(images, runs, row_keys, column_keys, spec.metrics)
    own, others = (_ordered(names_of(part, row_keys)) for part in (runs[trained], runs[~trained]))
    rows = Axis(row_keys, [*own, *others], len(own))
    columns = Axis(column_keys, _column_order(means, column_keys))
    reference = _reference(spec.reference, rows)
    seeds = joint.expected_seeds(everything.runs, runs[trained], rows)
    averages = contents.averages(spec.averages, columns, images)
    over = {place: columns_of for place, (_, columns_of) in averages.items()}
    of_cells = [1] * len(seeds) if "seed" in column_keys else seeds
    numbers = aggregate.seed_statistics(means, rows, columns, spec.metrics, of_cells, over)
    numbers = aggregate.add_ranks(numbers, images, runs, rows, columns, over)
    if reference is not None:
        numbers = aggregate.add_comparisons(
            numbers, images, runs, rows, columns, reference, over, spec.alpha, spec.resamples
        )
    tests = int(numbers.loc[aggregate.single(numbers), "p_holm"].count()) if reference is not None else 0
    if spec.only and tests:
        names = _test_names(numbers, rows, columns, aggregate.facts_of(images, runs))
        numbers, tests = _corrected_over_study(numbers, names, tests, study, spec, rows, columns)
    numbers = pd.concat([numbers, aggregate.costs(runs, rows, seeds)], ignore_index=True).reindex(columns=list(NUMBERS))
    strange = finite.sentences(images, spec.metrics, "left out of the mean and not ranked")
    notes = [*about, *_notes(runs, images, numbers), *(f"{LEFT_OUT} {text}" for text in strange)]
    return StudyTable(
        name, question, spec, rows, columns, reference, numbers, runs, images, notes, averages, transposed, tests
    )


def _corrected_over_study(
    numbers: pd.DataFrame, names: pd.Series, tests: int, study: Collated, spec: TableSpec, rows: Axis, columns: Axis
) -> tuple[pd.DataFrame, int]:
    """Return the numbers with p corrected over all tests of the study, and how many these are.

    `spec.only` shows a part of them. What it hides counts all the same, or an author could get a mark by hiding rows.
    A study that cannot be one table has no more tests than are shown.
    """
    try:
        whole = study_table(study, replace(spec, rows=rows.keys, columns=columns.keys, only={}, averages={}))
    except UserError:
        return numbers, tests
    shown, hidden = (part["p_holm"].notna() & aggregate.single(part) for part in (numbers, whole.numbers))
    others = _test_names(whole.numbers, whole.rows, whole.columns, aggregate.facts_of(whole.images, whole.runs))
    hidden = whole.numbers[hidden & ~others.isin(set(names[shown]))]
    numbers = numbers.assign(p_holm=aggregate.corrected(numbers, hidden["p"].fillna(hidden["p_images"])))
    return numbers, tests + len(hidden)


def _test_names(numbers: pd.DataFrame, rows: Axis, columns: Axis, facts: pd.DataFrame) -> pd.Series:
    """Return what tells the test of each line from others: its row, the values of its column's keys, and its metric.

    The protocol is always among the values, though it is a key only in tables that have several.
    """
    protocols = facts["protocol"].groupby(columns.positions(facts)).first()

    def name(line) -> tuple:
        if line.column not in protocols.index:  # an average or a cost, which is not tested
            return ()
        values = dict(zip(columns.keys, columns.names[line.column], strict=True))
        return rows.names[line.row], line.metric, frozenset({"protocol": protocols[line.column], **values}.items())

    return pd.Series(map(name, numbers.itertuples()), index=numbers.index, dtype=object)


def differing_keys(runs: pd.DataFrame, keys: Iterable[str]) -> list[str]:
    """Return those of `keys` whose values differ between variants but not between seeds of one variant.

    If the option of a group differs, the group stands for the keys below it: `router` for `router.noise`.
    """
    texts = runs[list(keys)].astype("string").fillna("null")
    texts = texts.loc[:, texts.nunique() > 1]
    groups = texts.groupby(runs["variant"].astype(str), sort=False)
    constant = groups.nunique().max() == 1
    found = [name for name in texts if constant[name]]
    return [name for name in found if "." not in name or name.partition(".")[0] not in found]


def _ordered(names: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the names of rows, each once: numbers by value, other parts in natural order."""
    return sorted(set(names), key=lambda name: [order_key(part) for part in name])


def _naming_keys(runs: pd.DataFrame) -> list[str]:
    """Return config keys that tell the variants apart; of keys that differ together, only the first."""
    # `scale` only sets other keys.
    names = [name for name in runs.columns[len(FACTS) :] if name != "scale" and names_config(name)]
    first = runs.drop_duplicates("variant")
    kept: dict[tuple[int, ...], str] = {}
    for name in differing_keys(runs, names):
        kept.setdefault(tuple(pd.factorize(first[name].astype(str))[0].tolist()), name)
    return list(kept.values()) or ["label"]


def _chosen_images(images: pd.DataFrame, runs: pd.DataFrame, spec: TableSpec) -> pd.DataFrame:
    """Return the results of finished runs and of networks that were only evaluated on the chosen benchmarks.

    Raises:
        UserError: There are none; the message says what there is instead.
    """
    done = runs.loc[(runs["state"] == "done") | ~evaluated.is_trained(runs), "run"]
    chosen = measured = images[images["run"].isin(done)]
    for name, wanted in (("benchmark", spec.benchmarks), ("protocol", spec.protocols)):
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
    """Return the column keys, with `protocol` added if runs were measured by several protocols.

    Raises:
        UserError: Runs have no protocol in common.
    """
    if "protocol" in columns:
        return columns
    pairs = images[["run", "benchmark", "protocol"]].drop_duplicates()
    several = False
    for benchmark, group in pairs.groupby("benchmark", observed=True):
        several |= bool(group["run"].duplicated().any())
        if group["protocol"].value_counts().max() < group["run"].nunique():  # no protocol is common to all runs
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
    if key not in runs and key not in OF_IMAGES:
        known = [*runs.columns, *OF_IMAGES]
        hint = suggestion(key, known, "; give config keys, groups or columns of runs.csv")
        raise UserError(f"collate.rows, collate.columns: no run has {key}{hint}")


def _check_metrics(images: pd.DataFrame, metrics: Sequence[str]) -> None:
    for name in metrics:
        if name not in images or (images[name].isna() & ~finite.not_finite(images, [name])[name]).all():
            asked = ",".join(dict.fromkeys(["psnr", "ssim", name]))
            raise UserError(f"collate.metrics: no run has {name}; measure it with task=evaluate metrics=[{asked}]")


def _check_distinct(runs: pd.DataFrame, keys: Sequence[str]) -> None:
    """Raise if two configs would fall into one cell."""
    first = runs.drop_duplicates(["id", joint.STUDY] if joint.STUDY in keys else "id")
    texts = pd.Series(["\0".join(name) for name in names_of(first, keys)], index=first.index)  # as in the table
    if texts.duplicated().any():
        other = first[texts.duplicated()].iloc[0]
        one = first[texts == texts[other.name]].iloc[0]
        differ = [key for key in _naming_keys(runs.loc[[one.name, other.name]]) if key not in keys]
        raise UserError(
            f"collate.rows: {', '.join(keys) or 'nothing'} does not tell {one['run']} from {other['run']}, which are "
            f"never averaged; they differ in {', '.join(differ)}: add it to collate.rows or collate.columns"
        )


def _column_order(means: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the columns: benchmarks in the order of the results, other keys as rows."""
    names = list(dict.fromkeys(means["column"]))
    ranks = [{text: i for i, text in enumerate(dict.fromkeys(name[k] for name in names))} for k in range(len(columns))]

    def key(name: tuple[str, ...]) -> list:
        return [(ranks[k][part],) if columns[k] in OF_IMAGES else order_key(part) for k, part in enumerate(name)]

    return sorted(names, key=key)


def _reference(wanted: Mapping[str, Any] | None, rows: Axis) -> int | None:
    """Return the position of the reference row; None if none is wanted."""
    if not wanted:
        return None
    wanted = {key: text(value) for key, value in wanted.items()}
    strange = [key for key in wanted if key not in rows.keys]
    if strange:
        remedy = "name a row by these, or write collate.reference={} for no comparison"
        keys = ", ".join(rows.keys)
        raise UserError(f"collate.reference: {strange[0]} is not one of the table's rows ({keys}); {remedy}")
    lines = [dict(zip(rows.keys, name, strict=True)) for name in rows.names]
    found = [i for i, line in enumerate(lines) if wanted.items() <= line.items()]
    if len(found) != 1:
        said = ", ".join(f"{key}={value}" for key, value in wanted.items())
        has = "; ".join(" ".join(name) for name in rows.names)
        raise UserError(f"collate.reference: {said} matches {len(found) or 'no'} rows; it must match one of: {has}")
    return found[0]


def _notes(runs: pd.DataFrame, images: pd.DataFrame, numbers: pd.DataFrame) -> Iterator[str]:
    """Yield sentences on missing runs, averages and seeds, and on different hardware."""
    left = runs[~runs["run"].isin(images["run"])]
    if len(left):
        listed = [f"{run} ({state})" for run, state in zip(left["run"], left["state"], strict=True)]
        more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
        yield f"Without results: {', '.join(listed[:5])}{more}."
    averaged = (numbers["column"] == AVERAGE_COLUMN).any()
    if not averaged and (both := comparable.noises(images["benchmark"].unique())):
        yield f"No average: the noise of {both[0]} is clipped to 8 bits, that of {both[1]} is not."
    incomplete = numbers[(numbers["column"] != COSTS_COLUMN) & (numbers["seeds"] < numbers["expected"])]
    if len(incomplete):
        first = incomplete.iloc[0]
        count = f"{first['seeds']}/{first['expected']}"
        yield f"Cells with missing seeds show how many there are ({count}) and are not ranked."
    trained = evaluated.trained(runs)
    measured_on = sorted(set(trained.loc[trained["state"] == "done", "hardware"].dropna()))
    if len(measured_on) > 1:
        yield f"Trained on different hardware ({'; '.join(measured_on)}): no images/s."
