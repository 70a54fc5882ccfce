"""DaAIR on the body of NAFNet: merged experts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from daair.models.daair_naf import DaAIRNAF, MergedExperts, MergedLinear, convolve, gate
from daair.models.dale import Control
from daair.models.nafnet import NAFNet
from daair.models.router import Oracle, Routing, Soft, Top1, Uniform
from daair.models.training import Learner

SIZES = {"channels": 4, "encoder_blocks": (1, 1), "decoder_blocks": (1, 1)}


def network(router=Oracle, **experts) -> DaAIRNAF:
    torch.manual_seed(0)
    return DaAIRNAF(**SIZES, experts=MergedExperts(**({"count": 3, "rank": 2} | experts)), router=router)


def shuffled(model: nn.Module) -> nn.Module:
    """Give every parameter a value, those too that begin at zero."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def as_nafnet(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Name the agnostic weights of a state dict as `NAFNet` does."""
    renamed = {}
    for name, tensor in state.items():
        for ours, theirs in (("expand", "conv1"), ("depthwise", "conv2"), ("spatial", "conv3"), ("widen", "conv4")):
            name = name.replace(f".{ours}.", f".{theirs}.")
        name = name.replace(".channel.", ".conv5.").replace(".agnostic.", ".")
        matrix = tensor.ndim == 2
        renamed[name] = tensor[:, :, None, None] if matrix else tensor
        if name.endswith(("beta", "gamma")):
            renamed[name] = tensor[None, :, None, None]
    return renamed


@pytest.mark.parametrize("size", [(16, 16), (13, 22)])
def test_without_experts_it_is_nafnet(size):
    model = shuffled(network(count=0))
    body = NAFNet(**SIZES)
    body.load_state_dict(as_nafnet(model.state_dict()))
    x = torch.rand(2, 3, *size)
    torch.testing.assert_close(model(x), body(x))
    assert model.router is None and model.terms == () and model.routed(x).gates is None


def test_a_new_network_is_its_body_whatever_the_expert():
    model = network()
    for module in model.modules():
        if hasattr(module, "beta"):
            nn.init.ones_(module.beta)
            nn.init.ones_(module.gamma)
    x = torch.rand(3, 3, 16, 16)
    first, second = (model(x, torch.full((3,), label)) for label in (0, 2))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("fusion", ["sum", "product", "outputs", "film"])
@given(label=st.integers(0, 2), gate=st.floats(0, 1))
def test_merged_weights_are_those_of_the_formula(fusion, label, gate):
    layer = shuffled(MergedLinear(4, 6, MergedExperts(3, 2, "constant", fusion), level=0))
    x = torch.rand(1, 3, 5, 4)
    weight, bias = layer.agnostic.weight, layer.agnostic.bias
    if fusion == "film":
        scale, shift = 1 + gate * layer.up[label, :, 0], gate * layer.up[label, :, 1]
        weight, bias = scale[:, None] * weight, scale * bias + shift
    elif fusion != "outputs":
        change = gate * layer.up[label] @ layer.down[label]
        weight = weight + change if fusion == "sum" else weight * (1 + change)
    gates = torch.zeros(1, 3)
    gates[0, label] = gate
    expected = x @ weight.T + bias
    if fusion == "outputs":
        expected = expected * (1 + gate * x @ layer.down[label].T @ layer.up[label].T)
    for index in (None, torch.tensor([label])):  # all experts by their gates, or the one that was chosen
        torch.testing.assert_close(layer(x, Routing(index, gates, torch.zeros(()))), expected)


def test_each_image_has_its_own_expert():
    model = shuffled(network()).eval()
    x, labels = torch.rand(3, 3, 16, 16), torch.tensor([2, 0, 1])
    together = model(x, labels)
    for k in range(3):
        torch.testing.assert_close(together[k : k + 1], model(x[k : k + 1], labels[k : k + 1]))


@pytest.mark.parametrize("router", [Top1, Soft, Uniform, Oracle])
def test_every_router_trains_every_parameter(router):
    model = shuffled(network(router)).train()
    assert model.terms == ("router",) and [stage.share for stage in model.stages()] == [1]
    batch = {"input": torch.rand(6, 3, 16, 16), "label": torch.arange(6) % 3}
    learned = Learner(model, model.stages()[0])(batch)
    assert learned.gates.shape == (1, 6, 3)
    (learned.image.square().mean() + learned.terms["router"]).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.after_update()


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("spatial", {".expand", ".spatial"}),
        ("channel", {".widen", ".channel"}),
        ("encoder", {"encoder", "middle"}),
        ("decoder", {"decoder"}),
        ("all", {"encoder", "middle", "decoder"}),
    ],
)
def test_experts_are_where_they_are_asked_for(where, names):
    model = network(where=where)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, MergedLinear)}
    found = {name for name, layer in layers.items() if layer.up is not None}
    assert found == {name for name in layers if any(part in name for part in names)} != set()


@pytest.mark.parametrize("update", ["ema", "tied", "gradient"])
def test_the_control_weighs_the_channels_of_the_decoder(update):
    controlled = DaAIRNAF(**SIZES, experts=MergedExperts(count=0), control=Control(update, momentum=0.5))
    block = shuffled(controlled).decoder[0][0].eval()
    x, tied = torch.rand(2, 8, 6, 4), controlled.encoder[0][-1].expand.agnostic if update == "tied" else None
    y = block.norm1(x)
    z = gate(convolve(block.depthwise, block.expand(y, None)))
    weights = block.attention(gate((block.control if tied is None else tied)(y)).mean((1, 2), keepdim=True))
    middle = x + block.beta * block.spatial(z * weights, None)
    expected = middle + block.gamma * block.channel(gate(block.widen(block.norm2(middle), None)), None)
    torch.testing.assert_close(block(x, None, tied), expected)
    image = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        before = controlled(image)
        controlled.encoder[0][-1].expand.agnostic.weight.mul_(0.5)
        (block.expand.agnostic if block.control is None else block.control).weight.mul_(0.5)
    assert not torch.equal(controlled(image), before), "the decoder does not see its control"


@pytest.mark.parametrize("source", ["mean", "last"])
def test_the_control_expert_follows_the_encoder(source):
    sizes = SIZES | {"encoder_blocks": (2, 1)}
    model = DaAIRNAF(**sizes, experts=MergedExperts(count=0), control=Control("ema", momentum=0.75, source=source))
    own, theirs = model.decoder[0][0].control, [block.expand.agnostic for block in model.encoder[0]]
    expected = theirs[1].weight if source == "last" else (theirs[0].weight + theirs[1].weight) / 2
    torch.testing.assert_close(own.weight, expected)
    assert not own.weight.requires_grad and theirs[0].weight.requires_grad
    model.train()(torch.rand(1, 3, 16, 16)).square().mean().backward()
    assert own.weight.grad is None
    before = own.weight.clone()
    with torch.no_grad():
        for expert in theirs:
            expert.weight.add_(1)
    model.after_update()
    torch.testing.assert_close(own.weight, before + 0.25)


def test_a_control_without_blocks_to_follow_is_refused():
    for update in ("ema", "tied"):
        with pytest.raises(ValueError, match=f"control.update: {update} follows the encoder, but model.encoder_blocks"):
            DaAIRNAF(channels=4, encoder_blocks=(1, 0), decoder_blocks=(1, 1), control=Control(update))
    with pytest.raises(ValueError, match="control.query: must be dale with model=daair_naf"):
        DaAIRNAF(**SIZES, control=Control("ema", query="control"))
    DaAIRNAF(channels=4, encoder_blocks=(1, 0), decoder_blocks=(1, 0), control=Control("tied"))(torch.rand(1, 3, 8, 8))


def test_ranks_double_with_each_level_up_to_the_channels():
    pyramid, constant = MergedExperts(rank=3), MergedExperts(rank=3, layout="constant")
    assert [pyramid.rank_at(level) for level in range(3)] == [3, 6, 12]
    assert [constant.rank_at(level) for level in range(3)] == [3, 3, 3]
    assert MergedLinear(4, 8, pyramid, level=1).up.shape == (5, 8, 4)


def test_unequal_levels_are_refused():
    with pytest.raises(ValueError, match="model.decoder_blocks: 2 levels, but the encoder has 1"):
        DaAIRNAF(channels=4, encoder_blocks=(1,), decoder_blocks=(1, 1))
