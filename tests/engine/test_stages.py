"""Trainings in stages: with a network that brings more than an image loss, by the real loop."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers import SMALL, kill_tree, make_photographs, run, run_ranks, start, wait_for_step
from safetensors.torch import load_file
from torch import nn

import daair
from daair.config.schema import Phase, Train
from daair.engine.stages import spans
from daair.errors import UserError
from daair.models.training import Stage
from daair.runs.record import Record

WARMUP = "{_target_:daair.models.training.Stage,name:encoder,share:0.4,trainable:['encoder.*'],lr:5,batch_size:8}"
TRAINING = [
    *(option for option in SMALL if not option.startswith(("model", "experts"))),
    *("model=custom", "model._target_=momentum.Momentum", f"model.args={{norm:true,warmup:{WARMUP}}}"),
    *("loss.terms.contrast=0.1", "train.steps=15", "train.checkpoint_every=3", "train.validate_every=15"),
    *("train.accumulation=2", "optimizer.lr=1e-3", "schedule.warmup=0"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs and with the package of somebody else."""
    folder = make_photographs(tmp_path_factory.mktemp("place"))
    shutil.copy(Path(__file__).with_name("momentum.py"), folder)
    return folder


def command(place: Path, runs: Path, *more: str) -> list[str]:
    return [*TRAINING, f"mix.root={place}", f"paths.runs={runs}", *more]


def only_run(runs: Path) -> Record:
    (status,) = runs.glob("*/*/seed*/status.json")
    return Record(status.parent)


@pytest.fixture(scope="module")
def whole(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A run that nothing interrupted."""
    runs = tmp_path_factory.mktemp("whole")
    code, output = run(command(place, runs, "benchmarks=[demo_noise25]"), cwd=place)
    assert code == 0 and "demo_noise25" in output, output
    assert "stage encoder: updates 1 to 6, 4 parameters, 8 images a batch" in output
    assert "stage restoration: updates 7 to 15" in output
    return only_run(runs)


def test_each_stage_trains_its_part_with_its_own_rate_and_batch(whole: Record) -> None:
    rows = [row for row in whole.metrics() if "train/loss" in row]
    assert [("train/l1" in row, "train/contrast" in row) for row in rows] == [(False, True)] * 6 + [(True, True)] * 9
    for row in rows:
        image = row["train/l1"] + 0.1 * row["train/fft"] if "train/l1" in row else 0
        assert row["train/loss"] == pytest.approx(image + 0.1 * row["train/contrast"], rel=0.3)  # of the last batch
    assert rows[0]["train/lr"] > 4e-3 and rows[5]["train/lr"] < 1e-3, "the first stage has a cosine of its own"
    assert rows[6]["train/lr"] > 0.9e-3 > rows[13]["train/lr"]
    epochs = [row["train/epoch"] for row in rows]
    steps = [b - a for a, b in zip(epochs, epochs[1:], strict=False)]
    assert steps[4] == pytest.approx(2 * steps[6]), "16 images an update, then 8"
    told = whole.summary()
    assert told["stage_seconds"] < told["seconds"], "the speed is that of the last stage: 9 updates of 8 images"
    assert told["images_per_second"] == pytest.approx(9 * 8 / told["stage_seconds"], rel=0.05)
    after_warmup, end = (load_file(folder / "model.safetensors") for folder in sorted(whole.checkpoints.iterdir()))
    changed = {name for name in end if not torch.equal(end[name], after_warmup[name])}
    assert any("body" in name for name in changed) and any("follower" in name for name in changed)


def test_the_first_stage_leaves_the_rest_alone(place: Path, tmp_path: Path) -> None:
    start_of_it = ["train.steps=5", "model.args.warmup.share=0.999", "train.checkpoint_every=1", "train.keep=9"]
    code, output = run(command(place, tmp_path, *start_of_it), cwd=place)
    assert code == 0, output
    first, *_, last = (load_file(f / "model.safetensors") for f in sorted(only_run(tmp_path).checkpoints.iterdir()))
    changed = {name.split(".")[1] for name in first if not torch.equal(first[name], last[name])}
    assert changed == {"encoder", "follower", "queue"}


@pytest.mark.parametrize(("processes", "reached"), [(1, 4), (1, 10), (2, 7)])
def test_a_killed_run_goes_on_in_its_stage(place, whole, tmp_path, processes: int, reached: int) -> None:
    """Killed within the first stage, within the second, and behind the checkpoint that ends the first."""
    start_all = run_ranks if processes == 2 else run
    if processes == 2:
        code, output = start_all(command(place, tmp_path / "whole"), cwd=place)
        assert code == 0, output
        whole = only_run(tmp_path / "whole")
    victim = start(command(place, tmp_path / "killed"), processes, cwd=place)
    wait_for_step(victim, tmp_path / "killed", reached)
    kill_tree(victim.pid)
    victim.communicate()
    code, output = start_all(command(place, tmp_path / "killed"), cwd=place)
    assert code == 0 and "resuming at step" in output, output
    killed = only_run(tmp_path / "killed")
    assert killed.weights_file.read_bytes() == whole.weights_file.read_bytes()
    for name in ("model.safetensors", "optimizer.bin", "averaged.safetensors"):
        file = f"checkpoints/step-00000015/{name}"
        assert (killed.folder / file).read_bytes() == (whole.folder / file).read_bytes(), name
    timeless = ("time", "train/images_per_second", "train/waiting")
    trails = [[{k: v for k, v in row.items() if k not in timeless} for row in r.metrics()] for r in (whole, killed)]
    assert trails[0] == trails[1]


def test_two_processes_train_like_one(place: Path, tmp_path: Path) -> None:
    """The same images make the same updates, stage by stage (without batch norm, which sees one process's share)."""
    more = ["model.args.norm=false", "model.args.warmup.batch_size=4"]  # with 8 keys an update both queues are the same
    norms = []
    for processes, start_all in (("1", run), ("2", run_ranks)):
        code, output = start_all(command(place, tmp_path / processes, *more), cwd=place)
        assert code == 0, output
        rows = only_run(tmp_path / processes).metrics()
        norms.append([row["train/grad_norm"] for row in rows if "train/grad_norm" in row])
    assert len(norms[0]) == 15 and norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_a_network_of_ones_own_is_loaded_by_who_trusts_its_package(place: Path, whole: Record, monkeypatch) -> None:
    with pytest.raises(UserError, match=r"names 'momentum.Momentum', which is not trusted; .* trust=\[momentum\]$"):
        daair.load(whole.folder)
    monkeypatch.syspath_prepend(place)
    network = daair.load(whole.folder, trust=["momentum"])
    assert type(network).__name__ == "Momentum" and network.step == 15
    assert network.labels == ["noise15", "noise25", "noise50"]
    task = ["task=evaluate", f"checkpoint={whole.folder}", "benchmarks=[demo_noise15]", "device=cpu"]
    code, output = run(task, cwd=place)
    assert code == 1 and "trust=[momentum]" in output.splitlines()[-1]
    code, output = run([*task, "trust=[momentum]"], cwd=place)
    assert code == 0, output
    assert set(whole.results()["benchmark"]) == {"demo_noise15", "demo_noise25"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("~loss.terms.contrast", "loss.terms.contrast: missing; Momentum has the terms contrast"),
        ("loss.terms.router=0.5", "loss.terms.router: unused; Momentum has the terms contrast"),
        (
            "train.freeze=[encodr.*]",
            "train.freeze: encodr.* matches no parameter of the network; did you mean encoder.*?",
        ),
        ("train.freeze=[encoder.*]", "train.freeze: leaves nothing to train in stage encoder"),
        ("model.args.warmup.share=1.5", "share"),
        ("model.args.warmup.batch_size=9", "model: stage encoder: batch_size: 9 images cannot be shared evenly by 2"),
        ("model.args.warmup.trainable=[x.*]", "model: stage encoder: x.* matches no parameter"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_starts(place: Path, tmp_path: Path, more: str, message: str) -> None:
    extra = ["launch.num_processes=2"] if "batch_size" in more else []
    options = [option for option in command(place, tmp_path) if more[0] != "~" or not option.startswith("loss.terms")]
    code, output = run([*options, more, *extra], cwd=place)
    assert code == 1 and message in output.splitlines()[-1], output
    assert not list(tmp_path.glob("*/*/seed*"))


class InStages(nn.Module):
    """A network of two layers, one stage for each and one that is empty."""

    def __init__(self, *stages: Stage) -> None:
        super().__init__()
        self.first, self.last, self.stages = nn.Linear(1, 1), nn.Linear(1, 1), lambda: stages


def options(**changes) -> Train:
    given = {"steps": 10, "batch_size": 4, "accumulation": 2, "freeze": (), "progressive": ()} | changes
    return Train.model_construct(**given)


def test_stages_are_laid_out_without_a_gap_and_no_sample_comes_twice() -> None:
    network = InStages(
        Stage("a", 0.25, ("first.*",), batch_size=6),
        Stage("none", 0.0),
        Stage("b", 0.25),
        Stage("c", 0.5, batch_size=8),
    )
    a, b, c = spans(network, options(freeze=("last.bias",)))
    assert [(span.stage.name, span.first, span.stop) for span in (a, b, c)] == [("a", 0, 2), ("b", 2, 5), ("c", 5, 10)]
    assert a.trainable == {"first.weight", "first.bias"} and b.trainable == a.trainable | {"last.weight"}
    assert [span.images(span.stop) for span in (a, b, c)] == [24, 24 + 24, 48 + 80]
    for before, span in ((a, b), (b, c)):
        assert span.images(span.first) == before.images(before.stop) <= span.micro_batch(span.first) * span.batch_size
        assert span.micro_batch(span.first + 1) - span.micro_batch(span.first) == 2


def test_the_last_part_ends_with_the_run_whatever_its_shares_sum_to() -> None:
    for share in (0.333333, 0.3333336):
        phases = tuple(Phase(share=share) for _ in range(3))
        laid = spans(nn.Linear(1, 1), options(steps=534_000, progressive=phases))
        assert [span.stop for span in laid] == [round(share * 534_000), round(2 * share * 534_000), 534_000]
    network = InStages(Stage("a", 0.5), Stage("b", 0.4999995))
    assert spans(network, options(steps=10_000_000))[-1].stop == 10_000_000


def test_a_network_without_stages_has_one() -> None:
    (span,) = spans(nn.Linear(1, 1), options())
    assert (span.first, span.stop, span.batch_size, span.micro_batch(3)) == (0, 10, 4, 6)
