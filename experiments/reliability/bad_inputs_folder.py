"""Prepare the folder in which bad_inputs.py gives its inputs.

data/             four photographs each in train/clean and val/clean, 48 x 48, and pairs in paired/input and target
bad_data/         the same, but one photograph is cut off; tiny_data/: all have 6 x 6 pixels
pairs/            inputs and targets of other names, other sizes, no targets
pictures/         what is no picture, and odd ones
runs/             `first`, a finished run of one update (RUN); `rank`, a study of four made by hand;
                  further ones with one run each, copies of `first` of which a file was altered by hand
weights/          checkpoints that are damaged, foreign or hostile, each as a file or a folder
tables/           tables and published figures that are wrong
mynet.py          networks that are none
home/, empty/     empty folders
file.txt          a text; loop: a link to itself; broken_link: one to nothing; pipe: a pipe that nobody writes to
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from helpers import RUN, SMALL, make_photographs
from PIL import Image
from safetensors.torch import load_file, save_file
from studies import make_study

TRAINED = [
    *(word for word in SMALL if not word.startswith("benchmarks")),
    *("train.steps=1", "mix.root=data", "benchmarks.mine.target=data/val/clean", "benchmarks.mine.degrade=sigma25"),
]
"""The words of the command of the finished run, but `study=first`."""

NETWORKS = """
from torch import nn

number = 3


class Net(nn.Module):
    def __init__(self, width: int = 8):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.layer(x)


class Smaller(Net):
    def forward(self, x):
        return self.layer(x)[:, :, 2:, 2:]


class Grey(Net):
    def forward(self, x):
        return self.layer(x)[:, :1]


class Several(Net):
    def forward(self, x):
        return self.layer(x), x


class Broken(Net):
    def forward(self, x):
        return self.layer(x.flatten())


class Unbuilt(Net):
    def __init__(self):
        raise RuntimeError("no such thing")


class Weightless(nn.Module):
    def forward(self, x):
        return x


class Needy(Net):
    def __init__(self, width, *, depth):
        super().__init__()


def text():
    return "not a network"
"""
TABLES = {
    "broken.yaml": "main: {decimals: 2\n",
    "list.yaml": "- main\n- other\n",
    "empty.yaml": "",
    "unknown_key.yaml": "main:\n  decimal: 2\n",
    "wrong_value.yaml": "main:\n  decimals: many\n",
    "bad_name.yaml": "../../main:\n  decimals: 2\n",
    "latin.yaml": None,
    "empty.csv": "",
    "heading.csv": "method,benchmark,psnr_db\n",
    "no_benchmark.csv": "method,psnr_db\nOther,30.1\n",
    "no_number.csv": "method,benchmark,psnr_db\nOther,demo_noise25,thirty\n",
    "unknown_column.csv": "method,benchmark,psnr_dbb\nOther,demo_noise25,30.1\n",
    "other_benchmark.csv": "method,benchmark,psnr_db\nOther,set5,30.1\n",
    "binary.csv": None,
}


class Hostile:
    """A pickle that writes a file when it is loaded."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch hacked",)


def prepare(folder: Path, start: Callable) -> str:
    """Fill `folder` and return the path of the finished run in it; `start` runs a process there."""
    _data(folder)
    _pictures(folder / "pictures")
    for name in ("home/.config/matplotlib", "empty"):  # Matplotlib makes the first when it is imported
        (folder / name).mkdir(parents=True)
    (folder / "file.txt").write_text("a text\n")
    (folder / "loop").symlink_to("loop")
    (folder / "broken_link").symlink_to("not/here")
    os.mkfifo(folder / "pipe")
    (folder / "mynet.py").write_text(NETWORKS)
    (folder / "tables").mkdir()
    for name, text in TABLES.items():
        content = b"\xff\xfe\x00\x01\xe9\n" if text is None else text.encode()
        (folder / "tables" / name).write_bytes(content)
    make_study(folder / "runs", seeds=(0, 1), ranks=(2, 4))
    env = {
        "PATH": os.environ["PATH"],
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "HOME": str(folder / "home"),
    }
    status, output, _ = start([RUN, *TRAINED, "study=first"], env)
    assert status == 0, output
    run = next((folder / "runs" / "first").glob("*/seed0"))
    _weights(folder / "weights", run)
    _odd_runs(folder / "runs", run)
    return str(run.relative_to(folder))


def _data(folder: Path) -> None:
    make_photographs(folder / "data")
    for name in ("input", "target"):
        shutil.copytree(folder / "data" / "train" / "clean", folder / "data" / "paired" / name)
    for name in ("bad_data", "tiny_data"):
        shutil.copytree(folder / "data", folder / name)
    cut = folder / "bad_data" / "train" / "clean" / "train1.png"
    cut.write_bytes(cut.read_bytes()[:200])
    for file in (folder / "tiny_data").rglob("*.png"):
        Image.open(file).resize((6, 6)).save(file)
    clean = folder / "data" / "train" / "clean"
    for kind in ("other_names", "other_sizes", "no_targets", "texts"):
        for part in ("input", "target"):
            (folder / "pairs" / kind / part).mkdir(parents=True)
        for file in sorted(clean.iterdir()):
            shutil.copy(file, folder / "pairs" / kind / "input" / file.name)
    for file in sorted(clean.iterdir()):
        shutil.copy(file, folder / "pairs" / "other_names" / "target" / f"clean_{file.name}")
        Image.open(file).resize((40, 40)).save(folder / "pairs" / "other_sizes" / "target" / file.name)
        (folder / "pairs" / "texts" / "target" / file.name).write_text("a text\n")


def _pictures(folder: Path) -> None:
    folder.mkdir()
    whole = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    whole.save(folder / "good.png")
    whole.save(folder / "good.jpg")
    content = (folder / "good.png").read_bytes()
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("a text\n")
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    (folder / "cut.jpg").write_bytes((folder / "good.jpg").read_bytes()[:300])
    (folder / "header.png").write_bytes(content[:20])
    (folder / "noise.png").write_bytes(random.Random(0).randbytes(4000))
    (folder / "page.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "raw.cr2").write_bytes(b"II*\0\x10\0\0\0CR\2\0")
    bits = bytearray(content)
    bits[len(bits) // 2] ^= 255
    (folder / "flipped.png").write_bytes(bits)
    huge = bytearray(content)
    huge[16:24] = (100_000).to_bytes(4, "big") * 2
    (folder / "huge.png").write_bytes(huge)
    whole.save(folder / "animated.gif", save_all=True, append_images=[whole.rotate(90)])
    whole.save(folder / "animated.png", save_all=True, append_images=[whole.rotate(90)])
    whole.convert("CMYK").save(folder / "cmyk.jpg")
    whole.convert("CMYK").save(folder / "cmyk.tif")
    Image.fromarray(np.zeros((40, 40), np.float32)).save(folder / "float.tif")
    whole.save(folder / "pages.tif", save_all=True, append_images=[whole.rotate(90)])
    (folder / "folder.png").mkdir()
    (folder / "nowhere.png").symlink_to("not_here.png")
    (folder / "bad").mkdir()
    for name in ("empty.png", "text.png", "cut.jpg"):
        shutil.copy(folder / name, folder / "bad" / name)
    (folder / "texts").mkdir()
    (folder / "texts" / "notes.txt").write_text("a text\n")


def _weights(folder: Path, run: Path) -> None:
    folder.mkdir()
    good, described = (run / "model.safetensors").read_bytes(), json.loads((run / "model.json").read_text())
    state = load_file(run / "model.safetensors")

    def network(name: str, weights: bytes | dict, description: object = described) -> None:
        place = folder / name
        place.mkdir()
        if isinstance(weights, dict):
            save_file(weights, place / "model.safetensors")
        else:
            (place / "model.safetensors").write_bytes(weights)
        if description is not None:
            text = description if isinstance(description, str) else json.dumps(description)
            (place / "model.json").write_text(text)

    first = next(iter(state))
    network("empty", b"")
    network("cut", good[: len(good) // 2])
    network("flipped_header", b"\xff" * 8 + good[8:])
    network("huge_header", (2**40).to_bytes(8, "little") + good[8:])
    network("text", b"a text\n")
    network("no_json", good, None)
    network("empty_json", good, "")
    network("list_json", good, "[1, 2]")
    network("null_json", good, "null")
    network("cut_json", good, json.dumps(described)[:40])
    network("deep_json", good, "[" * 100_000)
    network("other_shapes", {name: torch.zeros(3) for name in state})
    network("one_missing", {name: value for name, value in state.items() if name != first})
    network("one_more", {**state, "further": torch.zeros(1)})
    network("other_names", {f"x_{i}": value for i, value in enumerate(state.values())})
    network("no_tensors", {})
    network("nan", {name: torch.full_like(value, float("nan")) for name, value in state.items()})
    network("integers", {name: value.long() for name, value in state.items()})
    for name, target in {
        "hostile": "os.system",
        "builtin": "builtins.eval",
        "hydra": "hydra.utils.instantiate",
        "private": "daair.models.daair.torch.load",
        "trusted": "mynet.Net",
        "number": 3,
    }.items():
        network(name, good, {**described, "model": {"_target_": target, "command": "touch hacked"}})
    network("wrong_size", good, {**described, "model": {**described["model"], "channels": 12}})
    network("absurd", good, {**described, "model": {**described["model"], "channels": 10**9}})
    network("wrong_labels", good, {**described, "labels": 7})
    for name, stored in {
        "hostile.pth": {"state_dict": Hostile()},
        "list.pth": [1, 2],
        "no_tensors.pth": {"epoch": 3},
        "foreign.pth": {"net.conv.weight": torch.zeros(3, 3, 3, 3)},
        "module.pth": torch.nn.Conv2d(3, 3, 3),
    }.items():
        torch.save(stored, folder / name)
    (folder / "plain.pkl").write_bytes(pickle.dumps(Hostile()))
    (folder / "plain.pth").write_bytes(pickle.dumps(Hostile()))
    (folder / "empty.pth").write_bytes(b"")
    (folder / "text.ckpt").write_text("a text\n")
    (folder / "cut.pth").write_bytes((folder / "foreign.pth").read_bytes()[:500])
    (folder / "zip.pth").write_bytes(b"PK\x05\x06" + bytes(18))
    (folder / "model.onnx").write_bytes(b"\x08\x07")
    (folder / "nowhere.safetensors").symlink_to("not_here.safetensors")


def _odd_runs(runs: Path, run: Path) -> None:
    """Copies of the finished run, each altered in one way, in a study of its own."""

    def altered(study: str) -> Path:
        place = runs / study / run.parent.name / "seed0"
        shutil.copytree(run, place)
        return place

    (altered("no_config") / "config.yaml").unlink()
    (altered("bad_config") / "config.yaml").write_text("model: [1, 2\n")
    (altered("list_config") / "config.yaml").write_text("- 1\n")
    (altered("empty_config") / "config.yaml").write_text("")
    (altered("bad_status") / "status.json").write_text('{"state": "do')
    (altered("strange_state") / "status.json").write_text('{"state": "finished", "step": "many"}')
    (altered("list_status") / "status.json").write_text("[]")
    (altered("no_status") / "status.json").unlink()
    (altered("bad_results") / "results.csv").write_text("benchmark,psnr\nmine\n")
    (altered("text_results") / "results.csv").write_bytes(b"\x00\xff\x00\xff")
    (altered("empty_results") / "results.csv").write_text("")
    odd = altered("text_psnr") / "results.csv"
    odd.write_text("\n".join([*odd.read_text().splitlines(), "mine,promptir,x.png" + ",many" * 10]) + "\n")
    (altered("no_results") / "results.csv").unlink()
    (altered("bad_metrics") / "metrics.jsonl").write_text('not json\n{"step": "x"}\n[1]\n{"step": 1}\n')
    (altered("bad_summary") / "summary.json").write_text("{")
    (altered("bad_environment") / "environment.json").write_text("[]")
    (altered("no_weights") / "model.safetensors").unlink()
    cut = altered("cut_weights") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    (altered("other_weights") / "model.json").write_text('{"model": {"_target_": "os.system"}}')
    (altered("folder_config") / "config.yaml").unlink()
    (runs / "folder_config" / run.parent.name / "seed0" / "config.yaml").mkdir()
