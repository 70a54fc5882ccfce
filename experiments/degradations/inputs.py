"""How bad are the inputs? Input PSNR and SSIM of real pairs and of each synthetic degradation beside them.

    .venv/bin/python experiments/degradations/inputs.py mix.root=DIR   writes inputs.csv and real.jpg, three minutes

Goes the way of `task=evaluate model=identity`: the rows are those of `daair.engine.measure`. A synthetic degradation
with a real set to imitate is drawn on that set's own clean pictures, the others on `val/clean`; each about 100 times.
"""

import sys
from functools import partial
from pathlib import Path

import pandas as pd
from accelerate import Accelerator
from hydra import compose, initialize_config_dir

from daair import components
from daair.cli import conf_dir
from daair.config.validate import validate
from daair.data.benchmarks import Item
from daair.data.datasets import LocatedDataset, locate_dataset
from daair.data.images import read_rgb
from daair.data.strength import strengths
from daair.engine.measure import measure
from daair.engine.progress import Reporter
from daair.files import replacing
from daair.models.identity import Identity
from daair.runs.environment import git_state
from daair.runs.pictures import comparison
from daair.tasks.preview import window

PROTOCOLS = ("promptir", "basicsr_y")
IMITATES = {
    "rain": "rain100l/test",
    "rain_heavy": "rain100h/train",
    "haze": "sots_outdoor/test",
    "lowlight": "lolv1/train",
}
REAL = (*IMITATES.values(), "lolv1/test")
CLEAN = "clean/val"
DRAWS = 100  # of a synthetic degradation, about: all photographs of a set equally often
DEMO = ("noise15", "noise25", "noise50", "rain", "haze")  # in the default mix already
SHOWN = {"rain100l/test": 8, "rain100h/train": 2, "sots_outdoor/test": 0, "lolv1/train": 1}  # pictures in real.jpg


def options() -> dict[str, dict]:
    """The config node of each option in conf/degradation."""
    names = sorted(file.stem for file in Path(conf_dir(), "degradation").glob("*.yaml"))
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = compose("config", [f"+degradation@mix.tasks.{name}.degrade={name}" for name in names if name not in DEMO])
    return {name: cfg.mix.tasks[name].degrade for name in names}


def real_items(found: LocatedDataset) -> list[Item]:
    """The pairs of a data set."""
    item = partial(Item, f"{found.dataset.name} real", protocol="promptir", margin=found.dataset.margin)
    return [
        item(pair.name, read_target=partial(read_rgb, pair.target), read_input=partial(read_rgb, pair.input))
        for pair in found.pairing().pairs
    ]


def synthetic_items(name: str, degrade, found: LocatedDataset) -> list[Item]:
    """A degradation on the clean pictures of a data set, some of them more than once with other draws."""
    files = found.named_files()
    item = partial(Item, f"{found.dataset.name} {name}", protocol="promptir", degrade=degrade)
    return [
        item(f"{image}#{draw}", read_target=partial(read_rgb, file))
        for draw in range(max(1, round(DRAWS / len(files))))
        for image, file in files
    ]


def picture(path: Path, found: dict[str, LocatedDataset], degradations: dict) -> None:
    """Clean | real | synthetic, the middle of a photograph, the synthetic one of medium strength."""
    rows = {}
    for name, dataset in IMITATES.items():
        pair = found[dataset].pairing().pairs[SHOWN[dataset]]
        clean, real = read_rgb(pair.target), read_rgb(pair.input)
        drawn = strengths(clean, degradations[name], f"{name}/{pair.name}")
        pictures = [clean, real, drawn["medium"].image, drawn["strong"].image]
        rows[f"{dataset}, {name}"] = [window(image, 240) for image in pictures]
    columns = ("clean", "real", "synthetic, medium", "synthetic, strong")
    comparison(path, rows, columns, None, 240, dict.fromkeys(rows, ""))


def main() -> None:
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = validate(compose("config", ["mix=denoise", "device=cpu", *sys.argv[1:]]))
    root = cfg.mix["root"]
    found = {name: locate_dataset(name, root) for name in (*REAL, CLEAN)}
    degradations = {name: components.build(node) for name, node in options().items()}
    here = Path(__file__).resolve().parent
    picture(here / "real.jpg", found, degradations)

    items = []
    for dataset in REAL:  # each with its imitation behind it
        items += real_items(found[dataset])
        for name in (name for name, imitated in IMITATES.items() if imitated == dataset):
            items += synthetic_items(name, degradations[name], found[dataset])
    for name in (name for name in degradations if name not in IMITATES):
        items += synthetic_items(name, degradations[name], found[CLEAN])
    rows = measure(Identity(), items, Accelerator(cpu=True), Reporter(), cfg.evaluate, PROTOCOLS)[0]
    rows[["photographs", "degradation"]] = rows["benchmark"].str.split(" ", expand=True)
    groups = rows.groupby(["photographs", "degradation", "protocol"], sort=False)
    table = pd.DataFrame(
        {
            "pairs": groups.size(),
            "input_psnr": groups["input_psnr"].mean().round(2),
            "psnr_sd": groups["input_psnr"].std().round(2),
            "input_ssim": groups["input_ssim"].mean().round(4),
            "commit": (git_state() or {}).get("commit", "")[:12],
        }
    ).reset_index()
    with replacing(here / "inputs.csv") as temporary:
        table.to_csv(temporary, index=False)
    print(markdown(table))


def markdown(table: pd.DataFrame) -> str:
    """Both protocols side by side, as in the README."""
    lines = ["| photographs | degradation | pairs | RGB PSNR | sd | SSIM | Y PSNR | sd | SSIM |"]
    lines += ["| --- | --- |" + " ---: |" * 7]
    for (photographs, degradation), both in table.groupby(["photographs", "degradation"], sort=False):
        cells = [photographs, degradation, str(both["pairs"].iloc[0])]
        for protocol in PROTOCOLS:
            row = both[both["protocol"] == protocol].iloc[0]
            spread = "" if pd.isna(row["psnr_sd"]) else f"{row['psnr_sd']:.2f}"
            cells += [f"{row['input_psnr']:.2f}", spread, f"{row['input_ssim']:.4f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
