"""Count which expert took which degradation.

Shape legend: L learners (encoder first), D degradations, N experts.
"""

import numpy as np

from daair.metrics.information import normalised_mutual_information


class RoutingTally:
    """The gates of every learner, expert and degradation, summed over batches.

    Args:
        labels: Names of the D degradations, in the order of their numbers.
    """

    def __init__(self, labels: list[str]) -> None:
        self.labels = labels
        self.counts: np.ndarray | None = None  # (L, D, N); None until the first batch with gates

    def add(self, gates: np.ndarray, labels: np.ndarray) -> None:
        """Count a batch: gates (L, B, N), labels (B,). Each image counts once, whatever the sum of its gates."""
        if gates.shape[0] == 0:
            return
        shares = gates / gates.sum(axis=2, keepdims=True)
        if self.counts is None:
            self.counts = np.zeros((gates.shape[0], len(self.labels), gates.shape[2]))
        for label in np.unique(labels):
            self.counts[:, label] += shares[:, labels == label].sum(axis=1)

    def merge(self, others: list["RoutingTally"]) -> "RoutingTally":
        """Return the sum of tallies, e.g. of several processes."""
        total = RoutingTally(self.labels)
        counted = [tally.counts for tally in others if tally.counts is not None]
        total.counts = sum(counted) if counted else None
        return total

    def utilisation(self) -> np.ndarray:
        """Return the share (L, N, D) of each degradation's images that each expert took; columns sum to 1 or 0."""
        if self.counts is None:
            return np.zeros((0, 0, len(self.labels)))
        images = self.counts.sum(axis=2, keepdims=True)
        return np.transpose(self.counts / np.where(images > 0, images, 1), (0, 2, 1))

    def mutual_information(self) -> np.ndarray:
        """Return the normalised mutual information (L,) of expert and degradation; 0 independent, 1 one-to-one."""
        if self.counts is None:
            return np.zeros(0)
        return np.array([normalised_mutual_information(table) for table in self.counts])
