"""What a finished run has yet to measure: images, protocols, metrics, redefined benchmarks, the picture to show."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from daair.cli import conf_dir
from daair.config.jobs import Composer
from daair.config.schema import Config
from daair.config.validate import benchmarks_of, validate
from daair.data.benchmarks import load_benchmark
from daair.engine.unmeasured import DEFINED, EVALUATED, lacks_measurements, note
from daair.errors import UserError
from daair.runs import samples
from daair.runs.record import Record
from daair.runs.samples import Sample


def config(*overrides: str) -> Config:
    given = [] if any(o.startswith("+benchmarks.") for o in overrides) else ["benchmarks=[demo_noise25]"]
    return validate(Composer(conf_dir()).compose([*given, *overrides]))


@pytest.fixture
def run(tmp_path: Path) -> Record:
    """A run that was measured on demo_noise25."""
    record, cfg = Record(tmp_path / "study" / "a-00000000" / "seed0"), config()
    names = [item.name for benchmark in benchmarks_of(cfg) for item in load_benchmark(benchmark, None)]
    record.folder.mkdir(parents=True)
    measured = {"benchmark": "demo_noise25", "protocol": "promptir", "width": 8, "height": 8, "tile": 0, "step": 5}
    values = dict.fromkeys(["input_psnr", "input_ssim", "psnr", "ssim"], 1.0)
    pd.DataFrame([{**measured, "image": name, **values} for name in names]).to_csv(record.results_file, index=False)
    record.update(state="done", step=5, steps=5)
    return record


def test_what_is_there_is_not_measured_again(run: Record) -> None:
    assert not lacks_measurements(config(), run)
    assert not lacks_measurements(config("benchmarks=[rain100l]", "mix.root=null"), run), "no data, nothing to measure"


@pytest.mark.parametrize(
    "more",
    [
        ["benchmarks=[demo_noise25,demo_rain]"], ["protocols=[promptir,basicsr_y]"], ["metrics=[psnr,ssim,mae]"],
        ["evaluate.shown={demo_noise25: astronaut}"],
    ],
    ids=str,
)  # fmt: skip
def test_what_is_asked_for_in_addition_is_measured(run: Record, more: list[str]) -> None:
    assert lacks_measurements(config(*more), run)


def test_rows_of_another_network_do_not_count(run: Record) -> None:
    run.update(step=6)
    assert lacks_measurements(config(), run)


def test_an_image_that_has_come_is_measured(run: Record) -> None:
    table = pd.read_csv(run.results_file)
    table[1:].to_csv(run.results_file, index=False)
    assert lacks_measurements(config(), run)


def test_a_metric_that_was_measured_is_there_also_where_it_is_not_a_number(run: Record) -> None:
    table = pd.read_csv(run.results_file).assign(
        input_mae=0.1, mae=[0.1, *[np.nan] * (len(pd.read_csv(run.results_file)) - 1)]
    )
    table.to_csv(run.results_file, index=False)
    assert not lacks_measurements(config("metrics=[psnr,ssim,mae]"), run)


def test_a_metric_whose_weights_are_missing_is_not_waited_for(run: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daair.metrics.Metric.missing", lambda self: "no weights")
    assert not lacks_measurements(config("metrics=[psnr,ssim,lpips]"), run)


def test_a_benchmark_of_ones_own_that_means_other_images_is_measured_again(run: Record, tmp_path: Path) -> None:
    run.summarise(**{DEFINED: {"demo_noise25": '{"target": "elsewhere"}', "other": "{}"}})
    assert lacks_measurements(config(), run)
    items = [item for benchmark in benchmarks_of(config()) for item in load_benchmark(benchmark, None)]
    note(run, config(), items, pd.read_csv(run.results_file), ["psnr", "ssim"])
    assert not lacks_measurements(config(), run) and run.summary()[DEFINED] == {"other": "{}"}, "once"


def test_the_picture_that_is_named_must_be_the_one_that_is_kept(run: Record) -> None:
    picture = np.zeros((8, 24, 3), np.uint8)
    for image, lacks in (("coffee", True), ("astronaut", False)):
        kept = Sample("demo_noise25", "promptir", image, samples.SHOWN, 1.0, 1.0, picture)
        samples.write(run.sample_file("demo_noise25", samples.SHOWN), kept)
        assert lacks_measurements(config("evaluate.shown={demo_noise25: astronaut}"), run) == lacks
    assert not lacks_measurements(config("evaluate.shown={demo_noise25: coffee}", "evaluate.pictures=0"), run)


def test_an_unreadable_image_is_not_waited_for_until_its_file_changes(run: Record, tmp_path: Path) -> None:
    pictures: list[Path] = []
    for name in ("clean/a.png", "clean/b.png", "input/a.png", "input/b.png"):
        pictures.append(tmp_path / name)
        pictures[-1].parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), (len(pictures), 0, 0)).save(pictures[-1])
    cfg = config(f"+benchmarks.mine={{target: {tmp_path}/clean, input: {tmp_path}/input}}")
    (benchmark,) = (one for one in benchmarks_of(cfg) if one.name == "mine")
    items = load_benchmark(benchmark, None)
    row = {"benchmark": "mine", "protocol": "promptir", "image": "a.png", "width": 8, "height": 8, "tile": 0, "step": 5}
    values = dict.fromkeys(["input_psnr", "input_ssim", "psnr", "ssim"], 1.0)
    rows = pd.DataFrame([row | values])
    rows.to_csv(run.results_file, index=False)
    assert lacks_measurements(cfg, run)
    note(run, cfg, items, rows, ["psnr", "ssim"])
    assert not lacks_measurements(cfg, run)
    pictures[-1].write_bytes(pictures[-1].read_bytes() + b" ")
    assert lacks_measurements(cfg, run), "it was repaired"


def test_a_metric_without_a_finite_value_is_not_measured_for_ever(run: Record) -> None:
    cfg = config("metrics=[psnr,ssim,mae]")
    table = pd.read_csv(run.results_file).assign(input_mae=np.nan, mae=np.nan)
    table.to_csv(run.results_file, index=False)
    assert lacks_measurements(cfg, run)
    items = [item for benchmark in benchmarks_of(cfg) for item in load_benchmark(benchmark, None)]
    note(run, cfg, items, table, cfg.metrics)
    assert not lacks_measurements(cfg, run)


def test_a_metric_counts_for_the_protocols_by_which_it_was_measured(run: Record) -> None:
    table = pd.read_csv(run.results_file)
    other = table.assign(protocol="basicsr_y", input_mae=0.1, mae=0.1)
    pd.concat([table, other]).to_csv(run.results_file, index=False)
    items = [item for benchmark in benchmarks_of(config()) for item in load_benchmark(benchmark, None)]
    note(run, config(), items, table, ["psnr", "ssim"])
    note(run, config(), items, other, ["psnr", "ssim", "mae"])
    assert not lacks_measurements(config("protocols=[basicsr_y]", "metrics=[psnr,ssim,mae]"), run)
    assert lacks_measurements(config("protocols=[promptir,basicsr_y]", "metrics=[psnr,ssim,mae]"), run)
    run.summarise(**{EVALUATED: {"demo_noise25": {"metrics": ["psnr", "ssim", "mae"]}}})
    assert not lacks_measurements(config("metrics=[psnr,ssim,mae]"), run), "an earlier version noted no protocols"


def test_a_damaged_table_is_told(run: Record) -> None:
    run.results_file.write_text("benchmark,torn")
    with pytest.raises(UserError, match="results.csv: ends within a line; remove it to measure again"):
        lacks_measurements(config(), run)


def test_a_sweep_can_ask_without_importing_torch() -> None:
    code = "import sys, daair.engine.unmeasured; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
