"""Mutual information of two discrete variables."""

import numpy as np


def normalised_mutual_information(table: np.ndarray) -> float:
    """Return I(X; Y) / mean(H(X), H(Y)) in [0, 1] of a contingency table; the default normalisation of scikit-learn.

    The result is 0 if either variable is constant, as for a router that always selects the same expert.
    """
    joint = table / table.sum()
    rows, columns = _entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0))
    if min(rows, columns) == 0:
        return 0.0
    return float((rows + columns - _entropy(joint.ravel())) / ((rows + columns) / 2))


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())
