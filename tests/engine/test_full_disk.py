"""A disk that fills up in the middle of a training: one clear line, nothing torn, and the same command goes on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import RUN, SMALL, environment, make_photographs

from daair.errors import UserError
from daair.files import replacing, replacing_folder
from daair.runs.record import Record

SMALL_DISK = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size="$0" none runs && exec "$@"']


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "runs").mkdir()
    if shutil.which("unshare") is None or subprocess.run([*SMALL_DISK, "1m", "true"], cwd=tmp_path).returncode:
        pytest.skip("no small disk can be mounted here")
    return tmp_path


# Writes with each of the writers until the disk is full; then looks at what is there.
WRITER = """
from pathlib import Path
from safetensors.torch import save_file
import torch
from daair.errors import UserError
from daair.files import replacing, replacing_folder, write_text
from daair.runs.record import Record

def fails(write):
    try:
        write()
    except UserError as error:
        return str(error)

def weights():
    with replacing(Path("runs/a.safetensors")) as file:
        save_file({"w": torch.zeros(1 << 18)}, file)

def state():
    with replacing_folder(Path("runs/step-2")) as folder:
        torch.save({"w": torch.zeros(1 << 18)}, folder / "optimizer.bin")

write_text(Path("runs/a.txt"), "old")
record = Record("runs/s/x-00000001/seed0")
record.queue({}, 1)
rest = "; make room, then give the same command again"
assert fails(lambda: write_text(Path("runs/a.txt"), "x" * 10**6)) == "runs/a.txt: no space left on its disk" + rest
assert fails(weights) == "runs/a.safetensors: no space left on its disk" + rest
assert fails(state) == "runs/step-2: no space left on its disk" + rest
assert Path("runs/a.txt").read_text() == "old"
assert sorted(path.name for path in Path("runs").iterdir()) == ["a.txt", "s"]
Path("runs/ballast").write_bytes(bytes(250_000))
assert fails(lambda: [record.log(k, {"x": "y" * 30_000}) for k in range(20)]).startswith(str(record.metrics_file))
before = len(record.metrics())
assert fails(lambda: [record.update(message="m" * 10**5)]).startswith(str(record.status_file))
assert record.read_status().state == "queued"
Path("runs/ballast").unlink()
record.rewind(0)
record.log(1, {})
assert before > 1 and [row["step"] for row in record.metrics()] == [0, 1]
"""


def test_every_writer_says_so_and_leaves_what_was_there(folder: Path) -> None:
    done = subprocess.run(
        [*SMALL_DISK, "400k", sys.executable, "-c", WRITER], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


# The first command fills the disk; there is room for the second, on the same disk.
TWICE = """
import subprocess, sys
from pathlib import Path
ballast = Path("runs/ballast")
ballast.write_bytes(bytes(int(sys.argv[1])))
for attempt in range(2):
    done = subprocess.run([sys.executable, *sys.argv[2:]], capture_output=True, text=True)
    status = next(Path("runs").glob("*/*/seed0/status.json")).read_text()
    print(repr((done.returncode, done.stderr, status)))
    ballast.unlink(missing_ok=True)
"""


def test_a_training_stops_with_one_line_and_the_same_command_finishes_it(folder: Path) -> None:
    make_photographs(folder, count=2)
    training = [RUN, *SMALL, f"mix.root={folder}", "train.steps=4", "train.checkpoint_every=2"]
    done = subprocess.run(
        [*SMALL_DISK, "16m", sys.executable, "-c", TWICE, str(15 << 20), *training],
        cwd=folder, capture_output=True, text=True, timeout=240, env=environment(),
    )  # fmt: skip
    first, second = map(eval, done.stdout.splitlines())
    assert first[0] == 1
    assert first[1].startswith("error: runs/default/") and first[1].count("\n") == 1
    assert "no space left on its disk; make room, then give the same command again" in first[1]
    assert json.loads(first[2])["state"] == "failed"
    assert second[0] == 0, second[1]
    assert json.loads(second[2])["state"] == "done"


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), replacing(tmp_path / "a"):
        raise PermissionError("no")
    with pytest.raises(UserError, match="^mine$"), replacing_folder(tmp_path / "b"):
        raise UserError("mine")
    assert list(tmp_path.iterdir()) == [] and Record(tmp_path).metrics() == []
