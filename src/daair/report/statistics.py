"""Paired comparison of two variants over images and seeds, and the correction for multiple tests.

A comparison has two sources of chance. Other images would give another mean, and so would networks that were trained
again with other seeds. Variants are compared by their differences d(image, seed) on the same image with the same seed:

- `crossed` tests against both sources. It says whether the *variants* differ, and needs at least `SEEDS` seeds.
- Wilcoxon's test over images, after averaging over seeds, says only whether *these networks* differ on images like
  these. With three seeds that spread by 0.2 dB, and no difference between the variants, it finds one in three of four
  cases (experiments/statistics), so it must not be read as a statement about the variants.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SAME = 9
"""Decimals to which differences are rounded; further decimals are only rounding noise."""

SEEDS = 3
"""Number of seeds from which on the spread between seeds is estimated; two give a single degree of freedom."""

AT_ONCE = 2**22
"""Number of values that the bootstrap draws at once; they take 16 bytes each."""


@dataclass(frozen=True)
class Comparison:
    """A comparison of a variant with the reference, in one metric on one benchmark or by an average over several.

    Attributes:
        delta: Mean over images and seeds of (variant - reference).
        delta_low, delta_high: Confidence interval of `delta` for other images and other seeds, see `crossed`; nan for
            fewer than `SEEDS` seeds or two images.
        p: Two-sided p-value of the same test, nan likewise.
        images_low, images_high: Bootstrap confidence interval of `delta` for other images and these networks (BCa,
            images resampled); nan for fewer than two images.
        p_images: Two-sided Wilcoxon signed-rank test of the images' differences; 1 if all are 0, nan without images.
        seeds_agreeing: Number of seeds whose mean difference has the sign of `delta`.
        paired_images, paired_seeds: Numbers of paired images (nan for an average) and seeds.
    """

    delta: float
    delta_low: float
    delta_high: float
    p: float
    images_low: float
    images_high: float
    p_images: float
    seeds_agreeing: int
    paired_images: float
    paired_seeds: int


def compare(variant: pd.Series, reference: pd.Series, *, alpha: float = 0.05, resamples: int = 10_000) -> Comparison:
    """Compare two variants.

    Args:
        variant, reference: Values of a metric with an index (image, seed), each pair once. Pairs that only one variant
            has are ignored, and so are seeds with fewer pairs than others. An image counts only if its difference is
            finite for every seed.
        alpha: The intervals have the confidence level 1 - alpha.
        resamples: Number of bootstrap resamples; they are drawn with a fixed seed.
    """
    differences = _paired(variant, reference)
    if not differences.size:
        return Comparison(*[float("nan")] * 7, seeds_agreeing=0, paired_images=0, paired_seeds=0)
    images, seeds = differences.shape
    delta = float(differences.mean())
    low = high = p = float("nan")
    if images > 1 and seeds >= SEEDS:
        found, half = crossed(differences, alpha)
        low, high, p = delta - float(half), delta + float(half), float(found)
    of_images = differences.mean(1).round(SAME)
    agreeing = int((np.sign(differences.mean(0)) == np.sign(delta)).sum())
    return Comparison(
        delta, low, high, p, *_interval(of_images, alpha, resamples), _wilcoxon(of_images), agreeing, images, seeds
    )


def seed_differences(variant: pd.Series, reference: pd.Series) -> pd.Series:
    """Return each seed's mean difference over the paired images, as in `compare`, by seed; empty without pairs."""
    return _pairs(variant, reference).mean()


def compare_averages(differences: pd.DataFrame, alpha: float = 0.05) -> Comparison:
    """Compare two variants by an average over benchmarks.

    The interval is for other seeds and these images, by a t test of the seeds' differences. Nothing is said of other
    images, because one photograph may occur in several benchmarks, and so p stays nan.

    Args:
        differences: Each seed's mean difference, a row per seed and a column per benchmark, see `seed_differences`.
        alpha: The interval has the confidence level 1 - alpha.
    """
    nan, of_seeds = float("nan"), differences.dropna().mean(axis=1)
    delta, low, high = float(differences.mean().mean(skipna=False)), nan, nan
    if len(of_seeds) >= SEEDS:
        from scipy import stats

        half = float(stats.t.isf(alpha / 2, len(of_seeds) - 1) * of_seeds.sem())
        low, high = delta - half, delta + half
    agreeing = int((np.sign(of_seeds) == np.sign(delta)).sum())
    return Comparison(
        delta, low, high, *[nan] * 4, seeds_agreeing=agreeing, paired_images=nan, paired_seeds=len(of_seeds)
    )


def crossed(differences: NDArray[np.float64], alpha: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Test whether a mean difference is 0, given that both images and seeds are random.

    In the model d(i, s) = delta + image(i) + seed(s) + residual(i, s) with independent effects of mean 0, the variance
    of the mean over I images and S seeds is `image / I + seed / S + residual / (I S)`. It is estimated from the mean
    squares of the two-way analysis of variance, with Satterthwaite's degrees of freedom.

    That test alone is too liberal with three seeds, above all at the small p that Holm's correction asks for, because
    the degrees of freedom are overestimated where few seeds happen to agree well. Hence a t test of the seeds' means,
    with S - 1 degrees of freedom, must hold too: the larger p and the wider interval count. The error rates are
    measured in experiments/statistics.

    Args:
        differences: Differences, (..., images, seeds), at least two of each.
        alpha: The interval has the confidence level 1 - alpha.

    Returns:
        The two-sided p, and half the width of the confidence interval around the mean, both of shape (...).

    Source: Searle, Casella and McCulloch, *Variance Components*, 1992, chapter 4; Satterthwaite, *An approximate
    distribution of estimates of variance components*, Biometrics Bulletin 1946.
    """
    from scipy import stats  # importing it takes a second

    images, seeds = differences.shape[-2:]
    mean = differences.mean((-2, -1), keepdims=True)
    image, seed = differences.mean(-1, keepdims=True) - mean, differences.mean(-2, keepdims=True) - mean
    residual = differences - mean - image - seed
    freedom = images - 1, seeds - 1, (images - 1) * (seeds - 1)
    sums = seeds * np.square(image), images * np.square(seed), np.square(residual)
    squares = [part.sum((-2, -1)) / count for part, count in zip(sums, freedom, strict=True)]
    of_image, of_seed, of_residual = squares
    # No component of the variance is negative, hence the bound from below.
    total = np.maximum(of_image + of_seed - of_residual, np.maximum(of_image, of_seed))
    parts = sum(square**2 / count for square, count in zip(squares, freedom, strict=True))
    of_total = np.divide(total**2, parts, out=np.ones_like(total), where=parts > 0)
    delta = np.abs(mean[..., 0, 0])
    p, half = np.zeros_like(delta), np.zeros_like(delta)
    for square, count in ((total, of_total), (of_seed, seeds - 1)):
        error = np.sqrt(square / (images * seeds))
        with np.errstate(divide="ignore", invalid="ignore"):
            found = 2 * stats.t.sf(delta / error, count)
        p = np.maximum(p, np.where(delta == 0, 1.0, found))
        half = np.maximum(half, stats.t.isf(alpha / 2, count) * error)
    return p, half


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values after Holm's step-down correction: the k-th smallest of m is multiplied by m - k + 1.

    nan stays nan and does not count as a test. Source: Holm, *A simple sequentially rejective multiple test procedure*,
    Scand. J. Statist. 1979.
    """
    values = np.array(p, np.float64)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    values[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return values.tolist()


def _paired(variant: pd.Series, reference: pd.Series) -> NDArray[np.float64]:
    """Return the differences, (images, seeds), of the images and seeds that count; see `compare`."""
    return _pairs(variant, reference).to_numpy(np.float64)


def _pairs(variant: pd.Series, reference: pd.Series) -> pd.DataFrame:
    """Return the differences with a row per image and a column per seed; see `compare`."""
    variant, reference = variant.align(reference, join="inner")
    if variant.empty:
        return pd.DataFrame(dtype=np.float64)
    # Equal images have infinite PSNR, and the difference of two infinities is undefined.
    with np.errstate(invalid="ignore"):
        difference = variant - reference
    pairs = difference.groupby(level=1, observed=True).size()
    table = difference.unstack()[pairs.index[pairs == pairs.max()]]
    table = table.where(np.isfinite(table)).dropna(axis="columns", how="all").dropna()
    return table.astype(np.float64).round(SAME)


def _wilcoxon(differences: NDArray[np.float64]) -> float:
    if not differences.any():
        return 1.0
    from scipy import stats

    return float(stats.wilcoxon(differences).pvalue)


def _interval(differences: NDArray[np.float64], alpha: float, resamples: int) -> tuple[float, float]:
    if len(differences) < 2:
        return float("nan"), float("nan")
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    from scipy import stats

    # Resamples are drawn in parts, which are the same as all at once but do not need gigabytes for thousands of images.
    parts = {"n_resamples": resamples, "batch": max(1, AT_ONCE // len(differences)), "rng": np.random.default_rng(0)}
    found = stats.bootstrap((differences,), np.mean, confidence_level=1 - alpha, **parts)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
