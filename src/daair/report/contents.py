"""What a table is to contain: which way it lies, which runs and images it shows, and what it averages over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from daair.errors import UserError, suggestion
from daair.report import comparable
from daair.report.aggregate import AVERAGE, AVERAGE_COLUMN, COSTS_COLUMN, OF_IMAGES, Axis, text
from daair.report.frame import Collated


@dataclass(frozen=True)
class TableSpec:
    """The contents of a table.

    Attributes:
        rows: Columns of the frame whose values name a row; empty = the config keys that differ between runs.
        columns: Columns of the frame whose values name a column.
        metrics: Names in `daair.metrics.METRICS`.
        reference: Values of `rows` that name the row to compare with; None = no comparison.
        benchmarks, protocols: The benchmarks and protocols to show; None = all.
        only: Values of keys to show; the runs and images of others are left out.
        averages: Columns by heading of their average; None = an average over all columns where they can be compared.
        degradations: Degradation by benchmark, for the key `degradation`.
        alpha: Significance level of the tests.
        resamples: Number of bootstrap resamples.
    """

    rows: Sequence[str] = ()
    columns: Sequence[str] = ("benchmark",)
    metrics: Sequence[str] = ("psnr", "ssim")
    reference: Mapping[str, Any] | None = None
    benchmarks: Sequence[str] | None = None
    protocols: Sequence[str] | None = None
    only: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    averages: Mapping[str, Sequence[str]] | None = None
    degradations: Mapping[str, str] = field(default_factory=dict)
    alpha: float = 0.05
    resamples: int = 10_000


def upright(spec: TableSpec) -> tuple[TableSpec, bool]:
    """Return the table with runs as rows, and whether it was asked for with benchmarks as rows.

    Raises:
        UserError: Keys of runs and of benchmarks are to name the rows together.
    """
    for name, keys in (("rows", spec.rows), ("columns", spec.columns)):
        if "task" in keys:
            raise UserError(f"collate.{name}: task is what a command does; did you mean degradation?")
        if twice := [key for key in keys if list(keys).count(key) > 1]:
            raise UserError(f"collate.{name}: {twice[0]} is named twice")
    if both := [key for key in spec.rows if key in spec.columns and key not in OF_IMAGES]:
        raise UserError(f"collate.columns: {both[0]} is in collate.rows too; a key names either rows or columns")
    lying = [key for key in spec.rows if key in OF_IMAGES]
    if not lying:
        return spec, False
    if others := [key for key in spec.rows if key not in OF_IMAGES]:
        raise UserError(
            f"collate.rows: {lying[0]} and {others[0]} cannot name rows together; put one of them into collate.columns"
        )
    if mixed := [key for key in spec.columns if key in OF_IMAGES and key not in spec.rows]:
        raise UserError(f"collate.columns: with rows={lying[0]} they must name runs, not {mixed[0]}; such as label")
    keys = tuple(key for key in spec.columns if key not in OF_IMAGES)  # the default is the benchmark
    return replace(spec, rows=keys, columns=spec.rows), True


def shown(collated: Collated, spec: TableSpec) -> Collated:
    """Return the runs and images with the values of `spec.only`, the images with their degradation if it is asked for.

    Raises:
        UserError: A key or a value does not occur.
    """
    runs, images = collated.runs, collated.images
    if "degradation" in (*spec.columns, *spec.only):
        names = images["benchmark"].astype(str)
        images = images.assign(degradation=names.map(spec.degradations).fillna(names))
    for key, values in spec.only.items():
        table = images if key in OF_IMAGES else runs
        if key not in table:
            hint = suggestion(key, [*runs.columns, *OF_IMAGES], "; give config keys, groups or columns of runs.csv")
            raise UserError(f"collate.table.only: no run has {key}{hint}")
        has, wanted = table[key].map(text).astype(str), [text(value) for value in values]
        check_values("collate.table.only", key, wanted, has.unique())
        if key in OF_IMAGES:
            images = images[has.isin(wanted)]
        else:
            runs = runs[has.isin(wanted)]
            images = images[images["run"].isin(runs["run"])]
    return replace(collated, runs=runs.reset_index(drop=True), images=images.reset_index(drop=True))


def check_values(where: str, key: str, wanted: Sequence[str], has: Sequence[str]) -> None:
    """Raise a UserError that names the first value of `wanted` that is not in `has`."""
    for value in wanted:
        if value not in has:
            hint = suggestion(value, has, f"; it is {', '.join(sorted(has)[:8])}")
            raise UserError(f"{where}: {key} is never {value}{hint}")


def averages(
    wanted: Mapping[str, Sequence[str]] | None, columns: Axis, images: pd.DataFrame
) -> dict[int, tuple[str, tuple[int, ...]]]:
    """Return the heading and the columns of each average by its place.

    Args:
        wanted: Names of columns by heading: benchmarks, or degradations for all of their benchmarks. None = one over
            all columns, if these are benchmarks of one protocol and one kind of noise.
        columns: The table's columns.
        images: The table's results.

    Raises:
        UserError: There is no such column, or the columns are not comparable.
    """
    by_name = dict(enumerate(columns.names))
    if wanted is None:
        keys = set(columns.keys)
        plain = "benchmark" in keys and keys <= {"benchmark", "degradation"} and images["protocol"].nunique() == 1
        plain = plain and len(by_name) > 1 and comparable.noises(images["benchmark"].unique()) is None
        return {AVERAGE_COLUMN: (AVERAGE, tuple(by_name))} if plain else {}
    places = [AVERAGE_COLUMN, *range(COSTS_COLUMN - 1, COSTS_COLUMN - 1 - len(wanted), -1)]
    found = {}
    for place, (heading, names) in zip(places, wanted.items(), strict=False):
        where = f"collate.table.averages: {heading}"
        check_values(where, " ".join(columns.keys), list(names), [part for name in columns.names for part in name])
        over = tuple(i for i, name in by_name.items() if set(name) & set(names))
        if len(_protocols([by_name[i] for i in over], columns.keys, images)) > 1:
            raise UserError(f"{where} would average over several protocols; choose one with protocols=[...]")
        if both := comparable.noises(part for i in over for part in by_name[i]):
            raise UserError(f"{where} would average over {both[0]} and {both[1]}, which are not comparable")
        found[place] = (heading, over)
    return found


def _protocols(names: Sequence[tuple[str, ...]], keys: Sequence[str], images: pd.DataFrame) -> set[str]:
    """Return the protocols by which the columns of these names were measured."""
    places = [place for place, key in enumerate(keys) if key in OF_IMAGES]
    measured = images[[*(keys[place] for place in places), "protocol"]].astype(str)
    measured = measured.loc[:, ~measured.columns.duplicated()].drop_duplicates()
    wanted = {tuple(name[place] for place in places) for name in names}
    lines = measured.itertuples(index=False)
    return {line.protocol for line in lines if tuple(getattr(line, keys[place]) for place in places) in wanted}
