"""The overrides that a job remembers make the same config again, and the command that they are printed as does, too."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from daair.config.identity import config_id, run_name
from daair.config.jobs import Command
from daair.config.overrides import command, table_command, text
from daair.config.schema import Config
from daair.config.typed import flags_first, spell_out
from daair.config.validate import validate

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(0, 1) | st.text("ab1 ,=[]{}'\"\\$:~-.", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["k", "l"]), inner, max_size=2),
    max_leaves=5,
)


@given(VALUES)
def test_values_survive_hydras_grammar(value):
    assert OverridesParser.create().parse_override(f"key={text(value)}").value() == value


def configs(arguments: list[str]) -> list[tuple[Config, tuple[str, ...]]]:
    """The configs of a command, and what each remembers."""
    asked = Command.parse([spell_out(argument) for argument in flags_first(arguments)])
    return [(validate(asked.composer.compose(point.overrides)), point.given) for point in asked.points]


@pytest.mark.parametrize(
    "arguments",
    [
        [
            "scale=tiny",
            "mix=aio5",
            "mix.root=data",
            "experts.count=8",
            "router=oracle",
            "study=rank",
            "label=no_router",
        ],
        ["model.heads=[1,2,4,4]", "train.clip_grad=null", "label='a, b = (c)'", "study=2024", "protocols=[moceir]"],
        ["benchmarks.mine.target=some dir", "benchmarks.mine.degrade=sigma25", "benchmarks.demo_rain=true", "seed=3"],
        ["-m", "loss=l1,l2", "seed=0,1", "hydra/launcher=accelerate", "study=s"],
        ["experiment=rank", "mix.root=data", "experts.rank=4,8", "seed=1"],
        ["experiment=components", "mix.root=data", "hydra.sweeper.only=[no_agnostic,no_router]", "seed=1"],
    ],
    ids=lambda arguments: " ".join(arguments)[:30],
)
def test_the_command_makes_the_same_run(arguments, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    for config, remembered in configs(arguments):
        python, run, *again = shlex.split(command(remembered, [config.seed]))
        assert (python, run) == ("python", "run.py")
        ((same, _),) = configs(again)
        assert (config_id(same), run_name(same)) == (config_id(config), run_name(config))
        assert (same.benchmarks, same.protocols) == (config.benchmarks, config.protocols)
        seeds = configs(shlex.split(command(remembered, [7, 5]))[2:])
        assert [config.seed for config, _ in seeds] == [5, 7]
        assert {config_id(other) for other, _ in seeds} == {config_id(config)}


def test_the_command_of_a_table_finds_its_runs():
    assert table_command("rank", "runs") == "python run.py task=collate study=rank"
    spaced = table_command("rank", "my runs")
    assert shlex.split(spaced)[-1] == "paths.runs='my runs'", spaced


def test_the_command_is_what_was_typed():
    assert (
        command(["model=daair_tiny", "seed=1", "label=a b"], [1]) == "python run.py model=daair_tiny 'label=a b' seed=1"
    )
    assert command(["model=daair_tiny"], [2, 0]) == "python run.py -m model=daair_tiny seed=0,2"
    several = ["model=daair_tiny", "launch.num_processes=2", "launch.rerun=all", "launch.devices=[0]"]
    assert command(several, [1]) == "python run.py -m model=daair_tiny launch.num_processes=2 seed=1"
