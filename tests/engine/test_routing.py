"""The tally of routing decisions, by hand-made gates."""

import numpy as np
import pytest

from daair.engine.routing import RoutingTally
from daair.metrics.information import normalised_mutual_information


def one_hot(experts: list[int], count: int) -> np.ndarray:
    return np.eye(count)[experts][None] * 0.3  # gates are small, an image still counts once


def test_utilisation_counts_images() -> None:
    tally = RoutingTally(["noise", "rain"])
    tally.add(one_hot([0, 0, 1], 3), np.array([0, 0, 1]))
    tally.add(one_hot([2], 3), np.array([1]))
    expected = [[[1.0, 0.0], [0.0, 0.5], [0.0, 0.5]]]  # learners x experts x degradations
    np.testing.assert_allclose(tally.utilisation(), expected)


def test_mutual_information_of_perfect_blind_and_constant_routers() -> None:
    assert normalised_mutual_information(np.diag([3.0, 5.0, 2.0])) == pytest.approx(1.0)
    assert normalised_mutual_information(np.ones((3, 4))) == pytest.approx(0.0, abs=1e-12)
    assert normalised_mutual_information(np.array([[4.0, 0.0], [4.0, 0.0]])) == 0.0


def test_mutual_information_by_the_definition() -> None:
    table = np.array([[8.0, 2.0], [1.0, 9.0]])
    p = table / table.sum()
    rows, columns = p.sum(1), p.sum(0)
    mutual = sum(p[i, j] * np.log(p[i, j] / rows[i] / columns[j]) for i in range(2) for j in range(2))
    entropies = -(rows * np.log(rows)).sum(), -(columns * np.log(columns)).sum()
    assert normalised_mutual_information(table) == pytest.approx(mutual / np.mean(entropies))


def test_tallies_of_processes_add_up() -> None:
    both, first, second = (RoutingTally(["a", "b"]) for _ in range(3))
    gates, labels = one_hot([0, 1, 1, 0], 2), np.array([0, 1, 0, 1])
    both.add(gates, labels)
    first.add(gates[:, :2], labels[:2])
    second.add(gates[:, 2:], labels[2:])
    merged = RoutingTally(["a", "b"]).merge([first, second, RoutingTally(["a", "b"])])
    np.testing.assert_allclose(merged.counts, both.counts)


def test_network_without_experts_has_an_empty_tally() -> None:
    tally = RoutingTally(["a"])
    tally.add(np.zeros((0, 4, 0)), np.zeros(4, dtype=int))
    assert tally.utilisation().shape == (0, 0, 1) and tally.mutual_information().shape == (0,)
