"""Some of the bad inputs of experiments/reliability: each is still answered as the committed file says."""

import csv
import importlib.util
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from warm import Warm

HERE = ROOT / "experiments" / "reliability"
SAMPLE = [
    "python run.py experts.rnk=8",
    "python run.py train.steps=1e3x",
    "python run.py model.heads=[3,3,3,3]",
    "python run.py --experts.rank 4",
    "RANK=x WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=1 python run.py seed=-1",
    "python run.py mix=denoise mix.root=bad_data mix.patch=16",
    "python run.py task=restore input=pictures/good.png output=out checkpoint=weights/cut",
    "python run.py task=restore input=pictures/good.png output=out checkpoint=weights/hostile.pth model=daair_tiny",
    "python run.py task=restore input=pipe output=out",
    "python run.py task=runs study=rank where=\"__import__('os').system('touch hacked')\"",
    "python run.py task=compare runs=[{RUN},runs/bad_config/{VARIANT}/seed0]",
    "python run.py task=collate study=rank collate.rows=[benchmarkx]",
    "python run.py experts.count=1000000000",
    "python run.py -m hydra.sweeper.params=seed",
    "python run.py model._target_=mynet.Grey",
    '>>> daair.load("weights/hostile")',
    '>>> daair.collate("runs/bad_config")',
]


@pytest.fixture(scope="module")
def inputs():
    sys.path.append(str(HERE))
    try:
        spec = importlib.util.spec_from_file_location("bad_inputs", HERE / "bad_inputs.py")
        sys.modules["bad_inputs"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def committed(inputs) -> dict[str, dict[str, str]]:
    with open(inputs.ROWS, newline="", encoding="utf-8") as file:
        return {row["typed"]: row for row in csv.DictReader(file)}


def test_the_answers_are_those_of_the_committed_file(inputs, committed, tmp_path: Path) -> None:
    def start(arguments, env):
        process = Warm(arguments, tmp_path, env)
        output = process.communicate(timeout=120)[0]
        return process.returncode, output, 0.0

    run = inputs.prepare(tmp_path, start)
    listed = {one.typed: one for one in inputs.read_inputs()}
    before = inputs.listing(tmp_path)
    for typed in SAMPLE:
        status, output, _ = start(*inputs.command(typed, tmp_path, run))
        altered = inputs.difference(before, inputs.listing(tmp_path))
        row = inputs.judge(listed[typed], status, inputs.shown(output, tmp_path, run), 0.0, altered)
        told = {name: str(getattr(row, name)) for name in ("status", "answer", "lines", "traceback", "altered")}
        assert told == {name: committed[typed][name] for name in told}, typed


def test_every_input_has_a_row_without_a_fault(inputs, committed) -> None:
    assert [one.typed for one in inputs.read_inputs()] == list(committed)
    assert len(committed) >= 250
    for typed, row in committed.items():
        assert (row["traceback"], row["altered"]) == ("no", "no"), typed
        assert row["status"] == "1", typed
