"""Trainings for a time: the updates are measured, recorded, and the same in every process and after a kill."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT, SMALL, composed, environment, make_photographs, run, run_ranks
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from warm import Warm

from daair.config.accepted import UNITS, seconds, spelled
from daair.config.schema import Phase, Train
from daair.config.validate import validate
from daair.engine import budget
from daair.engine.budget import PLAN, Speed
from daair.engine.stages import spans
from daair.errors import UserError
from daair.models.training import Stage
from daair.runs.record import Record


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photographs(tmp_path_factory.mktemp("photographs"))


def command(photographs: Path, runs: Path, *more: str) -> list[str]:
    habits = ["train.checkpoint_every=2", "train.validate_every=1000", "train.budget=2s"]
    return [*SMALL, *habits, f"mix.root={photographs}", f"paths.runs={runs}", *more]


def only_run(runs: Path) -> Record:
    (folder,) = runs.glob("*/*/seed*")
    return Record(folder)


def test_a_killed_run_goes_on_with_the_updates_that_it_measured(photographs: Path, tmp_path: Path) -> None:
    parts = "train.progressive=[{share:0.5,patch:8,batch_size:8},{share:0.5}]"
    script = str(Path(__file__).with_name("killed.py"))
    given = command(photographs, tmp_path / "killed", parts)
    victim = Warm([script, *given], ROOT, environment() | {"KILL_AT": "3"})
    output = victim.communicate(timeout=240)[0]
    assert victim.returncode == -9 and "measuring how many updates fit into train.budget=2s" in output, output
    killed = only_run(tmp_path / "killed")
    noted, config = killed.summary()["budget"], killed.config()["train"]
    steps = noted["steps"]
    assert killed.status().steps == steps and noted["time"] == config["budget"] == "2s" and config["steps"] is None
    assert f"{steps} updates fit into 2s" in output
    assert [(part["patch"], part["batch_size"]) for part in noted["parts"]] == [(8, 8), (None, 4)]

    whole = Record(tmp_path / "whole" / killed.folder.relative_to(tmp_path / "killed"))
    whole.summarise(budget=noted)
    for runs in ("whole", "killed"):
        code, output = run(command(photographs, tmp_path / runs, parts))
        assert code == 0 and "measuring" not in output, output
    assert f"resuming at step 2 of {steps}" in output
    assert (whole.status().step, killed.status().step) == (steps, steps)
    assert killed.summary()["budget"] == noted
    assert killed.weights_file.read_bytes() == whole.weights_file.read_bytes()
    losses = [[row["train/loss"] for row in r.metrics() if "train/loss" in row] for r in (whole, killed)]
    assert losses[0] == losses[1] and len(losses[0]) == steps


def test_measuring_leaves_no_trace_and_all_processes_agree(photographs: Path, tmp_path: Path) -> None:
    """The measured run is the one of as many fixed updates."""
    code, output = run_ranks(command(photographs, tmp_path / "time"))
    assert code == 0, output
    measured = only_run(tmp_path / "time")
    steps = measured.summary()["budget"]["steps"]
    fixed = command(photographs, tmp_path / "fixed", "train.budget=null", f"train.steps={steps}")
    code, output = run_ranks(fixed)
    assert code == 0, output
    assert only_run(tmp_path / "fixed").weights_file.read_bytes() == measured.weights_file.read_bytes()


@given(st.lists(st.tuples(st.integers(1, 100), st.floats(1e-3, 10)), min_size=1, max_size=4), st.floats(1, 1e6))
def test_the_parts_together_take_the_time(parts: list[tuple[int, float]], total: float) -> None:
    whole = sum(weight for weight, _ in parts)
    speeds = [Speed("", None, 4, weight / whole, 9, seconds) for weight, seconds in parts]
    steps = budget.updates_within(total, speeds)
    assert steps * sum(s.share * s.seconds for s in speeds) <= total * (1 + 1e-9)
    assert (steps + 1) * sum(s.share * s.seconds for s in speeds) > total * (1 - 1e-9)


def test_the_first_updates_are_not_measured() -> None:
    network = nn.Linear(1, 1)
    network.stages = lambda: (Stage("a", 0.25), Stage("b", 0.75))
    options = Train.model_construct(steps=PLAN, batch_size=4, accumulation=1, freeze=(), progressive=())
    made: list[int] = []

    def update(step: int) -> float:
        made.append(step)
        return 9.0 if len(made) < budget.WARM_UP else 0.25

    last = spans(network, options)[1]
    speed = budget.timed(last, update, time=10)
    assert speed == Speed("b", None, 4, 0.75, 40, 0.25)
    assert made == list(range(PLAN // 4, PLAN // 4 + budget.WARM_UP + 40))
    assert budget.timed(last, update, time=0).updates == budget.LEAST


def test_epochs_come_to_updates_by_the_images_of_each() -> None:
    phases = "train.progressive=[{share:0.5,patch:8,batch_size:8},{share:0.5}]"
    asked = (["train.epochs=2.5", *more] for more in ([], [phases], ["train.accumulation=3"]))
    configs = [validate(composed(*SMALL, "mix.root=x", *keys), {}) for keys in asked]
    assert [cfg.train.steps for cfg in configs] == [None] * 3
    steps = [budget.settled(cfg, Record(Path("none")), samples=96).train.steps for cfg in configs]
    assert steps == [2.5 * 96 / 4, 2.5 * 96 / 6, 2.5 * 96 / 12]


def test_a_time_too_short_for_an_update_is_refused(tmp_path: Path) -> None:
    session = SimpleNamespace(
        cfg=SimpleNamespace(train=SimpleNamespace(steps=None, budget="1s"), model_copy=lambda **_: None),
        reporter=SimpleNamespace(say=lambda text: None),
        accelerator=SimpleNamespace(free_memory=lambda: None),
    )
    session.cfg.train.model_copy = lambda **_: None
    with pytest.raises(UserError, match="^train.budget: 1s is less than an update takes"):
        budget.resolve(session, lambda plan, time: [Speed("", None, 4, 1.0, 5, 3.0)])


@given(st.integers(1, 10**5), st.sampled_from(["s", "min", "h"]))
def test_a_time_has_one_spelling(number: int, unit: str) -> None:
    time = spelled(f"{number}{unit}")
    assert seconds(time) == seconds(f"{number}{unit}") == number * UNITS[unit]
    assert time == spelled(f"{seconds(time):.0f}s")


def test_phases_cut_stages_and_keep_their_schedule() -> None:
    network = nn.Linear(1, 1)
    network.stages = lambda: (Stage("a", 0.25, batch_size=6), Stage("b", 0.75))
    phases = (Phase(share=0.5, patch=16, batch_size=8), Phase(share=0.5, patch=32))
    options = Train.model_construct(steps=20, batch_size=4, accumulation=1, freeze=(), progressive=phases)
    laid = spans(network, options)
    assert [(s.stage.name, s.begin, s.end, s.first, s.stop, s.patch, s.batch_size) for s in laid] == [
        ("a", 0, 5, 0, 5, 16, 6),
        ("b", 5, 20, 5, 10, 16, 8),
        ("b", 5, 20, 10, 20, 32, 4),
    ]
    assert [s.before for s in laid] == [0, 30, 70] and laid[-1].images(20) == 110
    for before, span in zip(laid, laid[1:], strict=False):
        assert before.images(before.stop) <= span.micro_batch(span.first) * span.batch_size
