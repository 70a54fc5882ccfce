"""What the peers' own code returns, and the weights and images that it was given.

`peers.npz` was made by running the authors' published code (evaluation mode, CPU, one thread, float32) with `filled`
weights on `images(2, 64, 64)`. For each network it holds `keys` (names and shapes of the published state dict),
`parameters`, `output` at every fourth row and column, and for MoCE-IR `aux`: the balance loss in training mode without
noise for `images(8, 64, 64, "query")`.
"""

import functools
from pathlib import Path

import numpy as np
import torch
from filled import fill, images
from helpers import composed
from torch import Tensor, nn

from daair import checkpoint
from daair.config.validate import validate
from daair.models.training import Learned, Learner, Stage

TOLERANCE = 2e-5
"""Relative error in float32; the networks themselves answer to rounding with 3e-6, other networks are beyond 1e-4."""


@functools.cache
def stored() -> dict[str, np.ndarray]:
    """All of `peers.npz`."""
    with np.load(Path(__file__).with_name("peers.npz")) as file:
        return dict(file)


def build(option: str, *overrides: str) -> nn.Module:
    """The network of `model=option`, always with the same initial weights."""
    cfg = validate(composed(f"model={option}", *overrides), {})
    torch.manual_seed(0)
    return checkpoint.build(cfg.model)


def filled(name: str) -> dict[str, Tensor]:
    """Return a state dict under the published names, of numbers that depend on each name and shape alone."""
    lines = stored()[f"{name}/keys"].tobytes().decode().splitlines()
    return fill({key: tuple(map(int, shape)) for key, *shape in map(str.split, lines)})


def check_published(model: nn.Module, name: str) -> None:
    """Load the filled published weights into `model`; its parameters, names and output must be the authors'."""
    state = filled(name)
    renamed = model.from_published(state)
    own = model.state_dict()
    assert len(renamed) == len(state), "each published name is mapped once"
    assert {key: value.shape for key, value in renamed.items()} == {key: value.shape for key, value in own.items()}
    assert sum(p.numel() for p in model.parameters()) == stored()[f"{name}/parameters"]
    model.load_state_dict(renamed)
    with torch.inference_mode():
        output = model.eval()(images(2, 64, 64))
    expected = torch.from_numpy(stored()[f"{name}/output"])
    error = (output[..., 1::4, 2::4] - expected).norm() / expected.norm()
    assert error < TOLERANCE, f"relative error {error:.1e}"


def check_names(model: nn.Module, name: str) -> None:
    """Wrapped published names are understood, and names of ours are left alone."""
    state = dict.fromkeys(filled(name))
    plain = model.from_published(state)
    for prefix in ("module.", "net."):
        assert model.from_published({prefix + key: value for key, value in state.items()}) == plain
    assert model.from_published(plain) == plain


def check_sizes(model: nn.Module, *sizes: tuple[int, int]) -> None:
    """Images of any size keep it, and their dtype."""
    for height, width in sizes:
        x = torch.rand(1, 3, height, width)
        with torch.inference_mode():
            image = model.eval()(x)
        assert image.shape == x.shape and image.dtype == x.dtype and image.isfinite().all()


def unchanged_by_a_step(model: nn.Module, x: Tensor) -> tuple[set[str], Learned]:
    """Trainable parameters that one step of Adam leaves as they were, and what the network returned.

    All of them must get a gradient, if only zeros: distributed training waits for it.
    """
    model.train()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in trainable.items()}
    optimizer = torch.optim.Adam(trainable.values(), lr=1e-2)
    learned = Learner(model, Stage())({"input": x, "label": torch.zeros(len(x), dtype=torch.int64)})
    (learned.image.square().mean() + sum(learned.terms.values())).backward()
    assert not [name for name, p in trainable.items() if p.grad is None]
    optimizer.step()
    return {name for name, p in trainable.items() if torch.equal(p, before[name])}, learned


def check_graph(model: nn.Module) -> None:
    """The forward pass is one graph."""
    x = torch.rand(1, 3, 24, 16)
    compiled = torch.compile(model.eval(), fullgraph=True, backend="eager")
    with torch.inference_mode():
        torch.testing.assert_close(compiled(x), model(x))


def check_bfloat16(model: nn.Module) -> None:
    """Autocast changes little and keeps the images' dtype; weights of bfloat16 work too."""
    x = torch.rand(1, 3, 24, 24)
    with torch.inference_mode():
        exact = model.eval()(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = model(x)
        assert model.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.05)
