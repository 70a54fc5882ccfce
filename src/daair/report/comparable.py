"""Checks that the values in one column are comparable: same protocol, tiling, data and training budget.

Each error names two runs that differ, and a remedy.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from daair.errors import Incomparable

BUDGET = ("train.steps", "train.batch_size", "train.accumulation", "mix.patch", "train.progressive")
"""Config keys that define the training budget; they may differ only where they name rows or columns."""

TIME, EPOCHS = "train.budget", "train.epochs"
"""The keys of runs that trained for a time or for epochs, not for a number of updates."""

THREADS = "train.threads"
"""The key of how many cores a training on CPUs uses, which decides what a time is worth as hardware does."""

STOP_AFTER = "train.stop_after"
"""The key of runs that may end before their last update."""

PROCESSES = ("processes", "launch.num_processes", "launch.nodes")
"""Columns that say how many processes shared a batch; the first one is what a run really had."""

SAME_INPUT = 1e-4
"""Tolerance in dB for the PSNR of the same degraded image on different machines."""


def check_budgets(runs: pd.DataFrame, keys: Sequence[str]) -> None:
    """Check that all runs had the same training budget and training images, unless the table compares these.

    Raises:
        UserError: Two runs differ.
    """
    for name in BUDGET:
        if name in runs and name not in keys:
            _refuse_difference(runs, name, f"budgets differ; if that is the question, add {name} to collate.rows")
    for name in (TIME, EPOCHS):
        if name in runs and name not in keys and runs[name].notna().any():
            lengths = runs.set_index("run")[name].astype("string").fillna("fixed updates")
            _refuse(lengths, name, "{}", f"budgets differ; if that is the question, add {name} to collate.rows")
    if TIME in runs and "hardware" not in keys:
        for name in ("hardware", *({THREADS} & set(runs) - set(keys))):
            remedy = f"{name} decides what a time is worth; train them on the same, or add {name} to collate.rows"
            _refuse_difference(runs[runs[TIME].notna()], name, remedy)
    if set(PROCESSES).isdisjoint(keys) and "processes" in runs:
        local = runs[[name for name in runs if name.endswith(".scope")]].eq("local").any(axis=1)
        remedy = "with scope=local each process balances its own images; train them on as many processes"
        _refuse(runs[local].set_index("run")["processes"].dropna(), "processes", "{:g}", remedy)
    if {"mix", "mix.root", "training_data"}.isdisjoint(keys) and "training_data" in runs:
        # Only runs of the same mix are compared, because different mixes always have different images.
        for _, group in runs.groupby("mix", observed=True) if "mix" in runs else [("", runs)]:
            _refuse_difference(
                group, "training_data", "they were trained on different pictures; train them again on the same"
            )


def stopped_early(runs: pd.DataFrame) -> pd.Series:
    """Return which training runs ended before their last update.

    The config of a run for epochs or a time does not say how many updates were planned; any such run with
    `train.stop_after` counts as stopped.
    """
    nothing = pd.Series(np.nan, index=runs.index)
    planned, patience = (runs.get(name, nothing) for name in ("train.steps", STOP_AFTER))
    return (runs["steps"].astype(float) < planned.astype(float)) | (planned.isna() & patience.notna())


def check_columns(images: pd.DataFrame, steps: pd.Series) -> None:
    """Check that the values of each benchmark were measured in the same way.

    Args:
        images: Lines of measured runs, as in `Collated.images`.
        steps: The budget of each run in updates, by the run's name.

    Raises:
        UserError: Two runs differ in protocol, tiling, images or inputs, or one was measured before its training ended.
    """
    for (benchmark, protocol), rows in images.groupby(["benchmark", "protocol"], observed=True, sort=False):
        where = f"{benchmark}, {protocol}"
        ranges = rows.groupby("run", observed=True)["step"].agg(["min", "max"])
        budget = steps.reindex(ranges.index)
        early = (ranges["min"] < budget) | (ranges["max"] > budget)
        if early.any():
            run = early.idxmax()
            raise Incomparable(
                f"{where}: {run} was measured after {ranges['min'][run]:.0f} updates, its budget is "
                f"{budget[run]}; measure it again with task=evaluate"
            )
        check_measurement(rows, where)


def check_measurement(rows: pd.DataFrame, where: str) -> None:
    """Check that runs were measured in the same tiles, on the same images with the same degraded inputs.

    Args:
        rows: Lines of one benchmark by one protocol, with `run`.
        where: Names the two in messages.

    Raises:
        Incomparable: They were not.
    """
    ranges = rows.groupby("run", observed=True)["tile"].agg(["min", "max"])
    pairs = list(zip(ranges["min"], ranges["max"], strict=True))
    words = {pair: " and ".join(str(side or "whole") for side in sorted(set(pair))) for pair in set(pairs)}
    sides = pd.Series([words[pair] for pair in pairs], index=ranges.index)
    _refuse(sides, where, "tiles: {}", "measure one of them again with the same evaluate.tile")
    _check_images(rows, where)


def check_mixtures(parts: pd.DataFrame) -> None:
    """Check that no column averages over benchmarks of different protocols or of both kinds of Gaussian noise.

    Args:
        parts: A line per run and benchmark, with `column`, the texts that name its column, `benchmark` and `protocol`.

    Raises:
        UserError: A column does.
    """
    for column, group in parts.groupby("column"):
        protocols = group.drop_duplicates("protocol")
        if len(protocols) > 1:
            one, other = (f"{line.benchmark} by {line.protocol}" for line in protocols[:2].itertuples())
        elif (both := noises(group["benchmark"])) is not None:
            one, other = both
        else:
            continue
        raise Incomparable(
            f"collate.columns: {' '.join(column)} would average over {one} and {other}, which are not comparable; "
            "add benchmark, or choose with benchmarks=[...]"
        )


def noises(benchmarks: Iterable[str]) -> tuple[str, str] | None:
    """Return two benchmarks by name of which one has noise that is clipped to 8 bits and one noise that is not."""
    found: dict[str, str] = {}
    for name in benchmarks:
        if match := re.search(r"_(awgn|sigma|noise)\d+$", name):
            found.setdefault("float" if match[1] == "awgn" else "8 bits", name)
    return (found["8 bits"], found["float"]) if len(found) == 2 else None


def _check_images(rows: pd.DataFrame, where: str) -> None:
    """Raise if runs differ in images, image sizes or degraded inputs, as with different versions of the data."""
    remedy = "they were measured on different data; measure one of them again"
    counts = rows.groupby("run", observed=True).size()
    _refuse(counts, where, "{} images", remedy)
    first = rows["run"].iloc[0]
    reference = rows[rows["run"] == first].set_index("image")
    position = pd.Series(np.arange(len(reference)), index=reference.index.astype(str))
    found = rows["image"].astype(str).map(position)
    if found.isna().any():
        bad = rows[found.isna()].iloc[0]
        raise Incomparable(f"{where}: {bad['run']} has an image {bad['image']} that {first} has not; {remedy}")
    same = reference.iloc[found.astype(int).to_numpy()].reset_index(drop=True)
    mine = rows.reset_index(drop=True)
    differences = {
        "size": (mine["width"] != same["width"]) | (mine["height"] != same["height"]),
        "degraded input": ~np.isclose(mine["input_psnr"], same["input_psnr"], rtol=0, atol=SAME_INPUT),
    }
    for what, differs in differences.items():
        if differs.any():
            bad = mine[np.asarray(differs)].iloc[0]
            raise Incomparable(f"{where}: {bad['image']} has another {what} in {bad['run']} than in {first}; {remedy}")


def _refuse_difference(runs: pd.DataFrame, name: str, remedy: str) -> None:
    _refuse(runs.set_index("run")[name].dropna(), name, "{}", remedy)


def _refuse(values: pd.Series, where: str, what: str, remedy: str) -> None:
    """Raise if the values differ; the index of `values` holds the runs' names."""
    if values.nunique() > 1:
        one = values.index[0]
        other = (values != values.iloc[0]).idxmax()
        texts = [what.format(values[run]) for run in (one, other)]
        raise Incomparable(f"{where}: {texts[0]} in {one}, {texts[1]} in {other}; {remedy}")
