"""Rows of networks that were only evaluated (`daair.engine.study_row`): never seeds of a variant that was trained.

Such a row goes by its label and says whose weights it has: `PromptIR (published weights)`. It has no seed and no rank
among networks that were trained under the study's conditions, and its difference to the reference is not tested.
"""

from collections.abc import Iterator, Sequence

import pandas as pd

SHORT = 8
"""Hexadecimal digits of a digest that a note shows."""


def is_trained(runs: pd.DataFrame) -> pd.Series:
    """Return for each row of `Collated.runs` whether it is a training run of the study."""
    return runs["origin"].isna() if "origin" in runs else pd.Series(True, index=runs.index)


def trained(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the training runs among the rows of `Collated.runs`."""
    return runs[is_trained(runs)]


def names(runs: pd.DataFrame) -> dict[str, str]:
    """Return what the networks that were only evaluated are called, by variant.

    The id is added to equal names, and the study if the same weights were evaluated in several.
    """
    others, found = runs[~is_trained(runs)], {}
    for _, equal in others.groupby(["label", "origin"], observed=True, sort=False) if len(others) else ():
        apart = ["id"] if equal["id"].nunique() > 1 else []
        apart += ["study"] if equal["id"].duplicated().any() else []
        for row in equal.to_dict("records"):
            told = ", ".join([row["origin"], *(row[key] for key in apart)])
            found[str(row["variant"])] = f"{row['label']} ({told})"
    return found


def named(runs: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return the runs, in which networks that were only evaluated have their name at the first of `keys`, else nothing.

    Their study stays what it is, unless it is the only key.

    Args:
        runs: As in `Collated.runs`.
        keys: Those that name a table's rows.
    """
    called = runs["variant"].astype(str).map(names(runs))
    if called.isna().all():
        return runs
    own = [key for key in keys if key != "study"] or list(keys)
    texts = [called, *[pd.Series("", index=runs.index)] * (len(own) - 1)]
    replaced = {key: runs[key].astype(object).where(called.isna(), text) for key, text in zip(own, texts, strict=True)}
    return runs.assign(**replaced)


def notes(runs: pd.DataFrame) -> Iterator[str]:
    """Yield what a reader must know of these rows, in sentences."""
    others = runs[~is_trained(runs)]
    if others.empty:
        return
    called = names(runs)
    files = [
        f"{called[str(row.variant)]}: {row.weights_file}, SHA-256 {row.weights_digest[:SHORT]}"
        if row.weights_digest
        else f"{called[str(row.variant)]}: nothing to load"
        for row in others.drop_duplicates("variant").itertuples()
    ]
    yield f"Measured here, not trained in this study: {'; '.join(files)}. Such rows have no seeds and are not tested."
