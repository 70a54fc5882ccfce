"""Metrics agree with the libraries whose definition they claim."""

import dataclasses
import warnings
from functools import partial

import numpy as np
import pytest
import torch

from daair.data.benchmarks import load_benchmark
from daair.metrics.protocols import PROTOCOLS, RGB_TO_Y

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


def photographs() -> dict[str, np.ndarray]:
    """Of several sizes: smaller and larger than 512 pixels, of odd sides, uint8 RGB."""
    from skimage import data

    return {
        "chelsea 451x300": data.chelsea(),
        "coffee, odd": data.coffee()[7:340, 11:528],
        "astronaut 512x512": data.astronaut(),
        "hubble, larger": data.hubble_deep_field()[:611, :701],
    }


@pytest.fixture(scope="module", params=photographs())
def degraded(request) -> tuple[np.ndarray, np.ndarray]:
    """Floats that are not on the grid of 8 bits, some beyond [0, 1], as a network returns them; and the photograph."""
    clean = photographs()[request.param]
    rng = np.random.default_rng(0)
    smooth = 0.9 * clean / 255 + 0.1 * np.roll(clean, 1, axis=1) / 255
    return (smooth + rng.normal(0, 0.04, clean.shape)).astype(np.float32), clean


LIBRARY = {
    # PromptIR's utils/val_utils.py, MoCE-IR's src/test.py, and BasicSR's calculate_ssim, each in scikit-image's words
    "promptir": {},
    "moceir": {"gaussian_weights": True},
    "moceir_whole": {"gaussian_weights": True},
    "basicsr_rgb": {"gaussian_weights": True, "use_sample_covariance": False},
    "basicsr_y": {"gaussian_weights": True, "use_sample_covariance": False},
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_that_of_scikit_image_on_photographs(name, degraded):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    protocol = PROTOCOLS[name]
    restored, clean = (protocol.crop(image) for image in degraded)
    multiple = 16 if name in ("promptir", "moceir") else 1
    assert restored.shape[:2] == tuple(side // multiple * multiple for side in degraded[0].shape[:2])
    x, y = np.clip(restored.astype(np.float64), 0, 1), clean / 255
    if name.startswith("basicsr"):
        x = np.round(x * 255) / 255
    if name == "basicsr_y":  # MATLAB's rgb2ycbcr in grey levels: Y = 16 + 65.481 R + 128.553 G + 24.966 B, R in [0, 1]
        x, y = ((16 + image @ np.array([65.481, 128.553, 24.966]))[..., None] / 255 for image in (x, y))
    psnr, ssim = protocol.psnr(restored, clean), protocol.ssim(restored, clean)
    assert psnr == pytest.approx(peak_signal_noise_ratio(y, x, data_range=1), abs=1e-4)
    expected = structural_similarity(x, y, data_range=1, channel_axis=-1, **LIBRARY[name])
    assert ssim == pytest.approx(expected, abs=1e-4)
    assert 20 < psnr < 40 and 0.2 < ssim < 1


def test_ssim_of_basicsr_is_piqs_without_its_downsampling():
    """On an image that piq's default would halve, and in float32: its convolutions are slow in anything else."""
    import piq

    clean = photographs()["hubble, larger"][:500, :420]
    restored = np.clip(clean / 255 + np.random.default_rng(0).normal(0, 0.1, clean.shape), 0, 1)
    shown = [PROTOCOLS["basicsr_rgb"].displayed(image) for image in (restored, clean)]
    tensors = [torch.from_numpy(np.float32(image)).permute(2, 0, 1)[None].contiguous() for image in shown]
    ours, theirs = PROTOCOLS["basicsr_rgb"].ssim(*shown), partial(piq.ssim, *tensors, data_range=1.0)
    assert ours == pytest.approx(theirs(downsample=False).item(), abs=1e-4)
    assert abs(ours - theirs().item()) > 0.1


def test_protocols_differ_where_papers_do(degraded):
    """Else a table could name the wrong one and nobody would see it."""
    ssim = {name: round(p.ssim(p.crop(degraded[0]), p.crop(degraded[1])), 4) for name, p in PROTOCOLS.items()}
    assert len({ssim["promptir"], ssim["basicsr_rgb"], ssim["basicsr_y"]}) == 3


def test_the_luma_is_matlabs():
    """rgb2ycbcr of white, black and the primaries, as MATLAB prints it for 8 bits."""
    colours = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    luma = np.rint(255 * (colours / 255 @ RGB_TO_Y + 16 / 255)).astype(int)
    assert luma.tolist() == [235, 16, 81, 145, 41]


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


def test_inputs_are_measured_as_the_network_gets_them(pair):
    beyond = pair[1] / 255 + np.random.default_rng(0).normal(0, 0.3, pair[1].shape)
    error = beyond - pair[1] / 255
    for name in ("promptir", "basicsr_rgb"):
        psnr = PROTOCOLS[name].of_inputs.psnr(beyond, pair[1])
        assert psnr == pytest.approx(-10 * np.log10(np.mean(error**2)), abs=1e-9)
        assert psnr < PROTOCOLS[name].psnr(beyond, pair[1])
    for protocol in PROTOCOLS.values():
        assert protocol.of_inputs.psnr(*pair) == protocol.psnr(*pair)
        assert protocol.of_inputs.ssim(*pair) == protocol.ssim(*pair)


GOLDEN = {
    "promptir": (20.227127222666436, 0.3128128270793287, 20.962110787978354, 0.33530336037041913),
    "moceir": (20.227127222666436, 0.28218676922553293, 20.962110787978354, 0.3048097477814782),
    "basicsr_rgb": (20.227151241143538, 0.27889406720650006, 20.96206794549037, 0.30156272006254237),
    "basicsr_y": (25.020751439133665, 0.45849737845370947, 25.71710630218299, 0.4904101791931498),
}
"""PSNR and SSIM of an 8-bit input and of floats made from it, before inputs of more than 8 bits were known here."""


@pytest.mark.parametrize("name", GOLDEN)
def test_figures_of_8_bit_images_stay_what_they_were(name):
    protocol = PROTOCOLS[name]
    degraded, clean = load_benchmark("demo_noise25")[1].pair(protocol)
    restored = (degraded / np.float32(255) * np.float32(0.9) + np.float32(0.05)).astype(np.float32)
    figures = [measure(image, clean) for image in (degraded, restored) for measure in (protocol.psnr, protocol.ssim)]
    assert figures == pytest.approx(GOLDEN[name], abs=1e-10)


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
