"""Conditions on runs: what they say, what is refused, and that nothing in them is executed."""

import pytest

from daair.errors import UserError
from daair.runs.where import Where

RUN = {
    "experts.rank": 8, "state": "failed", "label": "rank8", "router": "top1", "train.compile": False, "loss.l1": 0.5,
    "train.init": None, "message": "CUDA out of memory", "seed": 1, "model.blocks": "[1, 2]",
    "mix.benchmarks": '["rain100l", "gopro"]',
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("experts.rank==8 and state=='failed'", True),
        ("experts.rank == 8 and state == 'done'", False),
        ("not experts.rank == 4 or state == 'done'", True),
        ("seed in [0, 1] and label not in ('rank4', 'rank16')", True),
        ("'out of memory' in message", True),
        ("4 < experts.rank <= 8", True),
        ("loss.l1 > -1 and experts.rank != 8.0", False),
        ("train.compile == false and train.init == null", True),
        ("train.init is null and train.compile is not true", True),
        ("train.init < 5 or train.init >= 5 or 'x' in train.init", False),
        ("'x' not in train.init and train.init in [null, 'a']", True),
        ("model.blocks == [1, 2] and model.blocks != [2, 2]", True),
        ("model.blocks != [1, 2] or [1, 2] != model.blocks or model.blocks == [1]", False),
        ("2 in model.blocks and 3 not in model.blocks", True),
        ("'gopro' in mix.benchmarks and 'rain' not in mix.benchmarks", True),
        ("train.compile", False),
        ("(router == 'soft' or router == 'top1') and not train.compile", True),
    ],
)
def test_what_a_condition_says(text: str, expected: bool) -> None:
    assert Where(text)(RUN) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("state='failed'", "where: state='failed': cannot be understood; == compares"),
        ("state=='failed' && seed==1", "cannot be understood; write and, or, not"),
        ("state==", "where: state==: cannot be understood"),
        ("__import__('os').system('x')", "is not allowed; use keys, numbers, texts in quotes"),
        ("open('x')", "where: open('x'): is not allowed"),
        ("[x for x in y]", "is not allowed"),
        ("label[0] == 'r'", "where: label[0]: is not allowed"),
        ("(lambda: 1)()", "is not allowed"),
        ("f'{label}' == 'a'", "is not allowed"),
        ("''.join", "where: ''.join: is not allowed"),
        ("9 ** 9 ** 9", "is not allowed"),
        ("b'a' == label", "is not allowed"),
        ("(" * 900 + ")" * 900, "cannot be understood"),
        ("a" * 3000, "must have at most 2000 characters"),
    ],
)
def test_what_is_no_condition_is_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Where(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_names_and_types_are_one_line() -> None:
    for text, message in {
        "expert.rank == 8": "where: no run has expert.rank; did you mean experts.rank?",
        "state == failed": "where: no run has failed; a text is written in quotes, 'failed'",
        "experts.rank.__class__ == 1": "where: no run has experts.rank.__class__",
    }.items():
        with pytest.raises(UserError) as caught:
            Where(text).check(RUN)
        assert str(caught.value).startswith(message)
    for text in ("experts.rank < 'a'", "seed in 5", "-label == 1"):
        with pytest.raises(UserError, match="^where: "):
            Where(text)(RUN)
