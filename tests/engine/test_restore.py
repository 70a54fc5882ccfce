"""`daair.restore`: every kind of picture comes back as what it was, and everything else is refused in one line."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from torch import nn

import daair
from daair.errors import UserError

SIDES = st.integers(1, 40)


class Even(nn.Module):
    """A network that only takes even sides, and adds a constant."""

    def __init__(self, added: float = 0.0, needs_labels: bool = False) -> None:
        super().__init__()
        self.added = nn.Parameter(torch.tensor(added))
        self.needs_labels, self.labels = needs_labels, ["noise", "rain"]

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        assert x.dtype == torch.float32 and not self.training
        if x.shape[-1] % 2 or x.shape[-2] % 2:
            raise ValueError("odd")
        return x + self.added * (1 if labels is None else labels[:, None, None, None])


def values(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


@settings(max_examples=25)
@given(SIDES, SIDES, st.sampled_from(["uint8", ">u2", "uint16", "float16", "float32", "float64"]))
def test_arrays_of_any_size_keep_dtype_and_values(height: int, width: int, dtype: str) -> None:
    top = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    picture = (values((height, width, 3)) * top).astype(dtype)
    restored = daair.restore(Even().train(), picture)
    assert restored.dtype == picture.dtype
    np.testing.assert_allclose(restored, picture, rtol=0 if top > 1 else 1e-7)


@settings(max_examples=15)
@given(SIDES, SIDES, st.sampled_from(["RGB", "L", "RGBA"]))
def test_pil_images_keep_mode_size_and_alpha(height: int, width: int, mode: str) -> None:
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    picture = Image.fromarray((values((height, width, *channels)) * 255).astype(np.uint8))
    restored = daair.restore(Even(), picture)
    assert (restored.mode, restored.size) == (mode, picture.size)
    assert np.array_equal(np.asarray(restored), np.asarray(picture))


def test_a_photograph_is_turned_upright_and_keeps_its_profile(tmp_path: Path) -> None:
    """As it comes from a camera that was held upright; written again without the tag, it would lie on its side."""
    pixels, exif = (values((40, 60, 3)) * 255).astype(np.uint8), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif, icc_profile=b"profile")
    daair.restore(Even(), Image.open(tmp_path / "a.png")).save(tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as written:
        assert np.array_equal(np.asarray(written), np.rot90(pixels, -1)) and written.info["icc_profile"] == b"profile"
        assert ExifTags.Base.Orientation not in written.getexif()


@settings(max_examples=15)
@given(st.integers(1, 3), SIDES, SIDES, st.sampled_from([torch.bfloat16, torch.float32, torch.float64]))
def test_batches_keep_dtype_and_shape(count: int, height: int, width: int, dtype: torch.dtype) -> None:
    x = torch.from_numpy(values((count, 3, height, width))).float().to(dtype)
    restored = daair.restore(Even(), x)
    assert restored.dtype == dtype and torch.equal(restored, x)


@pytest.mark.parametrize("added", [-2.0, 2.0])
def test_results_are_clipped_to_black_and_white(added: float) -> None:
    white = float(added > 0)
    assert (daair.restore(Even(added), values((4, 5, 3))) == white).all()
    assert (daair.restore(Even(added), np.zeros((4, 5, 3), np.uint16)) == white * 65535).all()
    assert (daair.restore(Even(added), torch.rand(2, 3, 4, 5)) == white).all()


def test_kinds_agree() -> None:
    array = (values((9, 7, 3)) * 255).astype(np.uint8)
    restored = daair.restore(Even(0.25), array)
    assert np.array_equal(restored, np.rint(np.clip(array / 255 + 0.25, 0, 1) * 255))
    assert np.array_equal(restored, daair.restore(Even(0.25), Image.fromarray(array)))
    batch = torch.from_numpy(array / 255).permute(2, 0, 1)[None]
    assert np.array_equal(restored, np.rint(daair.restore(Even(0.25), batch)[0].permute(1, 2, 0).numpy() * 255))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (values((4, 4, 3)) * 255, r"picture: floating point must lie in \[0, 1\], but lies in .*; divide it by 255"),
        (values((4, 4, 3)) - 0.5, r"must lie in \[0, 1\], but lies in .*; scale or clip it"),
        (torch.full((1, 3, 4, 4), 200.0), r"lies in \[200, 200\]; divide it by 255"),
        (np.full((4, 4, 3), np.nan), "picture: has values that are not finite"),
        (values((3, 4, 4)), r"an array must be \(H, W, 3\), not \(3, 4, 4\); picture.transpose\(1, 2, 0\) turns it"),
        (values((4, 4)), r"an array must be \(H, W, 3\), not \(4, 4\)$"),
        (np.zeros((4, 4, 3), np.int64), "an array must be uint8, uint16 or floating point, not int64"),
        (np.zeros((4, 4, 3), bool), "an array must be uint8, uint16 or floating point, not bool"),
        (np.zeros((0, 4, 3)), r"picture: is empty, since its shape is \(0, 4, 3\)"),
        (torch.zeros(0, 3, 4, 4), r"picture: is empty, since its shape is \(0, 3, 4, 4\)"),
        (torch.zeros(3, 4, 4), r"a tensor must be \(B, 3, H, W\), not \(3, 4, 4\); x\[None\] makes a batch"),
        (torch.zeros(1, 4, 4, 3), r"a tensor must be \(B, 3, H, W\), not \(1, 4, 4, 3\)$"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), r"a tensor must be floating point in \[0, 1\], not torch.uint8"),
        (Image.new("P", (4, 4)), r"mode P is not RGB, L or RGBA; picture.convert\('RGB'\) changes it"),
        (Image.new("I;16", (4, 4)), "mode I;16 is not RGB"),
        ("photo.jpg", r"picture: a str is none of a PIL image, an array \(H, W, 3\) or a tensor \(B, 3, H, W\)"),
        ([values((4, 4, 3))], "picture: a list is none of"),
    ],
    ids=range(17),
)
def test_everything_else_is_refused_in_one_line(picture: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        daair.restore(Even(), picture)
    assert re.search(message, str(caught.value)) and "\n" not in str(caught.value)


def test_the_network_and_its_degradation_are_checked() -> None:
    picture = np.zeros((4, 4, 3))
    with pytest.raises(UserError, match=r"model: a str is not a network; daair.load\(path\) returns one"):
        daair.restore("runs/demo", picture)
    oracle = Even(0.5, needs_labels=True)
    with pytest.raises(UserError, match="^degradation: .* needs the degradation: one of noise, rain"):
        daair.restore(oracle, picture)
    with pytest.raises(UserError, match="^degradation: 'rian' is unknown; must be one of noise, rain"):
        daair.restore(oracle, picture, "rian")
    assert (daair.restore(oracle, picture, "rain") == 0.5).all() and (daair.restore(oracle, picture, 0) == 0).all()
