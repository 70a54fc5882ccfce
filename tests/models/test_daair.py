"""The whole network: sizes, shapes, precision, the parameter update, graph capture."""

import copy
import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daair.models.daair import DaAIR
from daair.models.dale import Control
from daair.models.experts import ExpertLayout
from daair.models.layers import Attention
from daair.models.router import Oracle, Soft, Top1, Uniform
from daair.models.training import Learner, Stage

TINY = {"channels": 8, "encoder_blocks": (1, 1, 1, 1), "decoder_blocks": (1, 1, 1), "heads": (1, 2, 2, 4)}
LAYOUT = ExpertLayout(count=3, rank=2)


def tiny(**changes) -> DaAIR:
    torch.manual_seed(0)
    return DaAIR(**{**TINY, "experts": LAYOUT, **changes})


def awake(model: DaAIR) -> DaAIR:
    """Give the zero-initialised last layer a value, so that the network does something."""
    torch.nn.init.normal_(model.out.weight, std=0.1)
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "window"},
        {"ffn": "mlp"},
        {"norm": "rms"},
        {"sampling": "strided"},
        {"skip_kernel": 3},
        {"dale_residual": True},
        {"router": Soft},
        {"router": Uniform},
        {"router": Oracle},
        {"experts": ExpertLayout(count=3, rank=2, layout="spread")},
        {"experts": ExpertLayout(count=3, rank=2, depthwise=False)},
        {"experts": ExpertLayout(count=1, rank=2), "router": partial(Top1, weight_by_gate=False)},
        {"experts": ExpertLayout(count=0, rank=2)},
        {"experts": ExpertLayout(count=3, rank=2, agnostic=False), "control": Control("none")},
        {"experts": ExpertLayout(count=0, rank=2, agnostic=False), "control": Control("gradient")},
        *(
            {"control": Control(update, query=query)}
            for update in ("ema", "tied", "gradient")
            for query in ("dale", "control")
        ),
        {"control": Control("none")},
    ],
    ids=str,
)
def test_every_switch_trains(changes: dict) -> None:
    model = awake(tiny(**changes)).train()
    x, labels = torch.rand(2, 3, 20, 24), torch.tensor([0, 2])
    output = model.routed(x, labels)
    assert output.image.shape == x.shape
    (output.image.square().mean() + sum(output.terms.values())).backward()
    assert tuple(output.terms) == model.terms
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing, "these would break distributed training"


def test_untrained_network_returns_its_input() -> None:
    x = torch.rand(1, 3, 17, 23)
    torch.testing.assert_close(tiny().eval()(x), x, rtol=0, atol=0)


@settings(max_examples=12)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["channel", "window"]))
def test_any_size_keeps_its_shape(height: int, width: int, attention: str) -> None:
    x = torch.rand(1, 3, height, width)
    with torch.inference_mode():
        assert awake(tiny(attention=attention)).eval()(x).shape == x.shape


def test_padding_is_reflection_then_crop() -> None:
    model, x = awake(tiny()).eval(), torch.rand(1, 3, 13, 19)
    padded = torch.nn.functional.pad(x, (0, 5, 0, 3), mode="reflect")
    with torch.inference_mode():
        torch.testing.assert_close(model(x), model(padded)[..., :13, :19])


def test_a_sample_does_not_depend_on_its_batch() -> None:
    model, x = awake(tiny()).eval(), torch.rand(3, 3, 16, 16)
    with torch.inference_mode():
        together = model(x)
        for i in range(3):
            torch.testing.assert_close(together[i : i + 1], model(x[i : i + 1]), rtol=1e-4, atol=1e-5)


def test_bfloat16_keeps_dtype_routing_and_result() -> None:
    model, x = awake(tiny()).eval(), torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        exact = model.routed(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = model.routed(x)
        assert model.to(torch.bfloat16)(x.bfloat16()).dtype == torch.bfloat16
    assert rounded.image.dtype == torch.float32 and rounded.gates.dtype == torch.float32
    assert torch.equal(exact.gates.argmax(-1), rounded.gates.argmax(-1))
    torch.testing.assert_close(exact.image, rounded.image, rtol=0, atol=0.05)


@pytest.mark.parametrize("kind", ["channel", "window"])
def test_bfloat16_keeps_the_attention_maps_in_float32(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, softmax = [], torch.Tensor.softmax
    monkeypatch.setattr(torch.Tensor, "softmax", lambda t, **options: seen.append(t.dtype) or softmax(t, **options))
    attention = Attention(8, 2, kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attention(torch.rand(1, 8, 16, 16))
    attention.bfloat16()(torch.rand(1, 8, 16, 16).bfloat16())
    assert seen == [torch.float32] * 2


def test_soft_with_a_cold_softmax_is_top1() -> None:
    hard = awake(tiny(router=Top1, control=Control("none"))).eval()
    soft = tiny(router=lambda channels, count: Soft(channels, count, temperature=1e-4), control=Control("none")).eval()
    soft.load_state_dict(hard.state_dict())
    for module in hard.modules():
        if isinstance(module, Top1):
            module.weight_by_gate = False
    x = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(hard(x), soft(x), rtol=1e-4, atol=1e-5)


def agnostic(model: DaAIR, level: int) -> list:
    return [block.dale.agnostic for block in model.encoder[level]]


@pytest.mark.parametrize("source", ["mean", "last"])
def test_parameter_update_follows_the_encoder(source: str) -> None:
    model = tiny(encoder_blocks=(2, 1, 1, 1), control=Control("ema", momentum=0.9, source=source))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p))
    before = [p.clone() for p in model.decoder[0][0].controller.expert.parameters()]
    theirs = [list(expert.parameters()) for expert in agnostic(model, 0)]
    model.after_update()
    for i, now in enumerate(model.decoder[0][0].controller.expert.parameters()):
        target = (theirs[0][i] + theirs[1][i]) / 2 if source == "mean" else theirs[1][i]
        torch.testing.assert_close(now, 0.9 * before[i] + 0.1 * target)


def test_padding_of_experts_is_cleared_after_an_update() -> None:
    model = tiny(experts=ExpertLayout(count=3, rank=2, layout="spread"))
    kept, expected = copy.deepcopy(model), model.num_parameters()
    model.after_update()
    for (name, now), before in zip(model.named_parameters(), kept.parameters(), strict=True):
        assert torch.equal(now, before), name
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1.0)
    model.after_update()
    assert sum(int((p != 0).sum()) for p in model.parameters()) == expected


def test_control_expert_starts_as_the_encoders_and_gets_no_gradient() -> None:
    model = awake(tiny()).train()
    for level in range(3):
        for own, theirs in zip(
            model.decoder[level][0].controller.expert.parameters(), agnostic(model, level)[0].parameters(), strict=True
        ):
            assert torch.equal(own, theirs)
    model(torch.rand(2, 3, 16, 16)).square().mean().backward()
    controller = model.decoder[0][0].controller
    assert all(p.grad is None and not p.requires_grad for p in controller.expert.parameters())
    assert controller.project.weight.grad.abs().sum() > 0


def test_tied_control_adds_no_expert_and_trains_the_encoders() -> None:
    tied, free = tiny(control=Control("tied")), tiny(control=Control("gradient"))
    assert tied.decoder[0][0].controller.expert is None
    assert tied.num_parameters() < free.num_parameters()


def test_oracle_sends_each_label_to_its_expert() -> None:
    output = tiny(router=Oracle).eval().routed(torch.rand(3, 3, 16, 16), torch.tensor([2, 0, 1]))
    assert output.gates.argmax(-1).eq(torch.tensor([2, 0, 1])).all()
    assert tiny(router=Oracle).needs_labels and not tiny().needs_labels


def test_compiles_and_exports_without_a_graph_break() -> None:
    model, x = awake(tiny()), torch.rand(2, 3, 16, 16)
    learner = torch.compile(Learner(model.train(), Stage()), fullgraph=True, backend="eager")
    assert learner({"input": x, "label": torch.zeros(2, dtype=torch.long)}).image.shape == x.shape
    exported = torch.export.export(model.eval(), (x,)).module()
    torch.testing.assert_close(exported(x), model(x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": (3, 2, 2, 4)}, "model.heads: 3 heads do not divide the 8 channels of level 0"),
        ({"experts": ExpertLayout(rank=16)}, "experts.rank: 16 makes rank 16 at level 0, above its 8 channels"),
        ({"channels": 7, "heads": (1, 1, 1, 1)}, "model.channels: must be even, got 7"),
        ({"skip_kernel": 2}, "model.skip_kernel: must be odd, got 2"),
        ({"experts": ExpertLayout(agnostic=False, rank=2)}, "control.update: ema follows the agnostic experts"),
    ],
    ids=str,
)
def test_impossible_sizes_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_cost_does_not_depend_on_the_number_of_experts() -> None:
    """The floating-point operations of a step, counted; the time is measured in experiments/speed."""
    from torch.utils.flop_counter import FlopCounterMode

    def flops(count: int) -> int:
        model = tiny(experts=ExpertLayout(count=count, rank=2)).train()
        with FlopCounterMode(display=False) as counter:
            model.routed(torch.rand(2, 3, 16, 16)).image.sum().backward()
        return counter.get_total_flops()

    few, many = flops(2), flops(16)
    assert many <= 1.01 * few, (few, many)  # the routers' linear layers grow, nothing else


def test_parameter_names_are_unique_over_switches() -> None:
    """A checkpoint of one variant must not fit another by accident."""
    variants = [tiny(control=Control(u)) for u in ("ema", "tied", "none")]
    for a, b in itertools.combinations(variants, 2):
        assert a.state_dict().keys() != b.state_dict().keys()
