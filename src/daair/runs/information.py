"""How much one variable tells about another."""

import numpy as np


def normalised_mutual_information(table: np.ndarray) -> float:
    """I(X; Y) / mean(H(X), H(Y)) of a contingency table (arithmetic normalisation, as scikit-learn's default).

    0 where either variable is constant: a router that always takes the same expert tells nothing.
    """
    joint = table / table.sum()
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    entropy = (_entropy(rows) + _entropy(columns)) / 2
    if min(_entropy(rows), _entropy(columns)) == 0:
        return 0.0
    return float((_entropy(rows) + _entropy(columns) - _entropy(joint.ravel())) / entropy)


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())
