"""Runs of several studies in one table: what two studies have in common counts once, unless the table compares them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from daair.report.aggregate import Axis
from daair.report.frame import Collated

STUDY = "study"
"""The key that tells studies apart, if it names rows or columns."""

SAME_RESULT = 0.005
"""Difference in dB up to which two measurements of an image count as the same."""

LISTED = 3
"""Most runs that a note names; the rest is counted."""


def once(collated: Collated, keys: Sequence[str]) -> tuple[Collated, list[str]]:
    """Return the runs in which each config and seed is there once, and what a reader must know of that.

    Of two such runs the finished one counts, then the one with more results, then the later one. If `study` is one of
    the table's `keys`, both stay, as runs of different variants.
    """
    runs, images = collated.runs, collated.images
    if runs[STUDY].nunique() < 2:
        return collated, []
    if STUDY in keys:
        variants = runs[STUDY].astype(str) + "/" + runs["variant"].astype(str)
        return replace(collated, runs=runs.assign(variant=variants.astype("category"))), []
    measured = runs["run"].map(images["run"].value_counts()).astype(int)
    order = pd.DataFrame({"done": runs["state"] == "done", "images": measured, "at": runs["finished"].astype(str)})
    ordered = runs.loc[order.sort_values(["done", "images", "at"], kind="stable").index]
    counting = runs.loc[sorted(ordered.drop_duplicates(["id", "seed"], keep="last").index)]
    first = counting.drop_duplicates("id").set_index("id")  # one config may have another label in each study
    same = {name: counting["id"].map(first[name].astype(str)).astype("category") for name in ("variant", "label")}
    kept = replace(
        collated,
        runs=counting.assign(**same).reset_index(drop=True),
        images=images[images["run"].isin(counting["run"])].reset_index(drop=True),
    )
    return kept, list(_notes(runs, counting, images))


def expected_seeds(everything: pd.DataFrame, runs: pd.DataFrame, rows: Axis) -> list[int]:
    """Return the number of seeds that each row would have if nothing were missing: all seeds of its studies.

    A row of a network that was only evaluated has no seeds, so its number is 1, as where seeds name the rows.

    Args:
        everything: All runs of the studies.
        runs: The training runs that the table shows.
        rows: The table's rows.
    """
    if "seed" in rows.keys:
        return [1] * len(rows.names)
    seeds = {study: set(own["seed"].dropna()) for study, own in everything.groupby(STUDY, observed=True)}
    studies = runs[STUDY].groupby(rows.positions(runs)).unique()
    return [max(1, len(set().union(*(seeds[name] for name in studies.get(row, ()))))) for row in range(len(rows.names))]


def seeds_note(everything: pd.DataFrame) -> str:
    """Return a sentence with the seeds of each study if they differ, else an empty text."""
    seeds = {
        study: ", ".join(map(str, sorted(own["seed"].dropna().unique().tolist())))
        for study, own in everything.groupby(STUDY, observed=True)
    }
    seeds = {study: own for study, own in seeds.items() if own}
    if len(set(seeds.values())) < 2:
        return ""
    return f"Seeds: {'; '.join(f'{study} {own}' for study, own in seeds.items())}."


def _notes(runs: pd.DataFrame, counting: pd.DataFrame, images: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence that names the runs that do not count, and those of them that have other results."""
    by = counting.set_index(["id", counting["seed"].fillna(-1)])["run"]
    left = runs[~runs["run"].isin(counting["run"])]
    pairs = [(one.run, by[one.id, -1 if pd.isna(one.seed) else one.seed]) for one in left.itertuples()]
    if not pairs:
        return
    keys = ["benchmark", "protocol", "image"]
    psnr = {run: own.set_index(keys)["psnr"] for run, own in images.groupby("run", observed=True)}
    shown = []
    for run, other in pairs[:LISTED]:
        difference = (psnr[run] - psnr[other]).abs() if run in psnr and other in psnr else pd.Series(dtype=float)
        worst = difference.replace(np.inf, np.nan).max()
        differs = f", up to {worst:.2f} dB apart" if worst > SAME_RESULT else ""
        shown.append(f"{run} (as {other}{differs})")
    more = f" and {len(pairs) - LISTED} more" if len(pairs) > LISTED else ""
    yield f"Of the same config and seed in several studies one run counts; left out: {', '.join(shown)}{more}."
