"""Metrics agree with the libraries whose definition they claim."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from daair.data.benchmarks import load_benchmark
from daair.metrics import PROTOCOLS

PROMPTIR = PROTOCOLS["promptir"]


@pytest.fixture(scope="module", params=["demo_noise25", "demo_haze"])
def pair(request):
    return load_benchmark(request.param)[1].pair()


def test_psnr_is_that_of_scikit_image_and_piq(pair):
    import piq
    from skimage.metrics import peak_signal_noise_ratio

    ours = PROMPTIR.psnr(*pair)
    assert ours == pytest.approx(peak_signal_noise_ratio(pair[1] / 255, pair[0] / 255, data_range=1), abs=1e-9)
    tensors = [torch.from_numpy(image / 255).permute(2, 0, 1)[None] for image in pair]
    assert ours == pytest.approx(piq.psnr(*tensors, data_range=1.0).item(), abs=1e-4)


def test_ssim_is_that_of_promptir(pair):
    """The call in PromptIR's utils/val_utils.py, in today's spelling, on float32 as there."""
    from skimage.metrics import structural_similarity

    clean, restored = (image.astype(np.float32) / 255 for image in pair[::-1])
    assert PROMPTIR.ssim(*pair) == pytest.approx(
        structural_similarity(restored, clean, data_range=1, channel_axis=-1), abs=1e-5
    )


def test_floats_are_clamped_but_not_rounded(pair):
    noisy, clean = pair
    exact = noisy / 255
    assert PROMPTIR.psnr(exact, clean) == PROMPTIR.psnr(noisy, clean)
    assert PROMPTIR.psnr(exact.astype(np.float32), clean) == pytest.approx(PROMPTIR.psnr(noisy, clean), abs=1e-5)
    finer = np.clip(exact, 0.1, 0.9) + 0.001
    rounding = dataclasses.replace(PROMPTIR, quantise=True)
    assert PROMPTIR.psnr(finer, clean) != pytest.approx(rounding.psnr(finer, clean), abs=1e-5)
    assert rounding.psnr(finer, clean) == PROMPTIR.psnr(np.rint(finer * 255).astype(np.uint8), clean)
    beyond = np.where(clean > 250, 1.5, np.where(clean < 5, -0.5, clean / 255))
    assert PROMPTIR.psnr(beyond, clean) == PROMPTIR.psnr(np.clip(beyond, 0, 1), clean)


def test_equal_images(pair):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert PROMPTIR.psnr(pair[1], pair[1]) == float("inf")
    assert PROMPTIR.ssim(pair[1], pair[1]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("size", "expected"), [((321, 481), (320, 480)), ((512, 512), (512, 512)), ((31, 47), (16, 32))]
)
def test_crop_is_central_and_to_multiples_of_16(size, expected):
    image = np.arange(size[0] * size[1] * 3).reshape(*size, 3)
    cropped = PROMPTIR.crop(image)
    assert cropped.shape == (*expected, 3)
    top, left = (size[0] % 16) // 2, (size[1] % 16) // 2
    assert np.array_equal(cropped, image[top : top + expected[0], left : left + expected[1]])


def test_misuse_is_refused():
    image = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="10x16 is smaller than the 16 pixels"):
        PROMPTIR.crop(np.zeros((16, 10, 3)))
    with pytest.raises(ValueError, match="different shapes"):
        PROMPTIR.psnr(image, image[:8])
    with pytest.raises(TypeError, match="int64"):
        PROMPTIR.psnr(image.astype(np.int64), image)
