"""Values of metrics that are not finite.

PSNR is infinite where the restored image equals the clean one, as in black frames, and a network that diverged gives
NaN. Such values are counted and named, but no mean contains them.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from daair.metrics import METRICS

LISTED = 3
"""Most values that a sentence names; the rest is counted."""


def not_finite(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return where the values of metrics are infinite or NaN; optional metrics are NaN where not measured.

    Args:
        rows: A row per image.
        columns: Columns of metrics: `psnr`, `input_psnr`, `gain`.

    Returns:
        Truth values with the index of `rows` and these columns.
    """
    found = {}
    for name in columns:
        metric = METRICS[name.removeprefix("input_")]
        # An optional metric that is NaN was not measured: results.csv has the same empty cell for both.
        found[name] = ~np.isfinite(rows[name]) if metric.always or metric.derive else np.isinf(rows[name])
    return pd.DataFrame(found, index=rows.index)


def sentences(rows: pd.DataFrame, columns: Sequence[str], consequence: str = "left out of the mean") -> Iterator[str]:
    """Yield a sentence for each column with values that are not finite: how many, the first of them, what follows.

    Args:
        rows: A row per image, with `benchmark` and `image`; with `run` if they are of several runs.
        columns: As for `not_finite`.
        consequence: What is done with such values.
    """
    for name, strange in not_finite(rows, columns).items():
        found = rows[strange]
        if found.empty:
            continue
        owners = [f" in {run}" for run in found["run"]] if "run" in found else [""] * len(found)
        lines = zip(found["benchmark"], found["image"], owners, found[name], strict=True)
        listed = [f"{benchmark} {image}{owner} ({value})" for benchmark, image, owner, value in lines]
        more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
        count = f"{len(listed)} value{'s' if len(listed) > 1 else ''}"
        header = f"{'input ' if name.startswith('input_') else ''}{METRICS[name.removeprefix('input_')].header}"
        yield f"{header}: {count} not finite, {consequence}: {', '.join(listed[:LISTED])}{more}."
