"""Measuring: rows in every protocol, tiles where memory does not suffice, perceptual metrics, the identity."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from helpers import run
from PIL import Image
from torch import Tensor, nn

from daair.config.schema import Evaluate
from daair.data.benchmarks import Item, define
from daair.data.degradations import awgn
from daair.engine import inference
from daair.engine.evaluate import keep, measure_and_keep, not_measured, note_lost_before, with_other_metrics
from daair.engine.measure import measure
from daair.engine.progress import Reporter
from daair.engine.setup import Session
from daair.errors import UserError
from daair.metrics import METRICS, PROTOCOLS, Metric
from daair.metrics.perceptual import PiqNetwork
from daair.models.identity import Identity
from daair.runs.record import Record


class Lines(Reporter):
    """A reporter that remembers."""

    def __init__(self) -> None:
        super().__init__(active=False)
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


class Darker(nn.Module):
    """Pointwise, so that tiles change nothing; fails where memory would, and remembers what went through."""

    def __init__(self, most: float = float("inf")) -> None:
        super().__init__()
        self.factor, self.most, self.seen = nn.Parameter(torch.tensor(0.8731)), most, []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.shape[-2] * x.shape[-1])
        if self.seen[-1] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return x * self.factor


def item(name: str, height: int, width: int, benchmark: str = "b") -> Item:
    clean = np.random.default_rng(height).integers(60, 200, (height, width, 3), dtype=np.uint8)
    return Item(benchmark, name, "promptir", read_target=lambda: clean, read_input=lambda: clean // 2 + 20)


def options(**more) -> Evaluate:
    return Evaluate(**{"tile": "auto", "overlap": 32, "memory": 0.5, "workers": 2, "pictures": 0} | more)


def rows_of(model: nn.Module, items: list[Item], reporter: Reporter | None = None, **more) -> pd.DataFrame:
    given = {name: more.pop(name) for name in ("protocols", "metrics") if name in more}
    return measure(model, items, Accelerator(cpu=True), reporter or Lines(), options(**more), **given)[0]


def test_one_row_for_each_image_and_protocol_by_that_protocol() -> None:
    items = [item("1", 37, 50), item("2", 48, 64)]
    rows = rows_of(Darker(), items, protocols=list(PROTOCOLS))
    assert list(zip(rows["protocol"], rows["image"], strict=True)) == [(p, i) for p in PROTOCOLS for i in "12"]
    for row in rows.itertuples():
        protocol = PROTOCOLS[row.protocol]
        degraded, clean = items[int(row.image) - 1].pair(protocol)
        assert (row.height, row.width) == clean.shape[:2]
        assert row.input_psnr == protocol.psnr(degraded, clean) and row.input_ssim == protocol.ssim(degraded, clean)
        restored = degraded / 255 * np.float32(0.8731)
        assert row.psnr == pytest.approx(protocol.psnr(restored, clean), abs=1e-3)
        assert row.ssim == pytest.approx(protocol.ssim(restored, clean), abs=1e-4)


def test_the_identity_gives_the_figures_of_the_input() -> None:
    rows = rows_of(Identity(), [item("1", 37, 50)], protocols=list(PROTOCOLS))
    assert rows["psnr"].tolist() == pytest.approx(rows["input_psnr"].tolist(), abs=1e-5)
    assert rows["ssim"].tolist() == pytest.approx(rows["input_ssim"].tolist(), abs=1e-6)


class Asks(Darker):
    """Keeps what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        self.given = x
        return super().forward(x)


def test_classic_noise_reaches_the_network_as_it_is_and_its_input_is_measured_so() -> None:
    clean = np.random.default_rng(0).integers(0, 256, (96, 112, 3), dtype=np.uint8)
    one = Item("awgn", "1", "basicsr_rgb", read_target=lambda: clean, degrade=partial(awgn, sigma=25))
    model = Asks()
    rows, first, extremes = measure(model, [one], Accelerator(cpu=True), Lines(), options(pictures=64), ["promptir"])
    degraded = one.pair()[0]
    assert degraded.min() < 0 and np.array_equal(model.given[0].permute(1, 2, 0).numpy(), degraded)
    assert rows["input_psnr"][0] == pytest.approx(-10 * np.log10(np.mean((degraded - clean / 255) ** 2)), abs=1e-6)
    restored = np.clip(degraded * np.float32(0.8731), 0, 1)
    assert rows["psnr"][0] == pytest.approx(PROTOCOLS["promptir"].psnr(restored, clean), abs=1e-5)
    shown = np.rint(np.clip(degraded, 0, 1) * 255)[16:80, 24:88]
    assert np.abs(extremes[0].pictures[0] - shown).max() <= 1 and first["awgn"][0].dtype == np.float32


def test_pairs_of_16_bits_are_measured_at_full_depth_but_for_results_that_the_protocol_rounds() -> None:
    clean = np.random.default_rng(0).uniform(0.2, 0.8, (48, 64, 3)).astype(np.float32)
    slightly = clean + np.float32(0.2 / 255)  # less than a level of 8 bits
    pair = Item("b", "1", "promptir", read_target=lambda: clean, read_input=lambda: slightly)
    rows = rows_of(Identity(), [pair], protocols=["promptir", "basicsr_rgb"])
    assert rows["input_psnr"].tolist() == pytest.approx([20 * np.log10(255 / 0.2)] * 2, abs=1e-3)
    assert rows["psnr"][0] == rows["input_psnr"][0]
    changed = np.rint(slightly * 255.0) != np.rint(clean * 255.0)
    assert rows["psnr"][1] == pytest.approx(20 * np.log10(255 / np.sqrt(changed.mean())), abs=1e-3)


def test_an_image_that_memory_does_not_suffice_for_goes_in_tiles_and_its_row_says_so(monkeypatch) -> None:
    monkeypatch.setattr(inference.Restorer, "affordable", lambda *_: 100 * 100)
    model = Darker()
    rows = rows_of(model, [item("small", 96, 96), item("large", 96, 160), item("b", 160, 160)])
    assert rows["tile"].tolist() == [0, 64, 64]
    assert max(seen for seen in model.seen if seen != 129 * 129) <= 96 * 96, "but for the probe of sizes"
    whole = rows_of(Darker(), [item("large", 96, 160)], tile=None)
    assert whole["tile"].tolist() == [0] and whole["psnr"][0] == pytest.approx(rows["psnr"][1], abs=1e-5)


def test_free_memory_decides(monkeypatch) -> None:
    monkeypatch.setattr("daair.engine.measure.free_bytes", lambda *_: 2 * 10**6)
    tiled = rows_of(Darker(), [item("1", 512, 512)])
    assert 0 < tiled["tile"][0] < 512
    monkeypatch.setattr("daair.engine.measure.free_bytes", lambda *_: 10**9)
    assert rows_of(Darker(), [item("1", 512, 512)])["tile"][0] == 0


def test_memory_that_runs_out_all_the_same_is_told_and_noted(monkeypatch) -> None:
    monkeypatch.setattr(inference.Restorer, "affordable", lambda *_: float("inf"))
    lines = Lines()
    rows = rows_of(Darker(most=150 * 150), [item("1", 160, 160), item("2", 176, 160)], lines)
    assert rows["tile"].tolist() == [80, 64]
    assert lines.said == ["b: 1: out of memory with 160 pixels at once; going on in tiles of 80"]
    with pytest.raises(UserError, match="b: 1: the network failed: CUDA out of memory.*; try evaluate.tile=auto"):
        rows_of(Darker(most=150 * 150), [item("1", 160, 160)], tile=None)


def test_rows_of_other_tiles_are_replaced_with_a_word(tmp_path: Path) -> None:
    record, lines = Record(tmp_path, writer=True), Lines()
    for tile in (None, 64):
        rows, shown, extremes = measure(
            Darker(), [item("1", 96, 160), item("2", 48, 48)], Accelerator(cpu=True), lines, options(tile=tile)
        )
        keep(record, rows, {name: (pictures, rows.iloc[0]) for name, pictures in shown.items()}, extremes, lines)
    assert record.results()["tile"].tolist() == [64, 0]
    assert lines.said == ["b, promptir: rows with tile whole are replaced by rows with tile 64+whole"] or (
        lines.said == ["b, promptir: rows with tile whole are replaced by rows with tile whole+64"]
    )


def test_metrics_that_are_asked_for_and_a_line_for_one_that_lacks_its_weights(monkeypatch) -> None:
    monkeypatch.setattr(PiqNetwork, "missing", lambda self: "no dists" if self.name == "dists" else None)
    monkeypatch.setattr(PiqNetwork, "load", lambda self, device: METRICS["mae"].compute)
    lines = Lines()
    rows = rows_of(Darker(), [item("1", 48, 48)], lines, metrics=["psnr", "ssim", "lpips", "dists", "mae"])
    assert lines.said == ["no dists"]
    assert list(rows)[6:] == [
        "input_psnr", "input_ssim", "psnr", "ssim", "step", "arithmetic", "input_mae", "mae", "input_lpips", "lpips",
    ]  # fmt: skip
    assert rows["arithmetic"].tolist() == ["float32"]
    degraded, clean = item("1", 48, 48).pair(PROTOCOLS["promptir"])
    assert rows["input_mae"][0] == pytest.approx(np.abs(degraded / 255 - clean / 255).mean())
    assert rows["mae"][0] == pytest.approx(np.abs(degraded / 255 * 0.8731 - clean / 255).mean(), abs=1e-6)
    assert rows["lpips"][0] == rows["mae"][0]
    always = ["input_psnr", "input_ssim", "psnr", "ssim", "step", "arithmetic"]
    assert list(rows_of(Darker(), [item("1", 48, 48)]))[6:] == always


def unreadable(name: str) -> Item:
    def fail():
        raise UserError(f"{name}.png: truncated")

    return Item("b", name, "promptir", read_target=fail, read_input=fail)


def test_a_damaged_image_costs_that_image(tmp_path: Path) -> None:
    record, lines = Record(tmp_path, writer=True), Lines()
    session = Session(
        SimpleNamespace(evaluate=options(), protocols=None, metrics=[]), record, Accelerator(cpu=True), lines
    )
    items = [unreadable("0"), item("1", 48, 48), item("small", 6, 48), item("2", 48, 64)]
    (rows,) = measure_and_keep(Darker(), items, session)
    assert rows["image"].tolist() == ["1", "2"] and record.results()["image"].astype(str).tolist() == ["1", "2"]
    told = ["0.png: truncated", "b: small: "]
    assert [line.startswith(start) for line, start in zip(session.lost, told, strict=True)] == [True, True]
    assert [line for line in lines.said if line.startswith("not measured: ")] == [
        f"not measured: {line}" for line in session.lost
    ]
    assert not_measured(session.lost).startswith("not measured (2): 0.png: truncated; b: small: ")
    assert (record.samples / "comparison.png").is_file()


def test_images_that_were_lost_before_are_told_again_until_they_are_removed(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    benchmark = define("mine", target=str(tmp_path), degrade="sigma25")
    record = Record(tmp_path / "run", writer=True)
    record.summarise(evaluated={"mine": {"metrics": {}, "unreadable": {"b.png": [[1, 2]]}}})
    cfg = SimpleNamespace(mix={"root": None})
    for lost in (["mine: b.png could not be measured before"], []):
        session = Session(cfg, record, Accelerator(cpu=True), Lines())
        note_lost_before(session, [benchmark])
        assert session.lost == lost and session.reporter.said == [f"not measured: {line}" for line in lost]
        (tmp_path / "b.png").unlink(missing_ok=True)


def test_the_sheet_shows_benchmarks_that_were_measured_before_too(tmp_path: Path) -> None:
    """One measured later must not make the pictures of the others go away."""
    record = Record(tmp_path, writer=True)
    session = Session(
        SimpleNamespace(evaluate=options(pictures=64), protocols=None, metrics=[]),
        record,
        Accelerator(cpu=True),
        Lines(),
    )
    heights = []
    for benchmark in ("a", "b"):
        items = [item(str(k), 48, 48, benchmark) for k in range(2)]
        list(measure_and_keep(Darker(), items, session))
        with Image.open(record.samples / "comparison.png") as sheet:
            heights.append(sheet.height)
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.1)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory.\nTried"), KeyError("layer")], ids=str)
def test_a_metric_that_fails_on_an_image_costs_that_image(monkeypatch, error: Exception) -> None:
    def of_somebody(protocol, image, reference) -> float:
        if image.shape[1] == 80:
            raise error
        return 0.0

    monkeypatch.setitem(METRICS, "theirs", Metric("theirs", "T", "", 2, higher_is_better=True, compute=of_somebody))
    lost: list[str] = []
    items = [item("1", 48, 80), item("2", 48, 64)]
    given = (Darker(), items, Accelerator(cpu=True), Lines(), options())
    rows, *_ = measure(*given, protocols=None, metrics=["theirs"], lost=lost)
    assert rows["image"].tolist() == ["2"]
    (line,) = lost
    assert line.startswith(f"b: 1: theirs: {type(error).__name__}: ") and "\n" not in line
    with pytest.raises(UserError, match=r"^b: 1: theirs: "):
        measure(*given, metrics=["theirs"])


def test_a_benchmark_of_damaged_images_alone_and_a_failing_network_are_errors() -> None:
    for items, model in (([unreadable("0"), unreadable("1")], Darker()), ([item("1", 48, 48)], Darker(most=9))):
        with pytest.raises(UserError, match=r"^0.png: truncated|the network failed"):
            measure(model, items, Accelerator(cpu=True), Lines(), options(tile=None), lost=[])
    with pytest.raises(UserError, match="0.png: truncated"):
        rows_of(Darker(), [unreadable("0"), item("1", 48, 48)])


# A network from elsewhere, on real photographs -----------------------------------------------------------------------

THEIRS = """
from torch import nn

class Smooth(nn.Module):
    '''Three convolutions and a shortcut, as in any tutorial.'''

    def __init__(self, features=8):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, features, 3, padding=1), nn.Conv2d(features, 3, 3, padding=1)
        self.middle = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, image):
        return image + self.last(self.middle(self.first(image).relu()).relu())
"""


def test_a_network_that_nobody_here_wrote_is_measured_in_every_protocol(data_root: Path, tmp_path: Path) -> None:
    """CBSD68 and Rain100L, five images of each, with its state dict and nothing else."""
    for folder in ("denoising/cbsd68", "deraining/rain100l/test/input", "deraining/rain100l/test/target"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for file in sorted((data_root / folder).iterdir())[:5]:
            (tmp_path / "data" / folder / file.name).symlink_to(file)
    (tmp_path / "elsewhere.py").write_text(THEIRS)
    scope: dict = {}
    exec(THEIRS, scope)
    torch.manual_seed(0)
    torch.save(scope["Smooth"](features=6).state_dict(), tmp_path / "smooth.pth")
    code, output = run(
        ["task=evaluate", "model=custom", "model._target_=elsewhere.Smooth", "model.args={features:6}",
         "checkpoint=smooth.pth", "benchmarks=[cbsd68_sigma25,rain100l]", f"protocols=[{','.join(PROTOCOLS)}]",
         "mix.root=data", "device=cpu", "train.threads=1"], cwd=tmp_path)  # fmt: skip
    assert code == 0, output
    (folder,) = (tmp_path / "runs/evaluate").glob("smooth-*")
    rows = pd.read_csv(folder / "results.csv")
    counts = rows.groupby(["benchmark", "protocol"], sort=False).size()
    assert list(counts.index) == [(b, p) for b in ("cbsd68_sigma25", "rain100l") for p in PROTOCOLS]
    assert set(counts) == {5} and np.isfinite(rows[["psnr", "ssim", "input_psnr", "input_ssim"]]).all(axis=None)
    assert set(zip(rows["width"], rows["height"], strict=True)) <= {(480, 320), (320, 480), (481, 321), (321, 481)}
    mean = partial(rows.groupby(["benchmark", "protocol"])["input_psnr"].mean().get)
    assert mean(("rain100l", "basicsr_y")) - mean(("rain100l", "basicsr_rgb")) == pytest.approx(1.35, abs=0.3)


def test_values_of_other_metrics_stay_where_the_picture_is_the_same() -> None:
    keys = {"benchmark": ["b"] * 3, "protocol": ["promptir"] * 3, "image": ["1", "2", "3"]}
    stored = pd.DataFrame({**keys, "step": 5, "psnr": [1.0, 2.0, 3.0], "input_lpips": 0.5, "lpips": [0.1, 0.2, 0.3]})
    new = pd.DataFrame({**keys, "step": [5, 5, 6], "psnr": [1.0, 2.5, 3.0], "mae": 0.0})[::-1].reset_index(drop=True)
    merged = with_other_metrics(new, stored).set_index("image")
    assert merged["lpips"].tolist()[::-1][0] == 0.1 and merged["lpips"][["2", "3"]].isna().all()
    assert merged["input_lpips"]["1"] == 0.5 and list(merged["psnr"]) == [3.0, 2.5, 1.0]
    assert with_other_metrics(new, stored[["benchmark", "protocol", "image", "step", "psnr"]]).equals(new)
    assert with_other_metrics(new.assign(step=None), stored)["lpips"].isna().all(), "of an unknown network"
