"""Paired comparisons with numbers that can be checked by hand, or by scipy in one line."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from daair.report.statistics import compare, holm


def values(table: dict[tuple[str, int], float]) -> pd.Series:
    index = pd.MultiIndex.from_tuples(table, names=["image", "seed"])
    return pd.Series(list(table.values()), index=index, dtype=float)


def by_image(differences, seeds=(0,), offset=30.0):
    reference = values({(f"{i}", s): offset + i for i in range(len(differences)) for s in seeds})
    return reference + np.repeat(differences, len(seeds)), reference


def test_six_images_all_better_is_one_in_thirty_two() -> None:
    found = compare(*by_image([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    assert found.p == pytest.approx(2 / 2**6) and found.delta == pytest.approx(0.35)
    assert (found.paired_images, found.paired_seeds, found.seeds_agreeing) == (6, 1, 1)
    assert 0.1 < found.delta_low < 0.35 < found.delta_high < 0.6


def test_more_seeds_of_the_same_images_are_no_more_images() -> None:
    one, three = compare(*by_image([0.1, -0.2, 0.3, 0.4])), compare(*by_image([0.1, -0.2, 0.3, 0.4], seeds=(0, 1, 2)))
    assert (three.p, three.paired_images, three.paired_seeds) == (one.p, 4, 3)
    assert (three.delta_low, three.delta_high) == pytest.approx((one.delta_low, one.delta_high))


def test_only_seeds_and_images_of_both_count() -> None:
    variant = values({("a", 0): 2.0, ("a", 1): 9.0, ("b", 0): 4.0, ("c", 0): 7.0})
    reference = values({("a", 0): 1.0, ("b", 0): 1.0, ("b", 2): 5.0, ("d", 0): 1.0})
    found = compare(variant, reference)
    assert (found.delta, found.paired_images, found.paired_seeds) == (2.0, 2, 1)


def test_seeds_that_disagree_are_counted() -> None:
    variant = values({("a", 0): 2.0, ("b", 0): 3.0, ("a", 1): 0.5, ("b", 1): 1.0, ("a", 2): 1.5, ("b", 2): 1.5})
    reference = variant * 0 + 1
    found = compare(variant, reference)
    assert (found.paired_seeds, found.seeds_agreeing) == (3, 2) and found.delta == pytest.approx(3.5 / 6)


def test_a_small_constant_gain_shows_only_when_paired() -> None:
    """Images differ by dB, the variants by hundredths: what an unpaired test would never see."""
    rng = np.random.default_rng(0)
    reference = values({(str(i), 0): v for i, v in enumerate(rng.normal(30, 3, 68))})
    variant = reference + rng.normal(0.05, 0.05, 68)
    assert compare(variant, reference).p < 1e-6
    assert stats.mannwhitneyu(variant, reference).pvalue > 0.5


def test_degenerate_differences() -> None:
    same = compare(*by_image([0.0, 0.0, 0.0]))
    assert (same.p, same.delta, same.delta_low, same.delta_high) == (1.0, 0.0, 0.0, 0.0)
    constant = compare(*by_image([0.5, 0.5], offset=1.0))
    assert (constant.delta_low, constant.delta_high, constant.p) == (0.5, 0.5, 0.5)
    lone = compare(*by_image([0.5]))
    assert lone.delta == 0.5 and math.isnan(lone.delta_low) and lone.p == 1.0
    nothing = compare(values({("a", 0): 1.0}), values({("b", 0): 1.0}))
    assert nothing.paired_images == 0 and math.isnan(nothing.p)
    infinite = compare(values({("a", 0): np.inf, ("b", 0): 2.0}), values({("a", 0): np.inf, ("b", 0): 1.0}))
    assert (infinite.paired_images, infinite.delta) == (1, 1.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        found = compare(*by_image(rng.normal(0.1, 0.3, 30)), alpha=0.1, resamples=200)
        hits += found.delta_low <= 0.1 <= found.delta_high
    assert 0.80 < hits / 100 < 0.97


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []
    corrected = holm([0.01, float("nan"), 0.02])
    assert corrected[0] == 0.02 and corrected[2] == 0.02 and math.isnan(corrected[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_never_below_and_keeps_the_order(p: list[float]) -> None:
    corrected = holm(p)
    assert all(a <= b <= 1 for a, b in zip(p, corrected, strict=True))
    pairs = sorted(zip(p, corrected, strict=True))
    assert [b for _, b in pairs] == sorted(b for _, b in pairs)
