"""Paired comparison of two variants over images, and the correction for multiple tests.

The unit is the *image*. Images differ from each other by far more than variants do, so variants are compared by their
difference d(image, seed) on the same image with the same seed. Seeds of one image are not independent, so d is averaged
over the seeds that both variants have. Each image then counts once, and n is the number of images.

A small p means that the trained networks differ on images like these. It does not say how much *other* seeds would move
a mean; no test can with three seeds. The standard deviation over seeds and `Comparison.seeds_agreeing` give an
impression.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

SAME = 9
"""Decimals to which differences are rounded; further decimals are only rounding noise."""


@dataclass(frozen=True)
class Comparison:
    """A comparison of a variant with the reference, in one metric on one benchmark.

    Attributes:
        delta: Mean over images of the mean over seeds of (variant - reference).
        delta_low, delta_high: Bootstrap confidence interval of `delta` (BCa, images resampled); nan for fewer than two
            images.
        p: Two-sided Wilcoxon signed-rank test of the images' differences; 1 if all are 0, nan without images.
        seeds_agreeing: Number of seeds whose mean difference has the sign of `delta`.
        paired_images, paired_seeds: Numbers of paired images and seeds.
    """

    delta: float
    delta_low: float
    delta_high: float
    p: float
    seeds_agreeing: int
    paired_images: int
    paired_seeds: int


def compare(variant: pd.Series, reference: pd.Series, *, alpha: float = 0.05, resamples: int = 10_000) -> Comparison:
    """Compare two variants.

    Args:
        variant, reference: Values of a metric with an index (image, seed), each pair once. Pairs that only one variant
            has and differences that are not finite (infinite PSNR) are ignored.
        alpha: The interval has the confidence level 1 - alpha.
        resamples: Number of bootstrap resamples; they are drawn with a fixed seed.
    """
    # Equal images have infinite PSNR, and the difference of two infinities is undefined.
    with np.errstate(invalid="ignore"):
        difference = (variant - reference).replace([np.inf, -np.inf], np.nan).dropna()
    if difference.empty:
        return Comparison(*[float("nan")] * 4, seeds_agreeing=0, paired_images=0, paired_seeds=0)
    images = difference.groupby(level=0, observed=True).mean().round(SAME).to_numpy()
    seeds = difference.groupby(level=1, observed=True).mean().to_numpy()
    delta = float(difference.groupby(level=0, observed=True).mean().mean())
    low, high = _interval(images, alpha, resamples)
    agreeing = int((np.sign(seeds) == np.sign(delta)).sum())
    return Comparison(delta, low, high, _wilcoxon(images), agreeing, len(images), len(seeds))


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


def _wilcoxon(differences: np.ndarray) -> float:
    if not differences.any():
        return 1.0
    from scipy import stats  # importing it takes a second

    return float(stats.wilcoxon(differences).pvalue)


def _interval(differences: np.ndarray, alpha: float, resamples: int) -> tuple[float, float]:
    if len(differences) < 2:
        return float("nan"), float("nan")
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    from scipy import stats

    rng = np.random.default_rng(0)
    found = stats.bootstrap((differences,), np.mean, confidence_level=1 - alpha, n_resamples=resamples, rng=rng)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
