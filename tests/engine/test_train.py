"""Real trainings in processes of their own: killed, stopped, doubled, diverging."""

import json
import math
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from helpers import SMALL, kill_tree, make_photographs, run, run_ranks, start, wait_for_step
from safetensors.torch import load_file

from daair.cli import conf_dir
from daair.config.jobs import Composer, Job, check
from daair.engine import train
from daair.engine.budget import Speed
from daair.engine.divergence import Update, updates_ago
from daair.engine.progress import Reporter
from daair.exits import end_within
from daair.runs.record import Record

STEPS = ["train.steps=10", "train.checkpoint_every=4", "train.validate_every=5"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photographs(tmp_path_factory.mktemp("photographs"))


def command(photographs: Path, runs: Path, *more: str) -> list[str]:
    return [*SMALL, *STEPS, f"mix.root={photographs}", f"paths.runs={runs}", *more]


def only_run(runs: Path) -> Record:
    (status,) = runs.glob("*/*/seed*/status.json")
    return Record(status.parent)


@pytest.mark.parametrize(("start_all", "processes"), [(run, 1), (run_ranks, 2)])
def test_killed_and_resumed_run_ends_byte_identical(
    photographs: Path, tmp_path: Path, start_all, processes: int
) -> None:
    slow = ["train.accumulation=2"]
    code, output = start_all(command(photographs, tmp_path / "whole", *slow))
    assert code == 0, output
    whole = only_run(tmp_path / "whole")

    victim = start(command(photographs, tmp_path / "killed", *slow), processes)
    wait_for_step(victim, tmp_path / "killed", 6)  # past the checkpoint of step 4, before that of step 8
    kill_tree(victim.pid)
    victim.communicate()
    killed = only_run(tmp_path / "killed")
    assert killed.status().state == "running"
    code, output = start_all(command(photographs, tmp_path / "killed", *slow))
    assert code == 0, output
    assert "resuming at step" in output

    assert killed.weights_file.read_bytes() == whole.weights_file.read_bytes()
    names = [f"checkpoints/step-00000010/{name}" for name in ("model.safetensors", "optimizer.bin")]
    for name in names:
        assert (killed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    timeless = ("time", "train/images_per_second", "train/waiting")
    trails = [[{k: v for k, v in row.items() if k not in timeless} for row in r.metrics()] for r in (whole, killed)]
    assert trails[0] == trails[1], "the metrics of the two differ, or lines were lost or doubled"
    assert killed.status().state == "done" and killed.status().attempt == 2
    assert len(list(killed.checkpoints.iterdir())) == 2, "keep=2"


def test_two_processes_train_like_one(photographs: Path, tmp_path: Path) -> None:
    """The same images make the same updates, whoever computes them: the routers' noise and balance losses included."""
    balanced = ["router=top1", "loss.terms.router=1", "train.accumulation=2"]
    for processes, start_all in ((1, run), (2, run_ranks)):
        code, output = start_all(command(photographs, tmp_path / str(processes), *balanced))
        assert code == 0, output
    one, two = (only_run(tmp_path / str(processes)) for processes in (1, 2))
    assert one.folder.name == two.folder.name and one.folder.parent.name == two.folder.parent.name
    for name in ("train/grad_norm", "train/router"):
        logged = [[row[name] for row in r.metrics() if name in row] for r in (one, two)]
        assert len(logged[0]) == 10 and logged[0] == pytest.approx(logged[1], rel=1e-3), name
    rows = [row for row in one.metrics() if "train/clipped" in row]
    assert len(rows) == 10 and all(row["train/clipped"] == (row["train/grad_norm"] > 1) for row in rows)
    scores = [[row["val/psnr"] for row in r.metrics() if "val/psnr" in row] for r in (one, two)]
    assert len(scores[0]) == 2 and scores[0] == pytest.approx(scores[1], abs=1e-3)


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_signal_checkpoints_and_the_same_command_goes_on(
    photographs: Path, tmp_path: Path, number: signal.Signals, processes: int
) -> None:
    """Every process gets it at once, loader workers too, as terminals and Slurm send it; elastic's front end again."""
    many = ["train.steps=100000", "train.checkpoint_every=100000", "train.workers=1"]
    process = start(command(photographs, tmp_path, *many), processes)
    wait_for_step(process, tmp_path, 3)
    for member in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        member.send_signal(number)
    output = process.communicate(timeout=60)[0]
    record = only_run(tmp_path)
    assert record.status().state == "interrupted", output
    step = int(list(record.checkpoints.iterdir())[0].name.removeprefix("step-"))
    assert f"{number.name}: stopped after step {step}, a checkpoint was written" in output
    assert record.status().step == step and record.weights_file.is_file()
    if processes == 1:
        assert process.returncode == 128 + number

    again = start(command(photographs, tmp_path, *many))
    wait_for_step(again, tmp_path, step + 2)
    again.terminate()
    output = again.communicate(timeout=60)[0]
    assert f"resuming at step {step} of 100000" in output
    assert ("warning: 2 processes trained this run so far, 1 go on" in output) == (processes == 2)


@pytest.mark.parametrize("every", [9, None])
def test_weights_are_written_before_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int | None
) -> None:
    """A run killed between the two must not end with the weights of an earlier checkpoint."""
    written = []
    monkeypatch.setattr(train.checkpoint, "save", lambda *_: written.append("weights"))
    monkeypatch.setattr(train.checkpoints, "save", lambda *_: written.append("checkpoint"))
    stub = SimpleNamespace(
        cfg=SimpleNamespace(
            model={},
            train=SimpleNamespace(
                steps=9, log_every=9, validate_every=every, checkpoint_every=4, keep=2, keep_every=None
            ),
        ),
        best=SimpleNamespace(over=False),
        accelerator=SimpleNamespace(is_main_process=True),
        span=SimpleNamespace(images=lambda step: 6 * step),
        record=SimpleNamespace(
            folder=tmp_path,
            checkpoints=tmp_path,
            update=lambda **_: written.append("status"),
            summarise=lambda **values: written.append(values),
        ),
        seconds=6.0,
        updating=5.0,
        seconds_in_stage=7.0,
        images_per_second=lambda step: 3.0,
        ema=SimpleNamespace(module=None),
        mix=SimpleNamespace(labels=[]),
    )
    train.Trainer.after_step(stub, 4, [], SimpleNamespace(seconds=2.0), stopping=False)
    assert written == [
        "weights",
        "checkpoint",
        "status",
        {"seconds": 8.0, "update_seconds": 5.0, "stage_seconds": 7.0, "images_per_second": 3.0},
    ]


def test_a_signal_after_the_last_update_stops_before_the_evaluation() -> None:
    stub = SimpleNamespace(
        cfg=SimpleNamespace(train=SimpleNamespace(steps=1), launch=SimpleNamespace(grace=60)),
        accelerator=SimpleNamespace(num_processes=1),
        session=SimpleNamespace(reporter=Reporter(active=False)),
        resume=lambda: 0,
        updates=lambda first: (step for step in [first]),
        update=lambda step: SimpleNamespace(parts=[], loss=0.0),
        due=lambda step: True,
        look=lambda updates: 0,
        after_step=lambda *_, stopping: os.kill(os.getpid(), signal.SIGTERM),
        interrupted=lambda step, number: (step, number),
        images_per_second=lambda step: 1.0,
        learning_rate=0.0,
    )
    assert train.Trainer.loop(stub) == (1, signal.SIGTERM)
    end_within(None)


def test_patch_above_the_images_leaves_no_run_folder(photographs: Path, tmp_path: Path) -> None:
    code, output = run(command(photographs, tmp_path, "mix.patch=4096"))
    assert code == 1
    assert output.splitlines()[-1].startswith("error: mix.patch: 4096 is larger than the image train")
    assert not list(tmp_path.glob("*/*/seed*")), "nothing was begun"


def test_network_without_routing_trains(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    node = "_target_: daair.models.layers.FeedForward\nchannels: 3\nexpansion: 2.0\n"
    (tmp_path / "conf" / "model" / "plain.yaml").write_text(node)
    chosen = [o for o in command(photographs, tmp_path, "train.steps=2") if not o.startswith(("model", "experts"))]
    code, output = run(["--config-dir", str(tmp_path / "conf"), *chosen, "model=plain", "benchmarks=[demo_noise25]"])
    assert code == 0 and "demo_noise25" in output, output


def test_fine_tuning_starts_from_the_weights_and_keeps_what_is_frozen(photographs: Path, tmp_path: Path) -> None:
    source = command(photographs, tmp_path / "first", "train.steps=2", "optimizer.lr=1e-2")
    assert run(source)[0] == 0
    first = only_run(tmp_path / "first")
    tuning = ["train.steps=2", f"train.init={first.folder}", "train.checkpoint_every=1", "train.keep=9"]
    frozen = ["train.freeze=[embed.*,decoder.*]"]  # also what the parameter update moves without a gradient
    code, output = run(command(photographs, tmp_path / "tuned", *tuning, *frozen))
    assert code == 0 and f"starting from {first.weights_file}" in output, output
    tuned = only_run(tmp_path / "tuned")
    assert tuned.summary()["init"] == str(first.weights_file) and len(tuned.summary()["init_digest"]) == 16
    before, after = load_file(first.weights_file), load_file(tuned.weights_file)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"encoder", "down", "up", "skip", "out"}
    state = torch.load(tuned.checkpoints / "step-00000002" / "optimizer.bin", weights_only=True)["state"]
    assert len(state) == sum(not name.startswith(("embed", "decoder")) for name in before)

    shutil.rmtree(tuned.checkpoints / "step-00000002")
    tuned.update(state="interrupted", finished="")
    code, output = run(command(photographs, tmp_path / "tuned", *tuning, *frozen))
    assert code == 0 and "resuming at step 1 of 2" in output and "starting from" not in output, output
    assert all(torch.equal(after[name], value) for name, value in load_file(tuned.weights_file).items())


def test_a_network_that_numbers_degradations_otherwise_is_told(photographs: Path, tmp_path: Path) -> None:
    """Its experts would be those of other degradations: in `router=oracle` the number is the expert."""
    oracle = ["router=oracle", "experts.count=5", "train.steps=1"]
    assert run(command(photographs, tmp_path / "first", *oracle))[0] == 0
    init = f"train.init={only_run(tmp_path / 'first').folder}"
    assert "warning" not in run(command(photographs, tmp_path / "same", *oracle, init))[1]
    code, output = run(command(photographs, tmp_path / "fewer", *oracle, init, "~mix.tasks.noise15"))
    assert code == 0 and "warning: train.init numbers the degradations noise15, noise25, " in output, output


def test_weights_that_do_not_fit_are_named(photographs: Path, tmp_path: Path) -> None:
    assert run(command(photographs, tmp_path / "first", "train.steps=1"))[0] == 0
    first = only_run(tmp_path / "first").folder
    other = ["train.steps=1", f"train.init={first}", "experts.rank=4"]
    code, output = run(command(photographs, tmp_path / "other", *other))
    last = output.splitlines()[-1]
    assert code == 1 and "differ in encoder.0.0.dale.agnostic.project, encoder" in last, output
    assert last.startswith("error: train.init: ") and last.endswith("; train.init_strict=false takes what fits")
    code, output = run(command(photographs, tmp_path / "other", *other, "train.init_strict=false"))
    assert code == 0, output
    assert "does not fit: decoder.0.0.controller.expert.bias, decoder" in output and " and 92 more" in output
    code, output = run(command(photographs, tmp_path / "other", "train.init=nowhere"))
    assert code == 1 and "train.init: nowhere does not exist; give a run's folder" in output.splitlines()[-1]


def test_second_writer_is_told_who_holds_the_run(photographs: Path, tmp_path: Path) -> None:
    holder = start(command(photographs, tmp_path, "train.steps=100000"))
    wait_for_step(holder, tmp_path, 1)
    code, output = run(command(photographs, tmp_path, "train.steps=100000"))
    holder.terminate()
    holder.communicate(timeout=60)
    assert code == 1
    assert f"is being written by process {holder.pid} on" in output.splitlines()[-1]


def test_finished_run_is_not_trained_again(photographs: Path, tmp_path: Path) -> None:
    few = command(photographs, tmp_path, "train.steps=2")
    assert run(few)[0] == 0
    record = only_run(tmp_path)
    weights, trail = record.weights_file.stat().st_mtime_ns, record.metrics_file.read_bytes()
    mine = [f"benchmarks.mine.target={photographs}/val/clean", "benchmarks.mine.degrade=sigma25"]
    code, output = run([o for o in few if o != "benchmarks=[]"] + ["train.log_every=2", *mine])
    assert code == 0 and "mine" in output, output
    assert (record.weights_file.stat().st_mtime_ns, record.metrics_file.read_bytes()) == (weights, trail)
    assert set(record.results()["benchmark"]) == {"mine"}, "what was missing is measured"
    again = [o for o in few if o != "benchmarks=[]"] + mine
    assert "evaluate" not in run(again)[1], "nothing is missing"
    rows = record.results()
    assert run([*again[:-1], "benchmarks.mine.degrade=sigma50"])[0] == 0
    assert record.results()["input_psnr"].mean() < rows["input_psnr"].mean() - 4, "mine is another benchmark now"
    record.results_file.write_text(record.results_file.read_text().replace(",2,float32\n", ",1,float32\n"))  # earlier
    assert set(record.results()["step"]) == {1}
    assert run([*again[:-1], "benchmarks.mine.degrade=sigma50"])[0] == 0
    assert set(record.results()["step"]) == {2}, "rows of other weights are measured again"
    assert json.loads(record.status_file.read_text())["state"] == "done"
    summary = record.summary()
    assert summary["parameters"] > 0 and summary["macs"] > 0
    assert summary["images_per_second"] == pytest.approx(2 * 4 / summary["seconds"], rel=0.05)


def test_divergence_names_step_batch_and_checkpoint(photographs: Path, tmp_path: Path) -> None:
    wild = ["optimizer.lr=1e6", "schedule.warmup=0", "train.checkpoint_every=1"]
    code, output = run(command(photographs, tmp_path, *wild))
    assert code == 1
    last = output.splitlines()[-1]
    assert last.startswith("error: training diverged at step "), output
    assert "x noise" in last and "last good checkpoint: " in last and "optimizer.lr" in last
    record = only_run(tmp_path)
    assert record.status().state == "failed" and "diverged" in record.status().message
    assert list(record.checkpoints.iterdir()), "what was done before stays"


def test_processes_that_do_not_find_each_other_are_refused(photographs: Path, tmp_path: Path, monkeypatch) -> None:
    """What `accelerate launch --multi_gpu` does on a machine without GPU: ranks that each believe to be alone."""
    code, output = run(command(photographs, tmp_path, "launch.num_processes=2"))
    assert code == 1
    assert "error: launch.num_processes: 2 are asked for, 1 started" in output
    assert "ACCELERATE_USE_CPU=true python -m accelerate.commands.launch --multi_gpu" in output
    assert not list(tmp_path.glob("*/*/seed*")), "nothing was begun"


@pytest.mark.parametrize("allowed", [True, False])
def test_a_budget_is_measured_with_the_arithmetic_of_the_training(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    more = ["train.steps=null", "train.budget=1s", f"train.tf32={allowed}"]
    composer, seen, before = Composer(conf_dir()), {}, torch.backends.cuda.matmul.allow_tf32
    job = Job.of(check(composer.compose_job(command(photographs, tmp_path, *more)), composer.options, set()))

    def note(place: str) -> None:
        seen[place] = torch.backends.cuda.matmul.allow_tf32

    monkeypatch.setattr(train, "trial", lambda *_: note("trial") or [Speed("", None, 4, 1.0, 5, 0.5)])
    monkeypatch.setattr(train.Trainer, "loop", lambda self: note("loop") or setattr(self, "done", 2) or 0)
    monkeypatch.setattr(train, "finish", lambda *_: note("finish") or 0)
    assert train.train(job) == 0
    assert seen == {"trial": allowed, "loop": allowed, "finish": before}


def test_the_earliest_divergence_counts() -> None:
    def made(value: float) -> Update:
        return Update(torch.tensor(value), torch.tensor(1.0), torch.tensor(1.0), [], [])

    assert updates_ago([made(1.0), made(2.0)]) == updates_ago([]) == 0
    assert updates_ago([made(1.0), made(math.nan), made(math.inf), made(1.0)]) == 3


def test_parts_that_no_gradient_reaches_are_told(photographs: Path, tmp_path: Path) -> None:
    """As in a router whose choice is an `argmax`: it trains without an error, and stays as it was."""
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.layer, self.choice = nn.Conv2d(3, 3, 1), nn.Linear(3, 2)\n"
        "    def forward(self, x):\n"
        "        return x + self.layer(x) * (1 + self.choice(x.mean((2, 3))).argmax(1)[:, None, None, None])\n"
    )
    ours = command(photographs, tmp_path / "ours")
    own = [one for one in ours if not one.startswith(("model", "experts", "paths"))]
    own += ["model._target_=mine.Net", f"paths.runs={tmp_path / 'own'}"]
    code, output = run(own, cwd=tmp_path)
    assert code == 0, output
    assert output.count("model: nothing is learned in choice.weight, choice.bias, to which no gradient leads") == 1
    code, output = run(ours)
    assert code == 0 and "nothing is learned" not in output, output
