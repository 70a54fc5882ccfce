"""Pictures method beside method: one image of every variant, its errors, and the squares that an author places."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import studies
from matplotlib.figure import Figure
from PIL import Image

from daair.report import figures
from daair.report import frame as collate
from daair.report.figures import methods, style
from daair.runs import samples
from daair.runs.record import Record


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return studies.make_study(tmp_path, seeds=[0, 1])


def data_of(runs: Path) -> figures.FigureData:
    return figures.figure_data(collate.frame(runs, "rank"), runs, ["experts.rank"])


def sample_file(runs: Path, rank: int, seed: int = 0, benchmark: str = "demo_rain") -> Path:
    return Record(runs / "rank" / f"rank{rank}-{rank:08x}" / f"seed{seed}").sample_file(benchmark, samples.SHOWN)


def titles(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    kept: dict[str, Figure] = {}

    def save(figure: Figure, folder: Path, name: str, caption: str, marks: Sequence = (), dpi=None) -> style.Drawn:
        kept[name] = figure
        return style.Drawn(name, caption, (folder / f"{name}.pdf",))

    monkeypatch.setattr(style, "save", save)
    return kept


def test_every_variant_stands_beside_the_input_and_the_clean_image(runs: Path, made: dict, tmp_path: Path) -> None:
    noise, rain = methods.draw_methods(data_of(runs), tmp_path)
    assert [noise.name, rain.name] == ["methods_demo_noise25", "methods_demo_rain"]
    words = titles(made["methods_demo_rain"])
    assert words[0] == "input\n20.00 dB" and "clean" in words
    assert [word.partition("\n")[0] for word in words if word.startswith("rank")] == ["rank 2", "rank 4", "rank 8"]
    row = studies.pd.read_csv(sample_file(runs, 4).parents[2] / "results.csv").query("benchmark == 'demo_rain'").iloc[0]
    assert f"rank 4\n{row['psnr']:.2f} dB" in words, "the figure is that of the whole image"
    assert "0.png of demo_rain" in rain.caption and "Seed 0." in rain.caption and "enlarged" not in rain.caption
    images = made["methods_demo_rain"].axes[0].images
    assert len(images) == 2 * 5, "five pictures, four differences, and the scale"


def test_a_benchmark_of_any_name_has_files(tmp_path: Path, made: dict) -> None:
    studies.make_run(tmp_path, "a-00000001", 0, {"experts.rank": 4}, 3, benchmarks=["mine/of mine"])
    (drawn,) = methods.draw_methods(data_of(tmp_path), tmp_path)
    assert drawn.files and "/" not in drawn.name


def test_differences_are_those_of_the_pictures_on_one_scale(runs: Path, tmp_path: Path) -> None:
    kept = methods._kept(data_of(runs), "demo_rain")
    before, *restored = kept.errors
    strip = samples.read(sample_file(runs, 2)).strip.astype(float)
    np.testing.assert_allclose(before, np.abs(strip[:, :64] - strip[:, 128:]).mean(axis=2))
    means = [error.mean() for error in (before, *restored)]
    assert means == sorted(means, reverse=True), "a larger rank leaves less noise in this study"
    assert kept.largest == pytest.approx(np.percentile(restored, 99.5)) and kept.largest < before.max()


def test_a_square_is_that_of_the_whole_image(runs: Path, made: dict, tmp_path: Path) -> None:
    crops = {"demo_rain": [(30, 25, 16), (10, 20, 8)]}  # of the whole image, whose kept part begins at 10, 20
    _, rain = methods.draw_methods(data_of(runs), tmp_path, crops)
    assert "and the framed squares enlarged." in rain.caption
    axes = made["methods_demo_rain"].axes[0]
    assert len(axes.images) == 2 * 5 + 2 * 5 and len(axes.patches) == 2 * 2 * 5
    clean = samples.read(sample_file(runs, 2)).pictures[2]
    (enlarged,) = (image for image in axes.images[-2:-1])  # of the clean image, which is the last, the first square
    found = Image.fromarray(np.asarray(enlarged.get_array())).resize((16, 16), Image.Resampling.BOX)
    np.testing.assert_allclose(np.asarray(found, int), clean[5:21, 20:36], atol=24)
    assert np.abs(np.asarray(found, int) - clean[5:21, 20:36]).mean() < 3


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((9, 20, 8), "crops.demo_rain: [9, 20, 8] is not within the picture that runs keep of 0.png, x from 10 to 74"),
        ((60, 30, 16), "and y from 20 to 68; task=evaluate checkpoint=RUN evaluate.pictures=... keeps more of it"),
    ],
)
def test_a_square_that_is_not_there_is_told_and_leaves_the_other_figures(
    runs: Path, made: dict, tmp_path: Path, box: tuple, words: str
) -> None:
    noise, rain = methods.draw_methods(data_of(runs), tmp_path, {"demo_rain": [box], "left_out": [box]})
    assert words in rain.reason and noise.files and not rain.files


def test_the_psnr_is_that_of_the_protocol_in_the_table(runs: Path, made: dict, tmp_path: Path) -> None:
    file = sample_file(runs, 4)
    samples.write(file, replace(samples.read(file), psnr=1.0, input_psnr=2.0, protocol="basicsr_y"))
    list(methods.draw_methods(data_of(runs), tmp_path))
    assert not [word for word in titles(made["methods_demo_rain"]) if "\n1.00" in word or "\n2.00" in word]


def test_a_variant_with_another_picture_is_left_out_and_named(runs: Path, made: dict, tmp_path: Path) -> None:
    file = sample_file(runs, 4)
    samples.write(file, replace(samples.read(file), image="1.png"))
    other = samples.read(sample_file(runs, 8))
    strip = other.strip.copy()
    strip[0, 0] ^= 1  # another noise
    samples.write(sample_file(runs, 8, benchmark="demo_noise25"), replace(other, benchmark="demo_noise25", strip=strip))
    noise, rain = methods.draw_methods(data_of(runs), tmp_path)
    assert "Without rank 4, which kept another image or another input." in rain.caption
    assert "Without rank 8," in noise.caption
    assert not [word for word in titles(made["methods_demo_rain"]) if word.startswith("rank 4")]


def test_runs_without_pictures_are_told_how_to_get_them(runs: Path, made: dict, tmp_path: Path) -> None:
    for rank in (2, 4, 8):
        for seed in (0, 1):
            sample_file(runs, rank, seed).unlink()
    sample_file(runs, 2, 0, "demo_noise25").write_bytes(b"torn")
    noise, reason = methods.draw_methods(data_of(runs), tmp_path)
    assert noise.caption.count("Seed 0 and 1."), "the next seed has a picture"
    assert str(reason).startswith(
        "methods: no run has kept a picture of demo_rain; measure them again with evaluate.shown"
    )


@pytest.mark.parametrize("variants", [1, 5, 9])
def test_many_variants_go_into_lines(tmp_path: Path, made: dict, variants: int) -> None:
    ranks = range(1, variants + 1)
    runs = studies.make_study(tmp_path, seeds=[0], ranks=list(ranks))
    list(methods.draw_methods(data_of(runs), tmp_path, {"demo_rain": [(20, 30, 16)]}))
    figure = made["methods_demo_rain"]
    pictures = variants + 2
    width, height = figure.get_size_inches()
    assert width <= style.PAGE + 0.01 and height < 9
    axes = figure.axes[0]
    assert len(axes.images) == 3 * pictures
    boxes = np.array([image.get_extent() for image in axes.images])
    assert boxes[:, [0, 3]].min() >= 0 and boxes[:, 1].max() <= width and boxes[:, 2].max() <= height
