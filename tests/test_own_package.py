"""Somebody's own package, from the command line to the table: trained in a sweep, killed, resumed, and trusted or not.

`tests/test_plugin.py` looks at how its configs are found and composed; here it runs.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from helpers import PLUGIN, SMALL, alive, environment, install_plugin, make_photographs, run, start
from warm import Warm

import daair
from daair.errors import UserError
from daair.runs.record import Record

SMALLEST = [o for o in SMALL if not o.startswith(("model", "experts", "mix=", "benchmarks", "device"))]
STEPS = 12
NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, width, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with photographs, to work in."""
    monkeypatch.chdir(tmp_path)
    return make_photographs(tmp_path)


@pytest.fixture
def installed(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lab, with the plugin of tests/plugin installed for the processes that are started."""
    path = [str(PLUGIN), str(install_plugin(lab / "site")), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    return lab


def training(lab: Path, *overrides: str) -> list[str]:
    """A training of a few steps on the lab's photographs, measured on one image set of them."""
    budget = [f"train.steps={STEPS}", "train.checkpoint_every=3", "train.validate_every=6"]
    return [*SMALLEST, f"mix.root={lab}", "mix.cache=null", *measured(lab), *budget, *overrides]


def measured(lab: Path) -> list[str]:
    """A benchmark of the lab's own photographs."""
    mine = [f"benchmarks.mine.target={lab}/val/clean", "benchmarks.mine.degrade=sigma25"]
    return [*mine, "evaluate.pictures=0", "device=cpu"]


def records(lab: Path, runs: str = "runs") -> dict[str, Record]:
    """All runs of a lab, by variant and seed."""
    try:
        files = sorted(lab.glob(f"{runs}/*/*/seed*/status.json"))
    except FileNotFoundError:  # a folder went away while it was read
        return {}
    return {f"{file.parts[-3]}/{file.parts[-2]}": Record(file.parent) for file in files}


def done(command: list[str], lab: Path) -> str:
    """Run a command that must succeed; returns what it printed."""
    code, output = run(command, cwd=lab)
    assert code == 0, output
    return output


def refused(command: list[str], lab: Path) -> str:
    """Run a command that must be refused in one line; returns the line."""
    code, output = run(command, cwd=lab)
    assert code == 1 and output.count("\n") == 1 and output.startswith("error: "), output
    return output


def kill_when(process: Warm, happened: Callable[[], bool]) -> None:
    """Kill a process, and nothing else, as soon as something has happened; whatever it has started ends with it."""
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None and time.monotonic() < deadline, process.output.read_text()
        time.sleep(0.01)
    started = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.kill()
    while any(alive(pid) for pid in started):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def in_the_middle(record: Record) -> bool:
    status = record.status()
    return status.state == "running" and 0 < status.step <= status.steps // 2


@pytest.mark.timeout(600)
def test_a_plugin_from_the_command_line_to_the_table(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = installed
    sweep = ["-m", "model=mynet,daair_tiny", "seed=0,1", "hydra/launcher=accelerate", "mix=ours", "launch.slots=2"]
    command = training(lab, *sweep, "study=open")
    sweep_process = start(command, cwd=lab)  # killed while the slower network trains
    kill_when(sweep_process, lambda: any(in_the_middle(r) for name, r in records(lab).items() if "tiny" in name))
    states = [record.status().state for record in records(lab).values()]
    assert len(states) == 4 and states.count("done") < 4 and "interrupted" in states, states

    done(command, lab)
    runs = records(lab)
    assert [record.status().state for record in runs.values()] == ["done"] * 4
    assert max(record.status().attempt for record in runs.values()) == 2, "one was resumed"

    output = done(["task=collate", "study=open"], lab)
    assert "mynet" in output and "daair_tiny" in output
    table = pd.read_csv(lab / "runs" / "open" / "table.csv")
    assert sorted(table["model"].unique()) == ["daair_tiny", "mynet"] and set(table["seeds"]) == {2}

    mynet = next(record.folder for name, record in runs.items() if "mynet" in name)
    monkeypatch.syspath_prepend(PLUGIN)
    with pytest.raises(UserError, match=r"names 'mypkg.Net', .* add trust=\[mypkg\]$") as caught:
        daair.load(mynet)
    assert "\n" not in str(caught.value)
    network = daair.load(mynet, trust=["mypkg"])
    assert type(network).__name__ == "Net" and network.labels == ["noise15", "noise50", "stripes"]

    evaluate = ["task=evaluate", f"checkpoint={mynet}", *measured(lab)]
    assert "add trust=[mypkg]" in refused(evaluate, lab)
    assert "mine" in done([*evaluate, "trust=[mypkg]"], lab)


def test_its_study_router_and_mix_by_name(installed: Path) -> None:
    lab = installed
    output = done(training(lab, "experiment=ourstudy", "launch.dry_run=true"), lab)
    assert output.startswith("6 runs") and "tiny_mine" in output and not (lab / "runs").exists()
    done(training(lab, "model=daair_tiny", "router=mine", "mix=ours", "train.steps=2"), lab)
    (record,) = records(lab).values()
    assert record.config()["router"]["_target_"] == "mypkg.ByBrightness"
    assert record.config()["mix"]["tasks"]["stripes"]["degrade"]["_target_"] == "mypkg.stripes"


@pytest.mark.timeout(600)
def test_a_network_in_the_current_directory(lab: Path) -> None:
    (lab / "mypkg.py").write_text(NET)
    command = training(lab, "model._target_=mypkg.Net", "model.width=4", "mix=denoise", "study=own", "train.steps=240")
    done([*command, "paths.runs=whole"], lab)
    kill_when(start(command, cwd=lab), lambda: any(map(in_the_middle, records(lab).values())))
    hint = done(command, lab).splitlines()[-1]
    assert hint.startswith("restore your own:") and "'trust=[mypkg]'" in hint, hint
    (record,), (whole,) = records(lab).values(), records(lab, "whole").values()
    assert (record.status().state, record.status().attempt) == ("done", 2)
    assert record.config()["model"] == {"_target_": "mypkg.Net", "width": 4}
    assert record.weights_file.read_bytes() == whole.weights_file.read_bytes()

    evaluate = ["task=evaluate", f"checkpoint={record.folder}", *measured(lab)]
    restore = ["task=restore", f"checkpoint={record.folder}", f"input={lab}/val/clean", "output=restored", "device=cpu"]
    for task in (evaluate, restore):
        assert "add trust=[mypkg]" in refused(task, lab)
        done([*task, "trust=[mypkg]"], lab)
    assert len(list((lab / "restored").iterdir())) == 4

    again = [*command, "-m", "hydra/launcher=accelerate", "launch.dry_run=true"]
    assert "has changed" not in done(again, lab)
    (lab / "mypkg.py").write_text(f"{NET}# edited")
    output, name = done(again, lab), f"own/{record.folder.parent.name}/seed0"
    assert (
        f"skipped 1 (done already): {name}\nwarning: 1 of them began before the code of mypkg changed: {name}" in output
    )
    assert "warning: the code of mypkg has changed since this run was started" in done(command, lab)


def test_a_hostile_run_folder_runs_nothing(lab: Path) -> None:
    """Its config names a package that lies there, too: neither is it imported, nor are functions of ours called."""
    (lab / "mypkg.py").write_text(NET)
    (lab / "evil.py").write_text("open('owned', 'w')\n")
    done(training(lab, "model._target_=mypkg.Net", "mix=denoise", "train.steps=2"), lab)
    (record,) = records(lab).values()
    config = record.config()
    for part, target in (("model", "evil.Net"), ("task", "evil.train"), ("loss", "mypkg.torch.hub.load")):
        text = yaml.safe_dump({**config, part: {**config[part], "_target_": target}}, sort_keys=False)
        record.config_file.write_text(text)
        for trust in ([], ["--trust", "mypkg"]):
            work = Warm(["-m", "daair.launch.worker", str(record.folder), *trust], lab, environment())
            output = work.communicate(timeout=120)[0]
            assert work.returncode == 1 and output.count("\n") == 1, output
            assert output.startswith("error: ") and "refused, since it names" in output, output
        if target.startswith("evil"):  # the network itself is trusted, but not what else the config names
            row = ["task=evaluate", f"checkpoint={record.folder}", f"study={part}", "trust=[mypkg]", *measured(lab)]
            done(row, lab)
    assert not (lab / "owned").exists()
