"""The small peers in real trainings: each is killed, and ends as one that nothing interrupted, to the last byte."""

from pathlib import Path

import pytest
from helpers import ROOT, RUN, SMALL, environment, make_photographs, run
from warm import Warm

from daair.runs.record import Record

PEERS = [f"{name}_tiny" for name in ("restormer", "promptir", "adair", "moceir", "nafnet", "swinir")]
TRAINING = [option for option in SMALL if not option.startswith(("model", "experts"))]
TRAINING += ["train.steps=6", "train.checkpoint_every=2", "train.validate_every=6"]
STATE = ("model.safetensors", "optimizer.bin", "averaged.safetensors")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photographs(tmp_path_factory.mktemp("photographs"))


def command(photographs: Path, runs: Path, *more: str) -> list[str]:
    return [*TRAINING, f"mix.root={photographs}", f"paths.runs={runs}", *more]


def start_and_kill(overrides: list[str], step: int) -> Warm:
    """Start a training that is killed after this update, before its checkpoint."""
    script = str(Path(__file__).with_name("killed.py"))
    return Warm([script, *overrides], ROOT, environment() | {"KILL_AT": str(step)})


def compare(whole: Path, killed: Path, count: int) -> None:
    """Compare the weights and the states of all runs below two folders, and their metrics."""
    records = {record.folder.parent.name[-8:]: record for record in map(Record, whole.glob("*/*/seed0"))}
    others = {record.folder.parent.name[-8:]: record for record in map(Record, killed.glob("*/*/seed0"))}
    assert records.keys() == others.keys() and len(records) == count
    for name, one in records.items():
        other = others[name]
        assert other.status().state == "done"
        for file in ("model.safetensors", *(f"checkpoints/step-00000006/{part}" for part in STATE)):
            assert (one.folder / file).read_bytes() == (other.folder / file).read_bytes(), (one.folder, file)
        losses = [[row["train/loss"] for row in r.metrics() if "train/loss" in row] for r in (one, other)]
        assert losses[0] == losses[1] and len(losses[0]) == 6


def test_each_peer_resumes_to_the_last_byte(photographs: Path, tmp_path: Path) -> None:
    sweep = ["-m", f"model={','.join(PEERS)}"]
    whole = Warm([RUN, *command(photographs, tmp_path / "whole", *sweep)], ROOT, environment())
    victims = [start_and_kill(command(photographs, tmp_path / "killed", f"model={name}"), 3) for name in PEERS]
    for victim in victims:
        output = victim.communicate(timeout=240)[0]
        assert victim.returncode == -9, output
    code, output = run(command(photographs, tmp_path / "killed", *sweep))
    logs = [record.log_file.read_text() for record in map(Record, (tmp_path / "killed").glob("*/*/seed0"))]
    assert code == 0 and sum("resuming at step 2 of 6" in log for log in logs) == len(PEERS), output
    output = whole.communicate(timeout=240)[0]
    assert whole.returncode == 0, output
    compare(tmp_path / "whole", tmp_path / "killed", len(PEERS))


def test_airnet_resumes_in_both_of_its_stages(photographs: Path, tmp_path: Path) -> None:
    stages = ["model=airnet_tiny", "model.warmup.share=0.5"]
    code, output = run(command(photographs, tmp_path / "whole", *stages))
    assert code == 0 and "stage encoder: updates 1 to 3" in output and "stage restoration: updates 4 to 6" in output
    for step in (3, 5):
        victim = start_and_kill(command(photographs, tmp_path / "killed", *stages), step)
        output = victim.communicate(timeout=240)[0]
        assert victim.returncode == -9, output
    code, output = run(command(photographs, tmp_path / "killed", *stages))
    assert code == 0 and "resuming at step 4 of 6" in output, output
    compare(tmp_path / "whole", tmp_path / "killed", 1)
