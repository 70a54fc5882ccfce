"""Values of metrics that are not finite.

PSNR is infinite where the restored image equals the clean one, as in black frames, and a network that diverged gives
NaN. Such values are counted and named, but no mean contains them.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from daair.metrics import METRICS


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
