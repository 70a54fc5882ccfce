"""DaAIR Lab: degradation-aware all-in-one image restoration.

`daair.load(path)` loads the trained network of a run's folder or a weights file; `daair.restore(model, picture)`
restores a picture with it; `daair.evaluate(model, benchmarks)` measures it; `daair.push_to_hub(path, "OWNER/NAME")`
shares it; `daair.collate("runs/rank")` returns the results of a study's runs as a pandas data frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# Each function imports what it needs when it is called, so that `import daair`, and so `--help`, does not import torch.

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike
    from typing import Any

    import pandas as pd
    import torch
    from torch import nn

    from daair.engine.restore import Picture

__version__ = "0.1.0"
__all__ = ["__version__", "collate", "evaluate", "load", "push_to_hub", "restore"]


def load(path: str | PathLike[str], device: str | torch.device = "cpu", trust: Sequence[str] = ()) -> nn.Module:
    """Load a trained network, ready to restore images.

    Args:
        path: A run's folder, its folder `best` or one of its `checkpoints`; a `.safetensors` file with its `model.json`
            in the same folder; `daair_tiny`, the small network that comes along; or `hf://OWNER/NAME`, a repository of
            the Hugging Face Hub (`hf://OWNER/NAME@REVISION` a revision of it), which is downloaded once.
        device: Where the network goes.
        trust: Packages besides daair whose classes the files may name; their code is run.

    Returns:
        The network in evaluation mode: images (B, 3, H, W) in [0, 1] -> images of the same shape and dtype. Its
        attribute `labels` holds the names of the degradations it was trained on, `step` its number of updates.

    Raises:
        UserError: The files are missing, damaged or belong to another network, or the config names code that is not
            trusted.
    """
    from daair import checkpoint

    return checkpoint.load(path, device, trust)


def restore(model: nn.Module, picture: Picture, degradation: str | int | None = None) -> Picture:
    """Restore a picture or a batch with a network, on the network's device.

    Pictures are restored one after the other. Each is padded to a size that the network takes and cut again; it is
    restored in tiles if the free memory does not suffice for the whole.

    Args:
        model: A network as `daair.load` returns it: images (B, 3, H, W) in [0, 1] -> images. It is put into evaluation
            mode and keeps its device.
        picture: A PIL image of mode `RGB`, `L` or `RGBA`; an array (H, W, 3) of uint8, uint16, or floating point in
            [0, 1]; or a tensor (B, 3, H, W) of floating point in [0, 1]. H and W are any sizes.
        degradation: Name or number of the degradation, for a network with `router=oracle`.

    Returns:
        The restored picture, of the same kind, mode or dtype, shape and device, clipped to black and white. Grey is
        restored as three channels, which are averaged; alpha is kept. A photograph that its EXIF data turn is turned.

    Raises:
        UserError: The picture is of another kind or beyond [0, 1], or the network fails. `model(x)` itself takes
            values beyond [0, 1].
    """
    from daair.engine.restore import restore

    return restore(model, picture, degradation)


def evaluate(
    model: nn.Module,
    benchmarks: str | Sequence[str] | Mapping[str, Mapping[str, Any]],
    root: str | PathLike[str] | None = None,
    protocols: Sequence[str] | None = None,
    metrics: Sequence[str] = (),
) -> pd.DataFrame:
    """Measure a network on benchmarks, on the network's device; `task=evaluate` does the same and keeps the results.

    Args:
        model: A network as `daair.load` returns it: images (1, 3, H, W) in [0, 1] -> images. It is put into evaluation
            mode.
        benchmarks: Names such as `demo_noise25`; or definitions by name, `{"mine": {"target": DIR, "input": DIR}}` or
            `{"mine": {"target": DIR, "degrade": "sigma25"}}`.
        root: Folder of the data sets; not needed by benchmarks `demo_*` and those of your own folders.
        protocols: How PSNR and SSIM are computed, such as `basicsr_y`; by default each benchmark's own.
        metrics: Further metrics: `mae`, `lpips`, `dists`.

    Returns:
        A row for each benchmark, protocol and image, with `psnr` in dB, `ssim`, and those of the degraded image,
        `input_psnr` and `input_ssim`. `frame.groupby(["benchmark", "protocol"]).psnr.mean()` gives the means.

    Raises:
        UserError: A name is unknown, data are missing or unreadable, or the network fails.
    """
    from daair.engine.evaluate import evaluate

    return evaluate(model, benchmarks, root, protocols, metrics)


def collate(path: str | PathLike[str]) -> pd.DataFrame:
    """Return a study's results as a data frame, a row per run, benchmark, protocol and image; see `daair.report.frame`.

    Args:
        path: The folder of a study, such as `runs/rank`, or the folder of all studies.

    Returns:
        The data frame; `.attrs["left_out"]` lists what could not be read, one text each.

    Raises:
        UserError: There is no run.
    """
    from daair.report.frame import read_path

    collated = read_path(path)
    frame = collated.frame
    frame.attrs["left_out"] = [str(one) for one in collated.left_out]
    return frame


def push_to_hub(path: str | PathLike[str], repository: str, private: bool = False) -> str:
    """Upload a trained network with a card to the Hugging Face Hub, from where `daair.load` takes it.

    It needs `huggingface_hub` and its log-in: `hf auth login`, or a token in the variable `HF_TOKEN`. The folder's
    README.md is the card; without one, it is made from what the run has recorded: data, updates, seed, commit, results.

    Args:
        path: A run's folder, or a `.safetensors` file with its `model.json` in the same folder.
        repository: `OWNER/NAME`; it is created if it does not exist.
        private: Whether a repository that is created is private.

    Returns:
        The name for `daair.load`, `hf://OWNER/NAME`.

    Raises:
        UserError: There is no network, `huggingface_hub` is not installed, or the Hub refuses.
    """
    from daair import checkpoint, hub
    from daair.report.card import card

    folder = checkpoint.described_folder(path)
    written = folder / "README.md"
    name = f"{hub.SCHEME}{repository}"
    return hub.upload(folder, written.read_text() if written.is_file() else card(folder, name), repository, private)
