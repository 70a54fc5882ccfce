"""Paired comparison of two variants over images, and the correction for many tests.

The unit is the *image*. Restoring the same image, with the same seed, two variants differ by d(image, seed); images
differ from each other by far more than variants do, so nothing is ever compared unpaired. Seeds of one image are not
independent of each other: d is averaged over the seeds that both variants have, and each image counts once, however
many seeds there are. So n is the number of images.

A small p then means that the networks which were trained here differ on images like these. How much *other* seeds might
move a mean is another question. No test can answer it with three seeds; the standard deviation over seeds and
`Comparison.seeds_agreeing` give an impression.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

SAME = 9
"""Decimals of a difference that count; beyond them there is only rounding noise."""


@dataclass(frozen=True)
class Comparison:
    """A variant against the reference, in one metric on one benchmark.

    Attributes:
        delta: Mean over images of the mean over seeds of (variant - reference).
        delta_low, delta_high: Bootstrap confidence interval of `delta` (BCa, images resampled); nan for fewer than two
            images.
        p: Two-sided Wilcoxon signed-rank test of the images' differences; 1 if all are 0, nan without images.
        seeds_agreeing: In how many seeds the mean difference has the sign of `delta`.
        paired_images, paired_seeds: How many were paired.
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
        variant, reference: Values of a metric with an index (image, seed), each pair once. Pairs that only one of them
            has, and those without a finite difference (infinite PSNR), do not count.
        alpha: The interval has the confidence 1 - alpha.
        resamples: Of the bootstrap; its random numbers are fixed.
    """
    # Equal images have infinite PSNR, between which there is no difference, not even zero.
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

    Source: Holm, *A simple sequentially rejective multiple test procedure*, Scand. J. Statist. 1979. nan stays nan and
    does not count as a test.
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
