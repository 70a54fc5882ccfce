"""Evaluation: rows per image, the same from one process and from two, of our networks and of foreign ones."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import ROOT, run, run_ranks
from PIL import Image
from torch import nn

import daair
from daair import checkpoint
from daair.data.degradations import noise
from daair.data.keyed import keyed_rng
from daair.engine.evaluate import summary_values
from daair.errors import UserError
from daair.metrics import PROTOCOLS
from daair.runs import samples
from daair.tasks.evaluate import rows_folder

MODEL = {
    "_target_": "daair.models.daair.DaAIR",
    "channels": 8,
    "encoder_blocks": [1, 1, 1, 1],
    "decoder_blocks": [1, 1, 1],
    "heads": [1, 1, 2, 2],
    "experts": {"_target_": "daair.models.experts.ExpertLayout", "count": 2, "rank": 2},
    "router": {"_target_": "daair.models.router.Top1", "_partial_": True},
    "control": {"_target_": "daair.models.dale.Control", "update": "ema"},
}
BLOCKS = {"encoder_blocks": [1, 1], "middle_blocks": 1, "decoder_blocks": [1, 1]}
FOREIGN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, x):
        return x - self.body(x)
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "denoising" / "cbsd68"
    folder.mkdir(parents=True)
    for i, size in enumerate([(48, 33), (32, 40), (50, 64)]):
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "data"


def save_network(folder: Path, router: str = "Top1", labels: tuple[str, ...] = ("noise15", "noise25")) -> Path:
    torch.manual_seed(0)
    config = MODEL | {"router": {"_target_": f"daair.models.router.{router}", "_partial_": True}}
    model = checkpoint.build(config)
    nn.init.normal_(model.out.weight, std=0.05)
    checkpoint.save(folder, model, config, list(labels), step=5)
    return folder


def evaluate(checkpoint_path: Path, data: Path, *more: str, processes: int = 1, cwd: Path | None = None):
    task = ["task=evaluate", f"checkpoint={checkpoint_path}", f"mix.root={data}", "device=cpu", "train.threads=1"]
    return run_ranks([*task, *more], cwd) if processes == 2 else run([*task, *more], cwd=cwd)


def test_rows_by_hand(data: Path, tmp_path: Path) -> None:
    folder = save_network(tmp_path / "net")
    (data / "denoising/cbsd68/3.cr2").touch()
    code, output = evaluate(folder, data, "benchmarks=[cbsd68_sigma25]")
    assert code == 0 and "cbsd68_sigma25" in output and "gain dB" in output, output
    assert "cbsd68_sigma25: left out 1 picture of a format that cannot be read: 3.cr2\n" in output
    rows = pd.read_csv(folder / "results.csv").set_index("image")
    assert list(rows["width"]) == [32, 32, 64] and list(rows["height"]) == [48, 32, 48], "centre crop to 16"
    protocol = PROTOCOLS["promptir"]
    clean = protocol.crop(np.asarray(Image.open(data / "denoising/cbsd68/2.png")))
    noisy = noise(clean, keyed_rng("benchmark", "cbsd68_sigma25", "2.png"), sigma=25)
    model = checkpoint.load(folder)
    with torch.inference_mode():
        restored = model(torch.from_numpy(noisy).permute(2, 0, 1)[None].float() / 255)[0].permute(1, 2, 0).numpy()
    assert rows.loc["2.png", "psnr"] == pytest.approx(protocol.psnr(restored, clean), abs=1e-4)
    assert rows.loc["2.png", "input_psnr"] == pytest.approx(protocol.psnr(noisy, clean), abs=1e-9)
    assert (folder / "samples" / "comparison.png").is_file()


def test_two_processes_give_the_rows_of_one_and_new_rows_replace_old(data: Path, tmp_path: Path) -> None:
    one, two = save_network(tmp_path / "one"), save_network(tmp_path / "two")
    names = "benchmarks=[cbsd68_sigma15,cbsd68_sigma50]"
    code, output = evaluate(one, data, names)
    assert code == 0, output
    means = pd.read_csv(one / "results.csv").groupby("benchmark")[["input_psnr", "psnr"]].mean()
    for name, (before, after) in means.iterrows():
        assert re.search(f"{name}.* {before:.2f} .* {after:.2f} ", output), "the printed means are those of the rows"
    code, output = evaluate(two, data, names, processes=2)
    assert code == 0, output
    assert (one / "results.csv").read_bytes() == (two / "results.csv").read_bytes()
    assert_samples_are_the_extremes(one, ["cbsd68_sigma15", "cbsd68_sigma50"])
    for first, second in zip(samples.find(one / "samples"), samples.find(two / "samples"), strict=True):
        assert (first.image, first.which, first.gain) == (second.image, second.which, second.gain)
        np.testing.assert_array_equal(first.strip, second.strip)
    elsewhere = evaluate(
        one, data, "benchmarks=[cbsd68_sigma50]", "evaluate.pictures=0", f"output={tmp_path / 'there'}"
    )
    assert elsewhere[0] == 0 and len(pd.read_csv(tmp_path / "there" / "results.csv")) == 3
    assert (one / "results.csv").read_bytes() == (two / "results.csv").read_bytes(), (
        "output= leaves the run's rows alone"
    )
    assert evaluate(one, data, "benchmarks=[cbsd68_sigma50]")[0] == 0
    again = pd.read_csv(one / "results.csv")
    assert len(again) == 6 and not again.duplicated(["benchmark", "image"]).any()


def assert_samples_are_the_extremes(folder: Path, benchmarks: list[str]) -> None:
    rows = pd.read_csv(folder / "results.csv")
    rows["gain"] = rows["psnr"] - rows["input_psnr"]
    found = list(samples.find(folder / "samples"))
    expected = []
    for name in benchmarks:
        of_it = rows[rows["benchmark"] == name].set_index("image")["gain"]
        expected += [
            (name, "largest", of_it.idxmax()),
            (name, "shown", of_it.index[0]),
            (name, "smallest", of_it.idxmin()),
        ]
    assert [(sample.benchmark, sample.which, sample.image) for sample in found] == expected
    assert {sample.strip.shape for sample in found} <= {(48, 3 * 32, 3), (32, 3 * 32, 3), (48, 3 * 64, 3)}
    for sample in found:  # the pictures are what the figures were computed from, up to rounding to 8 bits
        restored, clean = sample.pictures[1:]
        assert PROTOCOLS["promptir"].psnr(restored, clean) == pytest.approx(sample.psnr, abs=0.1)
        assert PROTOCOLS["promptir"].psnr(sample.pictures[0], clean) == pytest.approx(sample.input_psnr, abs=1e-9)


def test_files_of_one_name_and_different_weights_do_not_share_a_folder(tmp_path: Path) -> None:
    def place(folder: Path, **weights: float) -> Path:
        file = save_network(folder) / "model.safetensors"
        model = checkpoint.load(file)
        for name, value in weights.items():
            nn.init.constant_(model.get_parameter(f"out.{name}"), value)
        checkpoint.save(folder, model, MODEL, ["noise15"], step=5)
        config = SimpleNamespace(
            checkpoint=str(file), trust=(), output=None, model=MODEL, paths=SimpleNamespace(runs="runs")
        )
        return rows_folder(config)

    assert place(tmp_path / "a") == place(tmp_path / "b") != place(tmp_path / "c", weight=1.0)


def test_foreign_network_with_a_state_dict(data: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(FOREIGN)
    scope: dict = {}
    exec(FOREIGN, scope)
    torch.manual_seed(0)
    torch.save({"params": scope["Net"](6).state_dict()}, tmp_path / "theirs.pth")
    more = ["model=custom", "model._target_=theirs.Net", "model.args={width:6}", "benchmarks=[cbsd68_sigma25]"]
    code, output = evaluate(tmp_path / "theirs.pth", data, *more, "evaluate.pictures=0", cwd=tmp_path)
    assert code == 0, output
    (folder,) = (tmp_path / "runs" / "evaluate").iterdir()
    assert folder.name.startswith("theirs-") and not list(samples.find(folder / "samples"))
    rows = pd.read_csv(folder / "results.csv")
    assert len(rows) == 3 and rows["psnr"].notna().all()


def test_oracle_is_told_the_benchmarks_degradation(data: Path, tmp_path: Path) -> None:
    folder = save_network(tmp_path / "net", router="Oracle")
    assert evaluate(folder, data, "benchmarks=[cbsd68_sigma25]")[0] == 0
    code, output = evaluate(folder, data, "benchmarks=[cbsd68_sigma50]")
    assert code == 1 and "benchmark cbsd68_sigma50 is noise50, which this network's oracle was not trained on" in output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["benchmarks=[cbsd86_sigma25]"], "did you mean cbsd68_sigma25"),
        (["benchmarks=[rain100l]"], "rain100l/test"),
        (["benchmarks=[]"], "benchmarks: none is given"),
    ],
    ids=str,
)
def test_refusals_are_one_line(data: Path, tmp_path: Path, more: list[str], message: str) -> None:
    code, output = evaluate(save_network(tmp_path / "net"), data, *more)
    assert code == 1
    (line,) = [line for line in output.splitlines() if line]
    assert line.startswith("error: ") and message in line


def mentions(value: object, text: str) -> bool:
    """Return whether a text within nested lists and mappings contains `text`, however JSON would write it."""
    if isinstance(value, dict):
        return any(mentions(item, text) for pair in value.items() for item in pair)
    return any(mentions(item, text) for item in value) if isinstance(value, list) else text in str(value)


def test_model_config_of_a_checkpoint_is_frozen(tmp_path: Path) -> None:
    folder = save_network(tmp_path)
    stored = json.loads((folder / "model.json").read_text())
    assert stored["model"] == MODEL and stored["step"] == 5
    assert not mentions(stored, str(ROOT))


def test_weights_alone_are_those_of_the_network_that_the_command_names(tmp_path: Path) -> None:
    network = checkpoint.build({"_target_": "daair.models.nafnet.NAFNet", "channels": 4, **BLOCKS})
    held = {f"net.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"params": {}, "params_ema": held}, tmp_path / "net.pth")
    task = ["task=evaluate", f"checkpoint={tmp_path / 'net.pth'}", "benchmarks=[demo_noise25]", "device=cpu"]
    named = ["model=nafnet", "model.channels=4", *(f"model.{key}={value}" for key, value in BLOCKS.items())]
    code, output = run([*task, *named, f"paths.runs={tmp_path}"])
    assert code == 0 and "demo_noise25" in output and "uses params_ema, the averaged weights" in output, output
    code, output = run([*task, f"paths.runs={tmp_path}"])
    assert code == 1 and "name their network: model=promptir" in output.splitlines()[-1]


def test_in_memory_as_the_task_does(data: Path) -> None:
    model = daair.load(save_network(data.parent / "run"))
    rows = daair.evaluate(model, "cbsd68_sigma25", root=data, metrics=["mae"])
    assert list(rows["image"]) == ["0.png", "1.png", "2.png"] and {*rows["protocol"]} == {"promptir"}
    assert {"psnr", "input_psnr", "ssim", "input_ssim", "mae", "input_mae"} <= {*rows} and rows["psnr"].notna().all()
    own = {"target": str(data / "denoising" / "cbsd68"), "degrade": "sigma25"}
    both = daair.evaluate(model, {"mine": own, "cbsd68_rain": {}}, data, protocols=["basicsr_y", "promptir"])
    assert list(both["benchmark"]) == ["mine"] * 6 + ["cbsd68_rain"] * 6
    for arguments, message in (
        ((model, ["cbsd68_sigma52"]), "benchmarks: 'cbsd68_sigma52' is unknown; did you mean cbsd68_sigma50"),
        ((model, ["cbsd68_sigma25"]), "root: needed by benchmark cbsd68_sigma25"),
        ((model, ["demo_rain"], None, ["promptr"]), "protocols: 'promptr' is unknown; did you mean promptir"),
        ((model, ["demo_rain"], None, None, ["gain"]), "metrics: 'gain' is unknown"),
        ((model, {"mine": {"target": "x"}}), "benchmarks.mine: give either benchmarks.mine.input=DIR"),
        ((model, {"mine": {"targt": "x"}}), "benchmarks.mine.targt: unknown; did you mean target"),
    ):
        with pytest.raises(UserError, match=f"^{message}"):
            daair.evaluate(*arguments)


def test_a_mirror_gets_each_protocol_of_a_benchmark() -> None:
    table = pd.DataFrame({"benchmark": ["a", "a", "b"], "protocol": ["p", "q", "p"], "psnr": [1.0, 2.0, 3.0]})
    assert summary_values(table) == {"test/a/p/psnr": 1.0, "test/a/q/psnr": 2.0, "test/b/psnr": 3.0}
