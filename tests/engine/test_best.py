"""The best weights of a run, and runs that stop because they get no better; killed, resumed, on two processes."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import SMALL, kill_tree, make_photographs, run, run_ranks, start, wait_for_step
from safetensors.torch import load_file

import daair
from daair.engine.best import Best, check_figure
from daair.errors import UserError
from daair.runs.record import Record


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photographs(tmp_path_factory.mktemp("photographs"))


def command(photographs: Path, runs: Path, *more: str) -> list[str]:
    """Validations after each second update; the high rate makes some of them worse than those before."""
    every = ["train.steps=12", "train.validate_every=2", "train.checkpoint_every=5", "train.best=val/psnr"]
    fast = ["optimizer.lr=0.1", "schedule.warmup=0", "train.ema_decay=0"]
    return [*SMALL, *every, *fast, f"mix.root={photographs}", f"paths.runs={runs}", *more]


def only_run(runs: Path) -> Record:
    (status,) = runs.glob("*/*/seed*/status.json")
    return Record(status.parent)


def validations(record: Record) -> dict[int, float]:
    return {row["step"]: row["val/psnr"] for row in record.metrics() if "val/psnr" in row}


def best_of(tmp_path: Path, patience: int | None = None, since: int = 0) -> Best:
    train = SimpleNamespace(best="val/psnr", stop_after=patience, steps=99)
    session = SimpleNamespace(cfg=SimpleNamespace(train=train), record=Record(tmp_path))
    return Best(session, None, [], since)


def test_only_a_higher_finite_figure_is_better(tmp_path: Path) -> None:
    best = best_of(tmp_path, patience=2)
    figures = [1.0, 1.0, float("nan"), 2.0, None, float("inf")]
    seen = [best.see(step, {"val/psnr": value}) for step, value in enumerate(figures, start=1)]
    assert seen == [True, False, False, True, False, False]
    assert (best.step, best.value, best.over) == (4, 2.0, True)


def test_validations_before_the_last_stage_do_not_stop_a_run(tmp_path: Path) -> None:
    best = best_of(tmp_path, patience=2, since=3)
    for step in (1, 2, 3, 4):
        best.see(step, {"val/psnr": 1.0})
    assert not best.over
    best.see(5, {"val/psnr": 1.0})
    assert best.over
    assert best.why_over(5) == (
        "stopped early after 5 of 99 updates: 2 validations without a val/psnr above 1.00, of update 1"
    )


def test_a_figure_that_no_validation_has_is_refused() -> None:
    mix = SimpleNamespace(summary=lambda: {"validation": {"rain": {}}})
    check_figure(SimpleNamespace(best="val/psnr/rain"), mix)
    with pytest.raises(UserError, match=r"no validation has val/psnr/haze; there are val/psnr, val/psnr/rain$"):
        check_figure(SimpleNamespace(best="val/psnr/haze"), mix)


@pytest.mark.parametrize(("start_all", "processes"), [(run, 1), (run_ranks, 2)])
def test_best_weights_are_those_of_the_highest_validation_also_of_a_killed_run(
    photographs: Path, tmp_path: Path, start_all, processes: int
) -> None:
    code, output = start_all(command(photographs, tmp_path / "whole"))
    assert code == 0, output
    whole = only_run(tmp_path / "whole")
    scores = validations(whole)
    top = max(scores, key=scores.get)
    assert top < 12, f"no validation was worse than the one before: {scores}"
    assert whole.summary()["best"] == {"figure": "val/psnr", "value": scores[top], "step": top}

    victim = start(command(photographs, tmp_path / "killed"), processes)
    wait_for_step(victim, tmp_path / "killed", top + 1)
    kill_tree(victim.pid)
    victim.communicate()
    killed = only_run(tmp_path / "killed")
    code, output = start_all(command(photographs, tmp_path / "killed"))
    assert code == 0 and "not there" not in output, output
    assert killed.summary()["best"] == whole.summary()["best"]
    for name in ("model.safetensors", "model.json"):
        assert (killed.best / name).read_bytes() == (whole.best / name).read_bytes()
    assert (whole.best / "model.safetensors").read_bytes() != whole.weights_file.read_bytes()
    assert daair.load(whole.best).step == top and daair.load(whole.folder).step == 12


def test_a_run_killed_before_it_wrote_the_best_weights_writes_them_when_it_goes_on(photographs, tmp_path) -> None:
    few = command(photographs, tmp_path, "train.steps=2")
    assert run(few)[0] == 0
    record = only_run(tmp_path)
    written = (record.best / "model.safetensors").read_bytes()
    for file in record.best.iterdir():
        file.unlink()
    record.update(state="interrupted", finished="")
    code, output = run(few)
    assert code == 0 and "resuming at step 2" in output, output
    assert (record.best / "model.safetensors").read_bytes() == written == record.weights_file.read_bytes()


def test_best_that_was_asked_for_later_counts_from_then_on(photographs: Path, tmp_path: Path) -> None:
    first = command(photographs, tmp_path, "train.keep=9", "train.best=null")
    assert run(first)[0] == 0
    record = only_run(tmp_path)
    assert not record.best.exists() and "best" not in record.summary()
    for step in (10, 12):
        for file in (record.checkpoints / f"step-{step:08d}").iterdir() if step == 12 else ():
            file.unlink()
    (record.checkpoints / "step-00000012").rmdir()
    record.update(state="interrupted", finished="")
    code, output = run(command(photographs, tmp_path, "train.keep=9"))
    assert code == 0 and "resuming at step 10" in output, output
    scores = validations(record)
    assert record.summary()["best"]["step"] == (10 if max(scores, key=scores.get) == 10 else 12)


@pytest.mark.parametrize("start_all", [run, run_ranks])
def test_a_run_that_gets_no_better_stops_and_a_resumed_one_after_the_same_update(
    photographs: Path, tmp_path: Path, start_all
) -> None:
    mine = [f"benchmarks.mine.target={photographs}/val/clean", "benchmarks.mine.degrade=sigma25"]
    patient = ["train.steps=60", "train.stop_after=2", *mine]
    small = [override for override in command(photographs, tmp_path, *patient) if override != "benchmarks=[]"]
    code, output = start_all(small)
    assert code == 0, output
    record = only_run(tmp_path)
    scores, status = validations(record), record.status()
    top = max(scores, key=scores.get)
    assert status.state == "done" and status.step == status.steps == max(scores) == top + 4 < 60
    text = f"stopped early after {status.step} of 60 updates: 2 validations without a val/psnr above {scores[top]:.2f}"
    assert status.message == f"{text}, of update {top}" and status.message in output
    assert json.loads((record.folder / "model.json").read_text())["step"] == status.step
    assert set(record.results()["step"]) == {status.step}

    record.update(state="interrupted", finished="")
    record.results_file.unlink()
    code, output = run([*small, "train.workers=0"])
    assert code == 0 and f"resuming at step {status.step} of 60" in output, output
    again = record.status()
    assert (again.step, again.steps, again.message) == (status.step, status.steps, status.message)
    assert validations(record) == scores and set(record.results()["step"]) == {status.step}


def test_checkpoints_for_good_can_be_used(photographs: Path, tmp_path: Path) -> None:
    many = ["train.keep=1", "train.keep_every=4", "train.best=null", "train.steps=9", "train.ema_decay=0.5"]
    assert run(command(photographs, tmp_path, *many))[0] == 0
    record = only_run(tmp_path)
    names = [path.name for path in sorted(record.checkpoints.iterdir())]
    assert names == ["step-00000004", "step-00000008", "step-00000009"]
    first = daair.load(record.checkpoints / names[0])
    assert first.step == 4 and first.labels == daair.load(record.folder).labels
    averaged = load_file(record.checkpoints / names[0] / "averaged.safetensors")
    assert all(torch.equal(value, averaged[name]) for name, value in first.state_dict().items())
    pictures = [f"input={photographs}/val/clean", f"output={tmp_path / 'out'}", "device=cpu"]
    code, output = run(["task=restore", f"checkpoint={record.checkpoints / names[0]}", *pictures])
    assert code == 0 and len(list((tmp_path / "out").iterdir())) == 4, output
