"""AirNet: the numbers of the authors' code, the contrast and its queue, sizes, training."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from filled import fill, images
from published_airnet import published_shapes
from torch import Tensor

from daair import checkpoint
from daair.models.airnet import AirNet, deformable_conv3x3

GOLDEN = np.load(Path(__file__).with_name("airnet_golden.npz"))
"""What the authors' code returns for `fill` and `images`: every eighth pixel and every fifth logit."""


def tiny(**changes) -> AirNet:
    torch.manual_seed(0)
    return AirNet(**{"channels": 8, "groups": 2, "blocks": 1, "features": 16, "queue": 12, **changes})


@pytest.fixture(scope="module")
def filled() -> dict[str, Tensor]:
    return fill(published_shapes())


def load(filled: dict[str, Tensor]) -> AirNet:
    model = AirNet(queue=1024)
    model.load_state_dict(AirNet.from_published(filled))
    return model


def error(found: Tensor, golden: Tensor) -> float:
    return ((found - golden).norm() / golden.norm()).item()


def test_published_weights_map_one_to_one(filled: dict[str, Tensor]) -> None:
    model = AirNet(queue=1024)
    ours = AirNet.from_published(filled)
    assert len(ours) == len(filled) == 584 and ours.keys() == model.state_dict().keys()
    assert AirNet.from_published(ours) == ours
    assert sum(p.numel() for p in model.parameters()) == 8_930_313


def test_checkpoints_of_the_authors_are_loaded(filled: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": {f"net.{name}": tensor for name, tensor in filled.items()}}, tmp_path / "net.ckpt")
    model = checkpoint.build({"_target_": "daair.models.airnet.AirNet", "queue": 1024})
    assert checkpoint.load_weights(model, tmp_path / "net.ckpt") == []
    assert torch.equal(model.out.weight, filled["R.tail.0.weight"])


def test_contrast_is_the_authors(filled: dict[str, Tensor]) -> None:
    model = load(filled).train()
    model.update_key_encoder()
    with torch.no_grad():
        contrast = model.contrast(model.encode(images(4, 64, 64, "query")).embedding, images(4, 64, 64, "key"))
    assert error(contrast.logits[:, ::5], torch.from_numpy(GOLDEN["logits"])) < 1e-5
    assert contrast.loss.item() == pytest.approx(GOLDEN["contrast"].item(), rel=1e-5)
    assert contrast.labels.tolist() == [0] * 4


def test_restored_images_are_the_authors(filled: dict[str, Tensor]) -> None:
    """With these weights the restorer is chaotic: float32's rounding, some 1e-7 of an image, grows to a fifth of the
    output, and another processor's convolutions make other images. So the golden images must lie as near as ours do to
    those of an input that differs by 1e-7. (Another slope or order of offsets makes an error of 0.8 or more.)
    """
    model = load(filled).eval()
    x = images(2, 64, 64)[:1]
    with torch.no_grad():
        restored = model(x)
        chaos = error(model(x * (1 + 1e-7)), restored)
    golden = torch.from_numpy(GOLDEN["restored"])[:1]
    found = restored[:, :, ::8, ::8]
    assert error(found, golden) < 1.5 * chaos < 0.45
    assert found.abs().mean().item() == pytest.approx(golden.abs().mean().item(), rel=0.05)


def test_training_step_is_the_authors(filled: dict[str, Tensor]) -> None:
    model = load(filled).train()
    x = images(4, 64, 64, "query")
    with torch.no_grad():
        restored = model.restore(x, model.encode(x).guide)
    assert error(restored[:, :, ::8, ::8], torch.from_numpy(GOLDEN["train_restored"])) < 0.1
    l1 = (restored - images(4, 64, 64, "clean")).abs().mean().item()
    assert l1 == pytest.approx(GOLDEN["l1"].item(), rel=0.02)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (17, 23)], ids=str)
def test_any_size_keeps_its_shape(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert tiny().eval()(torch.rand(1, 3, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (9, 5)], ids=str)
def test_deformable_convolution_is_that_of_torchvision(size: tuple[int, int]) -> None:
    from torchvision.ops import deform_conv2d

    H, W = size
    x, weight, mask = torch.randn(2, 4, H, W), torch.randn(6, 4, 3, 3), torch.rand(2, 9, H, W)
    arguments = [x, 3 * torch.randn(2, 18, H, W), weight, mask]  # offsets that also lead out of the image
    for tensor in arguments:
        tensor.requires_grad_()
    ours, theirs = deformable_conv3x3(*arguments), deform_conv2d(*arguments[:3], padding=1, mask=mask)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    slope = torch.randn_like(ours)
    for own, other in zip(*(torch.autograd.grad(y, arguments, slope) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(own, other, atol=1e-3, rtol=1e-3)


def test_one_update_of_the_published_training() -> None:
    model = tiny().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
    query, key = torch.rand(5, 3, 16, 16), torch.rand(5, 3, 16, 16)
    encoding = model.encode(query)
    contrast = model.contrast(encoding.embedding, key)
    (model.restore(query, encoding.guide).mean() + 0.1 * contrast.loss).backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
    optimizer.step()
    assert torch.equal(model.queue, before["queue"])
    model.enqueue(contrast.keys)
    model.update_key_encoder()
    assert torch.equal(model.queue[:, :5], contrast.keys.T) and model.queue_start.item() == 5
    old, new, leader = before["key_encoder.project.0.weight"], model.key_encoder.project[0].weight, model.encoder
    torch.testing.assert_close(new, 0.999 * old + 0.001 * leader.project[0].weight, atol=1e-7, rtol=0)
    assert torch.isfinite(model.out.weight).all()


def test_queue_goes_round_for_any_batch() -> None:
    model = tiny()
    keys = torch.eye(16)
    model.enqueue(keys[:8])
    model.enqueue(keys[8:14])
    assert torch.equal(model.queue[:, [8, 9, 10, 11, 0, 1]], keys[8:14].T) and model.queue_start.item() == 2
    model.enqueue(torch.cat([keys, keys[:1]]))  # more than there is room for: the last ones stay
    assert sorted(model.queue.argmax(0).tolist()) == [0, *range(5, 16)]


def test_precision_of_autocast() -> None:
    model = tiny().train()
    x = torch.rand(2, 3, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(x).dtype == torch.float32
        assert torch.isfinite(model.contrast(model.encode(x).embedding, x).loss)


def _rank(rank: int, file: str, results: multiprocessing.Queue) -> None:
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    model = tiny()
    model.enqueue(torch.full((2, 16), float(rank + 1)))
    results.put((rank, model.queue[0, :4].tolist(), model.queue_start.item()))
    dist.destroy_process_group()


def test_queues_of_several_processes_stay_equal(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    ranks = [context.Process(target=_rank, args=(rank, str(tmp_path / "meet"), results)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = sorted(results.get(timeout=60) for _ in ranks)
    for process in ranks:
        process.join(60)
    assert [entry[1:] for entry in found] == [([1.0, 1.0, 2.0, 2.0], 4)] * 2
