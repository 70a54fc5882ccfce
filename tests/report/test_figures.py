"""Figures of hand-made studies: which are drawn, which are not and why, and that they show the right numbers."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import studies
from helpers import ROOT
from matplotlib.figure import Figure
from PIL import Image
from synthetic import runs_of_variants

from daair.report import figures
from daair.report import frame as collate
from daair.report.figures import before_after, curves, data, routing, scores, style
from daair.report.names import read_names

PICTURES = {"before_after", "methods_demo_noise25", "methods_demo_rain"}
DRAWN = {"psnr_against_rank", "psnr_against_cost", "gain", "curves"} | PICTURES


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return studies.make_study(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def study(runs: Path):
    return figures.figure_data(collate.frame(runs, "rank"), runs, ["experts.rank"])


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Figures by name, instead of files."""
    made: dict[str, Figure] = {}

    def save(figure: Figure, folder: Path, name: str, caption: str, marks: Sequence[style.Mark] = (), dpi=None):
        made[name] = figure
        spots = tuple(style.Spot(mark.x, mark.y, mark.variant, mark.text) for mark in marks)
        return style.Drawn(name, caption, (folder / f"{name}.pdf",), spots=spots)

    monkeypatch.setattr(style, "save", save)
    return made


def test_by_default_what_answers_the_question_is_drawn(study, kept: dict, tmp_path: Path) -> None:
    drawn = figures.draw(study, tmp_path, ["psnr", "ssim"])
    assert [one.name for one in drawn] == [
        "psnr_against_rank", "psnr_against_cost", "gain", "curves", "routing_rank-8", "before_after",
        "methods_demo_noise25", "methods_demo_rain",
    ]  # fmt: skip
    other = figures.draw(replace(study, reference="rank4-00000004"), tmp_path)
    assert [one.name for one in other if one.name.startswith("routing")] == ["routing_rank-4", "routing_rank-8"]
    everything = {one.name for one in figures.draw(study, tmp_path, ["psnr", "ssim"], "all")}
    more = {"ssim_against_rank", "ssim_against_cost", "routing_rank-2", "routing_rank-4", "routing_rank-8"}
    assert everything == DRAWN | more


def test_values_that_are_not_finite_are_in_no_mean_and_lead_nothing(study, kept: dict, tmp_path: Path) -> None:
    images = study.images.copy()
    images["psnr"] = images["psnr"].astype(float)
    best = images.index[images["run"].astype(str).str.startswith("rank/rank8")]
    images.loc[best[0], ["psnr", "gain"]] = np.inf
    images.loc[best[1], ["psnr", "gain"]] = np.nan
    broken = replace(study, images=images)
    assert np.isfinite(broken.means["psnr"]).all() and study.best() == "rank8-00000008"
    assert broken.best() == "rank4-00000004" and broken.few() == list(study.names)
    drawn = scores.draw_against(broken, "experts.rank", "psnr", tmp_path)
    assert drawn.caption.endswith(" Without 2 values not finite.")
    assert len(drawn.spots) == 9 and "inf" not in "".join(spot.text for spot in drawn.spots)
    assert "not finite" not in scores.draw_against(study, "experts.rank", "psnr", tmp_path).caption


def test_points_say_which_runs_they_show(study, kept: dict, tmp_path: Path) -> None:
    spots = scores.draw_against(study, "experts.rank", "psnr", tmp_path).spots
    assert len(spots) == 9 and spots[0].variant == "rank2-00000002" and spots[0].left == 2
    assert spots[0].text == "rank 2 (seed 0, 1, 2): PSNR 25.60 ± 0.10 dB"
    assert len(scores.draw_cost(study, "psnr", tmp_path).spots) == 6
    bars = {spot.text.partition(" (")[0] for spot in scores.draw_gain(study, tmp_path).spots}
    assert bars == set(study.names.values())


def test_spots_lie_on_their_points(tmp_path: Path) -> None:
    with style.styled():
        figure, (axes,) = style.panels(1, per_row=1, height=2)
        axes.plot([1, 4], [10, 30])
        axes.set_xscale("log")
        drawn = style.save(figure, tmp_path, "line", "A line.", [style.Mark(axes, 4, 30, "a", "last")])
    (spot,) = drawn.spots
    ink = np.asarray(Image.open(drawn.files[1]).convert("HSV"))[..., 1] > 100  # the only colour is the line's
    top, right = np.argwhere(ink.any(axis=1))[0, 0], np.argwhere(ink.any(axis=0))[-1, 0]
    assert spot.top == pytest.approx(top / ink.shape[0], abs=0.02)
    assert spot.left == pytest.approx(right / ink.shape[1], abs=0.02)


def test_everything_that_the_data_supports_is_drawn_and_the_rest_is_named(tmp_path: Path) -> None:
    runs = studies.make_study(tmp_path / "runs", seeds=[0, 1], ranks=[2, 4])
    tmp_path = tmp_path / "figures"
    drawn = figures.draw(figures.figure_data(collate.frame(runs, "rank"), runs), tmp_path, ["psnr", "lpips"], "all")
    made = {one.name for one in drawn if one.files}
    assert made == DRAWN | {"routing_rank-2", "routing_rank-4"}
    reasons = {one.name: one.reason for one in drawn if not one.files}
    assert set(reasons) == {"lpips_against_rank", "lpips_against_cost"}
    assert set(reasons.values()) == {"no run was measured with lpips"}
    assert {file.name for file in tmp_path.iterdir()} == {f"{name}{end}" for name in made for end in (".pdf", ".png")}
    assert all(one.caption.endswith(".") and "  " not in one.caption for one in drawn if one.files)


def test_sizes_fit_a_two_column_paper_and_text_stays_text(study, tmp_path: Path) -> None:
    with style.styled():
        pdf, png = scores.draw_cost(study, "psnr", tmp_path).files
        again = scores.draw_cost(study, "psnr", tmp_path / "again").files[0]
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+)", pdf.read_bytes())
    assert float(box[1]) / 72 in (pytest.approx(style.COLUMN, abs=0.01), pytest.approx(style.PAGE, abs=0.01))
    assert Image.open(png).info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert b"/Type3" not in pdf.read_bytes() and b"/CIDFontType2" in pdf.read_bytes()
    assert again.read_bytes() == pdf.read_bytes()


def test_benchmarks_have_the_headings_of_the_table(study, kept: dict, tmp_path: Path) -> None:
    headings = read_names(ROOT / "conf" / "reference" / "names.yaml", {"demo_rain": "rain"})
    named = replace(study, headings=headings)
    scores.draw_against(named, "experts.rank", "psnr", tmp_path)
    titles = [axis.get_title() for axis in kept["psnr_against_rank"].axes]
    assert titles == ["demo σ=25", "rain", "average"]
    scores.draw_gain(named, tmp_path)
    labels = [text.get_text() for text in kept["gain"].axes[0].get_xticklabels()]
    assert labels == ["demo σ=25", "rain"]
    before_after.draw_before_after(named, tmp_path)
    beside = [text.get_text() for axis in kept["before_after"].axes for text in axis.texts]
    assert {"rain", "demo σ=25", "largest gain", "smallest gain"} <= set(beside)


def test_metric_against_rank_shows_means_and_standard_deviations(study, kept: dict, tmp_path: Path) -> None:
    drawn = scores.draw_against(study, "experts.rank", "psnr", tmp_path)
    noise, rain, average = kept["psnr_against_rank"].axes
    (bars,) = noise.containers
    points, _, (spread,) = bars.lines
    assert list(points.get_xdata()) == [2, 4, 8]
    # Inputs of 20 to 23 dB, gains of 3 + log2(rank) and 0.1 dB for each of the seeds 0, 1, 2.
    expected = [21.5 + 3 + np.log2(rank) + 0.1 for rank in (2, 4, 8)]
    assert list(points.get_ydata()) == pytest.approx(expected)
    heights = [segment[1, 1] - segment[0, 1] for segment in spread.get_segments()]
    np.testing.assert_allclose(heights, 2 * 0.1)
    assert (noise.get_title(), average.get_title()) == ("demo_noise25", "average")
    assert noise.get_xlabel() == "rank of the experts (first level)" and noise.get_ylabel() == "PSNR / dB"
    assert list(average.containers[0].lines[0].get_ydata()) == pytest.approx([psnr + 0.5 for psnr in expected])
    assert "3 seeds; protocol promptir" in drawn.caption


def test_one_seed_has_no_error_bars(tmp_path: Path, kept: dict) -> None:
    studies.make_study(tmp_path, seeds=[0])
    study = figures.figure_data(collate.frame(tmp_path, "rank"), tmp_path)
    drawn = scores.draw_cost(study, "psnr", tmp_path)
    _, axis = kept["psnr_against_cost"].axes
    assert len(axis.containers) == 3 and not any(bars.has_yerr for bars in axis.containers)
    assert "one seed, so no spread is known" in drawn.caption and axis.get_xlabel() == "MACs of a 224 x 224 image / G"


def test_a_variant_looks_alike_in_all_panels_and_the_front_leaves_out_what_is_worse(tmp_path: Path, kept: dict) -> None:
    for rank, gain, macs in ((1, 3.0, None), (2, 5.0, 2e9), (4, 4.0, 3e9), (8, 6.0, 4e9)):
        record = studies.make_run(
            tmp_path, f"r{rank}-0000000{rank}", 0, {"experts.rank": rank}, gain=gain, pictures=False
        )
        record.summarise(parameters=100_000 * rank, macs=macs)
    study = figures.figure_data(collate.frame(tmp_path, "rank"), tmp_path, ["experts.rank"])
    scores.draw_cost(study, "psnr", tmp_path)
    parameters, macs = kept["psnr_against_cost"].axes
    looks = [{bars.get_label(): bars.lines[0].get_color() for bars in axis.containers} for axis in (parameters, macs)]
    assert len(set(looks[0].values())) == 4 and looks[1] == {k: v for k, v in looks[0].items() if k != "rank 1"}
    front = next(line for line in macs.lines if line.get_drawstyle() == "steps-post").get_ydata()
    assert len(front) == 3 and front[0] == front[1] < front[2]


def test_what_differs_besides_makes_lines_of_its_own(tmp_path: Path, kept: dict) -> None:
    for count, rank in ((1, 4), (2, 4), (4, 4), (2, 8)):
        keys = {"experts.count": count, "experts.rank": rank}
        studies.make_run(tmp_path, f"n-{count}{rank}abcdef", 0, keys, gain=3, pictures=False)
    study = figures.figure_data(collate.frame(tmp_path, "rank"), tmp_path)
    assert scores.swept(study) == ["experts.count", "experts.rank"]
    scores.draw_against(study, "experts.count", "psnr", tmp_path)
    bars = {bars.get_label(): bars for bars in kept["psnr_against_experts"].axes[0].containers}
    assert list(bars) == ["rank 4", "rank 8"]
    assert list(bars["rank 4"].lines[0].get_xdata()) == [1, 2, 4] and list(bars["rank 8"].lines[0].get_xdata()) == [2]


def test_keys_that_only_differ_together_are_not_drawn_alone(tmp_path: Path, kept: dict) -> None:
    for count, rank in ((1, 4), (2, 8)):
        studies.make_run(tmp_path, f"n-{count}{rank}abcdef", 0, {"experts.count": count, "experts.rank": rank}, gain=3)
    study = figures.figure_data(collate.frame(tmp_path, "rank"), tmp_path)
    drawn = scores.draw_against(study, "experts.count", "psnr", tmp_path)
    assert drawn.reason == "no two variants differ in experts.count alone" and not kept


def test_a_run_that_misses_a_benchmark_has_no_average(tmp_path: Path) -> None:
    studies.make_run(tmp_path, "a-00000001", 0, {"experts.rank": 1}, gain=3)
    studies.make_run(tmp_path, "b-00000002", 0, {"experts.rank": 2}, gain=5, benchmarks=["demo_noise25"])
    study = figures.figure_data(collate.frame(tmp_path, "rank"), tmp_path)
    assert list(study.averages("psnr").index) == [("a-00000001", 0)] and study.best() == "a-00000001"


def test_gain_bars(study, kept: dict, tmp_path: Path) -> None:
    scores.draw_gain(study, tmp_path)
    (axis,) = kept["gain"].axes
    bars = [bar for container in axis.containers if hasattr(container, "patches") for bar in container.patches]
    expected = [3 + np.log2(rank) + 0.1 + benchmark for rank in (2, 4, 8) for benchmark in (0, 1)]
    np.testing.assert_allclose([bar.get_height() for bar in bars], expected)
    assert axis.get_ylabel() == "PSNR gain / dB"


def test_curves_are_the_mean_and_the_range_of_the_seeds(study, kept: dict, tmp_path: Path) -> None:
    curves.draw_curves(study, tmp_path)
    loss, psnr = kept["curves"].axes
    assert loss.get_yscale() == "log" and psnr.get_ylabel() == "validation PSNR / dB" and psnr.get_xlabel() == "updates"
    values = pd.DataFrame({
        run: {line["step"]: line["val/psnr"] for line in study.metrics(run) if "val/psnr" in line}
        for run in study.runs_of("rank2-00000002")["run"]
    })  # fmt: skip
    np.testing.assert_allclose(psnr.lines[0].get_ydata(), values.mean(axis=1))
    band = psnr.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(values.min(axis=1).min()) and band.max() == pytest.approx(values.max().max())


def test_long_curves_are_averaged_in_parts() -> None:
    lines = [{"step": step, "train/loss": float(step)} for step in range(1, 1001)]
    band = curves._band([lines], "train/loss")
    assert len(band) == curves.POINTS and band["mean"].mean() == pytest.approx(500.5, abs=5)
    np.testing.assert_allclose(band.index, band["mean"])


def test_routing_shows_the_last_matrix_of_each_learner(study, kept: dict, tmp_path: Path) -> None:
    drawn = list(routing.draw_routing(study, tmp_path, study.few()))
    assert [one.name for one in drawn] == ["routing_rank-2", "routing_rank-4", "routing_rank-8"]
    lines = study.metrics("rank/rank2-00000002/seed0")
    shares = np.array(lines[-1]["routing/utilisation"]["learners"])
    *panels, _ = kept["routing_rank-2"].axes
    for axis, share in zip(panels, shares, strict=True):
        np.testing.assert_allclose(axis.images[0].get_array(), share)
    titles = [axis.get_title().partition(":")[0] for axis in panels]
    assert titles == ["encoder 1", "encoder 2.1", "encoder 2.2", "decoder 1"]
    assert [text.get_text() for text in panels[-1].get_xticklabels()] == list(studies.LABELS)
    assert re.search(r"NMI 0\.\d\d", panels[0].get_title()) and "(3 seeds)" in drawn[0].caption


def test_networks_without_experts_have_no_routing(tmp_path: Path) -> None:
    studies.make_run(tmp_path, "a-00000001", 0, {"experts.count": 0}, gain=3, routed=False, pictures=False)
    study = figures.figure_data(collate.frame(tmp_path, "rank"), tmp_path)
    (drawn,) = routing.draw_routing(study, tmp_path, study.few())
    assert drawn.reason.startswith("no run has logged a routing matrix")
    assert "evaluate.pictures" in before_after.draw_before_after(study, tmp_path).reason


def test_pictures_are_of_the_reference_or_the_best(runs: Path, study, kept: dict, tmp_path: Path) -> None:
    assert "rank 8, seed 0" in before_after.draw_before_after(study, tmp_path).caption
    other = figures.figure_data(collate.frame(runs, "rank"), runs, ["experts.rank"], reference="rank4-00000004")
    assert "rank 4, seed 0" in before_after.draw_before_after(other, tmp_path).caption
    (axes,) = kept["before_after"].axes
    titles = [text.get_text() for text in axes.texts if text.get_text().split()[0] in ("input", "restored", "clean")]
    assert len(titles) == len(axes.images) == 12 and titles[0] == "input 23.00 dB" and titles[3] == "input 20.00 dB"


def test_many_variants_show_the_best_and_the_reference(tmp_path: Path, kept: dict) -> None:
    for rank in range(1, 12):
        keys = {"experts.rank": rank}
        studies.make_run(tmp_path, f"r{rank}-{rank:08d}", 0, keys, gain=float(rank), images=2, pictures=False)
    study = figures.figure_data(collate.frame(tmp_path, "rank"), tmp_path, reference="r1-00000001")
    assert [study.names[variant] for variant in study.few()] == ["rank 1", *(f"rank {i}" for i in range(4, 12))]
    assert "9 of 11 variants" in scores.draw_gain(study, tmp_path).caption
    assert len(kept["gain"].axes[0].get_legend_handles_labels()[1]) == 9


def test_captions_say_which_variants_are_shown(tmp_path: Path, kept: dict) -> None:
    for rank in range(1, 13):
        keys = {"experts.rank": rank}
        record = studies.make_run(tmp_path, f"r{rank}-{rank:08d}", 0, keys, gain=float(rank), pictures=False)
        if rank > 5:
            record.results_file.unlink()
    study = figures.figure_data(collate.frame(tmp_path, "rank"), tmp_path)
    assert [study.names[variant] for variant in study.few()] == [f"rank {i}" for i in range(1, 6)]
    caption = scores.draw_gain(study, tmp_path).caption
    assert caption.endswith(" Shown: those with results on all benchmarks, 5 of 12 variants.")


def test_what_a_table_does_not_average_no_figure_does(tmp_path: Path, kept: dict) -> None:
    both = ["cbsd68_sigma25", "cbsd68_awgn25"]
    for rank in (4, 8):
        studies.make_run(tmp_path, f"r{rank}-{rank:08d}", 0, {"experts.rank": rank}, gain=float(rank), benchmarks=both)
    study = figures.figure_data(collate.frame(tmp_path, "rank"), tmp_path)
    scores.draw_against(study, "experts.rank", "psnr", tmp_path)
    assert [axis.get_title() for axis in kept["psnr_against_rank"].axes] == both
    reason = scores.draw_cost(study, "psnr", tmp_path).reason
    assert reason == "cbsd68_sigma25 and cbsd68_awgn25 are not comparable and have no average"
    assert study.best() is None and study.few() == list(study.names) and study.leading() == study.few()[:1]


def test_networks_that_were_only_evaluated_are_on_no_line(tmp_path: Path, kept: dict) -> None:
    for rank in (2, 4, 8):
        keys = {"experts.rank": rank}
        record = studies.make_run(tmp_path, f"r{rank}-{rank:08d}", 0, keys, gain=float(rank), pictures=False)
    record.summarise(origin="published weights", weights_file="a.ckpt", weights_digest="ab" * 32)
    record.folder.rename(record.folder.with_name("weights"))
    study = figures.figure_data(collate.frame(tmp_path, "rank"), tmp_path)
    spots = scores.draw_against(study, "experts.rank", "psnr", tmp_path).spots
    assert {spot.variant for spot in spots} == {"r2-00000002", "r4-00000004"}


def test_figures_are_of_one_protocol_for_each_benchmark() -> None:
    pairs = [("a", "x"), ("a", "y"), ("a", "y"), ("b", "x"), ("b", "y")]
    images = pd.DataFrame(pairs, columns=["benchmark", "protocol"]).astype("category")
    assert list(data.one_protocol(images).itertuples(index=False, name=None)) == [pairs[1], pairs[2], pairs[3]]
    assert list(data.one_protocol(images, ["x"]).index) == [0, 3]


def test_names_are_short_readable_and_unique() -> None:
    runs = runs_of_variants(
        router=["top1"] * 2 + ["soft"] * 4,
        **{"experts.rank": [4.0] * 2 + [8.0] * 4, "experts.agnostic": [True] * 2 + [False] * 4, "a.rank": [1] * 6},
    )
    first, second, third = data.variant_names(runs, ["router", "experts.rank", "experts.agnostic"]).values()
    assert first == "top1, rank 4, agnostic yes"
    assert second == "soft, rank 8, agnostic no (00000001)" and third == second.replace("1)", "2)")
    assert next(iter(data.variant_names(runs, ["experts.rank", "a.rank"]).values())) == "experts.rank 4, a.rank 1"
    assert list(data.variant_names(runs.head(2), []).values()) == ["tiny"]
