"""Turn a network into one file that runs without this package: ONNX, or a program of `torch.export`.

The file takes batches of any number of images of any height and width. A graph for all sizes cannot decide by the size,
for instance whether to pad; `torch.compiler.is_exporting` tells our networks to do without decisions.
"""

import contextlib
import importlib.util
import io
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from daair.engine.inference import size_multiple
from daair.errors import UserError, first_line
from daair.models.layers import reflect_to_multiple
from daair.models.training import needs_labels

FORMATS = {".onnx": "ONNX", ".pt2": "torch.export"}
"""The formats, by the suffix of the file."""

NEEDED = ("onnx", "onnxscript", "onnxruntime")
"""Packages that writing and checking ONNX needs; they are the extra `onnx`."""

REASONS = {
    "data-dependent": "its computation depends on the images",
    "Specializations": "its computation depends on the size of the images",
    "Constraints violated": "its computation depends on the size of the images",
}
"""What parts of PyTorch's messages say of a network."""

LEAST = 8
"""Side in pixels of the smallest images that a graph is asked to hold for: none that anybody restores is smaller."""

TOLERANCE = 1e-4
"""Largest allowed difference to PyTorch, for images in [0, 1]."""


class AnySize(nn.Module):
    """A network for images (B, 3, H, W) of any size.

    Args:
        network: Maps images to images. One that has a `multiple` pads its input to multiples of it by
            `layers.pad_to_multiple`; to another one the images come padded.
        multiple: What the sides must be multiples of.
    """

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network, self.multiple = network, multiple

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 3, H, W)."""
        if hasattr(self.network, "multiple"):
            return self.network(image)
        return self.network(reflect_to_multiple(image, self.multiple))[..., : image.shape[2], : image.shape[3]]


def check_format(path: Path) -> None:
    """Check that a file's suffix names a format and that its packages are installed.

    Raises:
        UserError: They are not.
    """
    if path.suffix not in FORMATS:
        known = " or ".join(f"{suffix} ({name})" for suffix, name in FORMATS.items())
        raise UserError(f"output: {path}: must end in {known}")
    missing = [name for name in NEEDED if path.suffix == ".onnx" and importlib.util.find_spec(name) is None]
    if missing:
        remedy = "pip install -e '.[onnx]', or write a .pt2 file"
        raise UserError(f"output: {path}: ONNX needs {', '.join(missing)}; {remedy}")


def multiple_of(network: nn.Module) -> int:
    """Return what a network pads the sides of its input to a multiple of, or needs them to be."""
    return getattr(network, "multiple", None) or size_multiple(network, torch.device("cpu"))


def smallest_side(network: nn.Module, multiple: int) -> int:
    """Return the smallest H and W of a network's graph: enough for the padding, and for each of its modules."""
    return max(multiple + 1, LEAST, *(getattr(module, "least_side", 1) for module in network.modules()))


def trace(network: nn.Module, multiple: int) -> ExportedProgram:
    """Return the graph of a network's forward pass, for batches (B, 3, H, W) of at least `smallest_side`.

    Raises:
        UserError: The network has no graph that holds for all images.
    """
    name = type(network).__name__
    if needs_labels(network):
        why = "it needs the degradation of each image"
        raise UserError(f"checkpoint: {name} cannot be exported: {why}; train it without router=oracle")
    # Neither side is a multiple, and no size is like another: equal ones would be taken for one and the same.
    unit, least = max(2, multiple), smallest_side(network, multiple)
    example = torch.rand(2, 3, 5 * unit + 1, 7 * unit + 2, generator=torch.Generator().manual_seed(0))
    sizes = {0: Dim("batch"), 2: Dim("height", min=least), 3: Dim("width", min=least)}
    try:
        # As `torch.onnx` does: otherwise what holds for the example, such as strides, becomes a condition of the graph.
        with torch.no_grad(), _quiet(), torch.fx.experimental._config.patch(backed_size_oblivious=True):
            return torch.export.export(
                AnySize(network, multiple).eval(),
                (example,),
                dynamic_shapes={"image": sizes},
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except Exception as error:  # of many kinds, also from a network of somebody else
        why = next((why for part, why in REASONS.items() if part in str(error)), first_line(error))
        raise UserError(
            f"checkpoint: {name} cannot be exported: {why}; use it by daair.load or task=restore"
        ) from error


def write(program: ExportedProgram, path: Path) -> None:
    """Write a graph in the format that the suffix names.

    Raises:
        UserError: It holds an operation that ONNX does not have.
    """
    if path.suffix == ".pt2":
        torch.export.save(program, path)
        return
    try:
        with _quiet():
            made = torch.onnx.export(
                program,
                input_names=["image"],
                output_names=["restored"],
                dynamic_shapes={"image": {0: "batch", 2: "height", 3: "width"}},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            made.save(path)
    except Exception as error:
        lacking = re.search(r"target=torch\.ops\.([\w.]+)", str(error.__cause__))
        why = f"it has no {lacking[1]} for images of any size" if lacking else first_line(error)
        raise UserError(f"output: cannot be written as ONNX: {why}; write a .pt2 file") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch from printing a graph as far as it came, thousands of lines that tell a user nothing."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def runner(path: Path) -> Callable[[Tensor], Tensor]:
    """Return what runs an exported file on the CPU: batches (B, 3, H, W) -> batches."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


@torch.inference_mode()
def largest_difference(network: nn.Module, run: Callable[[Tensor], Tensor], multiple: int) -> float:
    """Return the largest difference between a network and its exported file, on batches of three sizes.

    Raises:
        UserError: It is larger than `TOLERANCE`.
    """
    generator = torch.Generator().manual_seed(0)
    unit = max(2, multiple)
    shapes = [(8 * unit, 6 * unit), (multiple + 129, multiple + 51), (4 * unit + 3, 9 * unit)]
    batches = [
        torch.rand(count, 3, *sides, generator=generator) for count, sides in zip((1, 1, 3), shapes, strict=True)
    ]
    largest = max((network(image) - run(image)).abs().max().item() for image in batches)
    if not largest <= TOLERANCE:
        raise UserError(f"checkpoint: cannot be exported: the file would differ from PyTorch by {largest:.2g}")
    return largest
