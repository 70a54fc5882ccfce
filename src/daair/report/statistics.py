"""Is one variant better than another? Paired over images, with one word for many tests.

The unit is the *image*. Restoring the same image, with the same seed, two variants differ by d(image, seed); images
differ from each other by far more than variants do, so nothing is ever compared unpaired. Seeds of one image are not
independent of each other: d is averaged over the seeds that both variants have, and each image counts once, however
many seeds there are. So n is the number of images.

What a small p then says: on images like these, the networks that were trained here differ. How much *other* seeds might
move a mean is another question, which the standard deviation over seeds answers, and `Comparison.seeds_agreeing`:
with three seeds no test could.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

SAME = 9
"""Decimals to which two differences, in dB or 1, may be the same: beyond it there is only rounding noise."""


@dataclass(frozen=True)
class Comparison:
    """A variant against the reference, in one metric on one benchmark.

    Attributes:
        delta: mean over images of the mean over seeds of (variant - reference).
        low, high: bootstrap confidence interval of `delta` (BCa, images resampled); nan for fewer than two images.
        p: two-sided Wilcoxon signed-rank test of the images' differences; 1 if all are 0, nan without images.
        images, seeds: how many were paired.
        seeds_agreeing: in how many seeds the mean difference has the sign of `delta`.
    """

    delta: float
    low: float
    high: float
    p: float
    images: int
    seeds: int
    seeds_agreeing: int


def compare(variant: pd.Series, reference: pd.Series, *, alpha: float = 0.05, resamples: int = 10_000) -> Comparison:
    """Compare two variants.

    Args:
        variant, reference: values of a metric with an index (image, seed), each pair once. Pairs that only one of them
            has, and those without a finite difference (infinite PSNR), do not count.
        alpha: the interval is of confidence 1 - alpha.
        resamples: of the bootstrap; its random numbers are fixed.
    """
    # Equal images have infinite PSNR: no difference can be told then, not even that there is none.
    with np.errstate(invalid="ignore"):
        difference = (variant - reference).replace([np.inf, -np.inf], np.nan).dropna()
    if difference.empty:
        return Comparison(*[float("nan")] * 4, images=0, seeds=0, seeds_agreeing=0)
    images = difference.groupby(level=0, observed=True).mean().round(SAME).to_numpy()
    seeds = difference.groupby(level=1, observed=True).mean().to_numpy()
    delta = float(difference.groupby(level=0, observed=True).mean().mean())
    low, high = _interval(images, alpha, resamples)
    agreeing = int((np.sign(seeds) == np.sign(delta)).sum())
    return Comparison(delta, low, high, _wilcoxon(images), len(images), len(seeds), agreeing)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction for all tests together: the k-th smallest of m p-values counts m - k + 1 times.

    Source: Holm, *A simple sequentially rejective multiple test procedure*, Scand. J. Statist. 1979. nan stays nan and
    is no test.
    """
    values = np.asarray(p, np.float64)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    values[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return values.tolist()


def _wilcoxon(differences: np.ndarray) -> float:
    if not differences.any():
        return 1.0
    from scipy import stats  # takes a second, which trainings, whose tables have no tests, need not spend

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
