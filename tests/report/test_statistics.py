"""Paired comparisons with numbers that can be checked by hand, or by scipy in one line."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from daair.report import statistics
from daair.report.statistics import compare, crossed, holm


def values(table: dict[tuple[str, int], float]) -> pd.Series:
    index = pd.MultiIndex.from_tuples(table, names=["image", "seed"])
    return pd.Series(list(table.values()), index=index, dtype=float)


def by_image(differences, seeds=(0,), offset=30.0):
    reference = values({(f"{i}", s): offset + i for i in range(len(differences)) for s in seeds})
    return reference + np.repeat(differences, len(seeds)), reference


def test_six_images_all_better_is_one_in_thirty_two() -> None:
    found = compare(*by_image([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    assert found.p_images == pytest.approx(2 / 2**6) and found.delta == pytest.approx(0.35)
    assert (found.paired_images, found.paired_seeds, found.seeds_agreeing) == (6, 1, 1)
    assert 0.1 < found.images_low < 0.35 < found.images_high < 0.6
    assert math.isnan(found.p) and math.isnan(found.delta_low)  # one seed says nothing of others


def test_more_seeds_of_the_same_images_are_no_more_images() -> None:
    one, three = compare(*by_image([0.1, -0.2, 0.3, 0.4])), compare(*by_image([0.1, -0.2, 0.3, 0.4], seeds=(0, 1, 2)))
    assert (three.p_images, three.paired_images, three.paired_seeds) == (one.p_images, 4, 3)
    assert (three.images_low, three.images_high) == pytest.approx((one.images_low, one.images_high))


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
    assert compare(variant, reference).p_images < 1e-6
    assert stats.mannwhitneyu(variant, reference).pvalue > 0.5


def test_degenerate_differences() -> None:
    same = compare(*by_image([0.0, 0.0, 0.0]))
    assert (same.p_images, same.delta, same.images_low, same.images_high) == (1.0, 0.0, 0.0, 0.0)
    same = compare(*by_image([0.0, 0.0, 0.0], seeds=(0, 1, 2)))
    assert (same.p, same.delta_low, same.delta_high) == (1.0, 0.0, 0.0)
    constant = compare(*by_image([0.5, 0.5], offset=1.0))
    assert (constant.images_low, constant.images_high, constant.p_images) == (0.5, 0.5, 0.5)
    lone = compare(*by_image([0.5]))
    assert lone.delta == 0.5 and math.isnan(lone.images_low) and lone.p_images == 1.0
    nothing = compare(values({("a", 0): 1.0}), values({("b", 0): 1.0}))
    assert nothing.paired_images == 0 and math.isnan(nothing.p_images)
    infinite = compare(values({("a", 0): np.inf, ("b", 0): 2.0}), values({("a", 0): np.inf, ("b", 0): 1.0}))
    assert (infinite.paired_images, infinite.delta) == (1, 1.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        found = compare(*by_image(rng.normal(0.1, 0.3, 30)), alpha=0.1, resamples=200)
        hits += found.images_low <= 0.1 <= found.images_high
    assert 0.80 < hits / 100 < 0.97


def test_the_bootstrap_holds_a_part_of_its_resamples_and_gives_the_same_digits(monkeypatch) -> None:
    pair, sizes, mean = by_image(np.random.default_rng(1).normal(0.1, 0.3, 700)), [], np.mean

    def noted(resampled, axis):
        sizes.append(resampled.size)
        return mean(resampled, axis=axis)

    differences = (pair[0] - pair[1]).sort_index().to_numpy().round(statistics.SAME)
    whole = stats.bootstrap((differences,), mean, n_resamples=10_000, rng=np.random.default_rng(0))
    monkeypatch.setattr(np, "mean", noted)
    found = compare(*pair)
    assert (found.images_low, found.images_high) == tuple(whole.confidence_interval)
    assert max(sizes) <= statistics.AT_ONCE < 700 * 10_000


def test_an_image_counts_only_if_it_is_finite_for_every_seed_and_seeds_that_lack_images_do_not_count() -> None:
    pairs = {(image, seed): 1.0 for image in "abc" for seed in range(4)}
    variant, reference = values(pairs) + 1, values(pairs)
    variant["a", 1] = np.inf
    variant["b", 2], reference["b", 2] = np.nan, np.inf
    found = compare(variant.drop(("c", 3)), reference)
    assert (found.paired_images, found.paired_seeds, found.delta) == (1, 3, 1.0)
    variant[:] = np.nan
    assert compare(variant, reference).paired_images == 0


def seeds_differ(images: int, spread: float) -> tuple[pd.Series, pd.Series]:
    """Return three seeds with means of 0.1 - spread, 0.1, 0.1 + spread, on images that differ a little."""
    reference = values({(f"{i}", s): 30.0 + i for i in range(images) for s in range(3)})
    image, seed = (reference.index.get_level_values(level).astype(int).to_numpy() for level in (0, 1))
    return reference + 0.1 + (seed - 1) * spread + np.linspace(-0.01, 0.01, images)[image], reference


def test_seeds_alone_are_the_t_test_over_seeds() -> None:
    found = compare(*seeds_differ(34, 0.2))
    by_scipy = stats.ttest_1samp([-0.1, 0.1, 0.3], 0)
    low, high = by_scipy.confidence_interval(0.95)
    assert found.p == pytest.approx(by_scipy.pvalue, rel=1e-3) and found.p > 0.4 > 1e-6 > found.p_images
    assert (found.delta_low, found.delta_high) == pytest.approx((low, high), rel=1e-3)
    assert found.images_low > 0.09 and found.seeds_agreeing == 2


def test_images_alone_are_the_t_test_over_images() -> None:
    differences = np.random.default_rng(3).normal(0.1, 0.3, 34)
    p, half = crossed(np.repeat(differences[:, None], 3, 1), 0.05)
    by_scipy = stats.ttest_1samp(differences, 0)
    assert p == pytest.approx(by_scipy.pvalue)
    assert 2 * half == pytest.approx(np.diff(by_scipy.confidence_interval(0.95))[0])


@given(st.integers(2, 12), st.integers(2, 6), st.floats(-0.5, 0.5), st.floats(0.001, 0.2), st.integers(0, 99))
def test_the_interval_excludes_zero_just_where_p_is_below_alpha(images, seeds, delta, alpha, chance) -> None:
    table = np.random.default_rng(chance).normal(delta, 0.2, (images, seeds))
    p, half = crossed(table, alpha)
    assert (p < alpha) == (abs(table.mean()) > half) and 0 <= p <= 1


def drawn(chance: int, count: int, images: int, seeds: int, spreads: tuple[float, float, float]) -> np.ndarray:
    """Return `count` tables of differences without a mean; `spreads` are those of images, of seeds, of the residual."""
    rng = np.random.default_rng(chance)
    shapes = (count, images, 1), (count, 1, seeds), (count, images, seeds)
    return sum(rng.normal(0, spread, shape) for spread, shape in zip(spreads, shapes, strict=True))


@pytest.mark.parametrize("of_image", [0.0, 0.3])
@pytest.mark.parametrize("spread", [0.02, 0.05, 0.2])
def test_no_more_false_positives_than_alpha_with_three_seeds(spread: float, of_image: float) -> None:
    """`spread` is that of one variant's seeds; two variants' differences have sqrt(2) times as much."""
    table = drawn(2, 4000, 34, 3, (of_image, math.sqrt(2) * spread, 0.28))
    for alpha in (0.05, 0.05 / 18):  # the smaller one is what Holm asks for first with 18 tests
        found = (crossed(table, alpha)[0] < alpha).mean()
        assert found < alpha + 3 * math.sqrt(alpha / 4000)  # three standard errors


def test_agrees_with_a_mixed_model_on_known_variances() -> None:
    """REML finds the same components in balanced data, from which the interval follows by hand."""
    images, seeds = 24, 6
    for table in drawn(4, 2, images, seeds, (0.3, 0.2, 0.1)):
        lines = pd.DataFrame(table).melt(ignore_index=False, var_name="seed", value_name="d")
        lines = lines.rename_axis("image").reset_index()
        parts = {"image": "0 + C(image)", "seed": "0 + C(seed)"}
        everything = {"groups": np.ones(len(lines)), "re_formula": "0", "vc_formula": parts}
        fit = MixedLM.from_formula("d ~ 1", lines, **everything).fit(reml=True)
        (image, seed), residual = fit.vcomp, fit.scale
        squares = np.array([residual + seeds * image, residual + images * seed, residual])
        freedom = np.array([images - 1, seeds - 1, (images - 1) * (seeds - 1)])
        of_total = (squares[0] + squares[1] - squares[2]) ** 2 / (squares**2 / freedom).sum()
        _, half = crossed(table, 0.05)
        wider = stats.t.isf(0.025, seeds - 1) * math.sqrt(squares[1] / (images * seeds))
        assert half == pytest.approx(max(stats.t.isf(0.025, of_total) * fit.bse["Intercept"], wider), rel=1e-3)


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
