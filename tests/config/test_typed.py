"""Command lines as people type them: paths of any characters, and words that are no overrides."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daair import checkpoint
from daair.config import typed
from daair.config.jobs import Command, Job
from daair.errors import UserError

ODD = ["a=b", "a,b", "a (2)", "[a]", "a b", "#1 & more", "it's", 'say "x"', "去雨", "ü;é", "{a:1}", "a:b", "*", "null2",
       "1e3", "true", "a\\", "'", "$HOME", "choice(a,b)", "-a", "%", "a\tb", "x='y'"]  # fmt: skip


def jobs(*words: str) -> list[Job]:
    return Command.parse(typed.read(words)).jobs


def refusal(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        jobs(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ODD)
def test_a_path_is_taken_as_it_stands(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    (job,) = jobs("task=restore", f"checkpoint={path}", f"input={path}", f"output={name}", f"mix.root={path}")
    assert (job.config.checkpoint, job.config.input, job.config.output) == (path, path, name)
    assert job.config.mix["root"] == path


@settings(max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), st.booleans())
def test_any_text_survives(name: str, sweep: bool) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    path = f"/{name}"
    if "${" in name or sweep and "," in name:
        return
    (word,) = [word for word in typed.read([*(["-m"] if sweep else []), f"input={path}"]) if word != "-m"]
    assert OverridesParser.create().parse_override(word).value() == path


def test_folders_of_ones_own_benchmark(tmp_path: Path) -> None:
    for name in ("in (1)", "out, 2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_text(name)
    words = [f"benchmarks.mine.input={tmp_path}/in (1)", f"benchmarks.mine.target={tmp_path}/out, 2"]
    (job,) = jobs("task=evaluate", "model=identity", *words)
    assert job.config.benchmarks["mine"].target == f"{tmp_path}/out, 2"


def test_a_rule_for_pairs_is_taken_as_it_stands() -> None:
    rule = r"(.+)_s\d+,? -> \1 (clean)"
    pairs = "mix.tasks.paired.pairs"
    (job,) = jobs("mix=paired", f"{pairs}.input=a", f"{pairs}.target=b", f"{pairs}.rule={rule}", "task=verify")
    assert job.config.mix["tasks"]["paired"]["pairs"]["rule"] == rule


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["task=restore", "checkpoint=~/net", "input=[~/a.png,~/b.png]", "output=~/out", "mix.root=~/data"]
    (job,) = jobs(*words, "paths.runs=~/runs")
    config = job.config
    pairs = "mix.tasks.paired.pairs"
    (own,) = jobs("task=verify", "mix=paired", f"{pairs}.input=~/My Pictures (2)/rain", f"{pairs}.target=~/clean")
    folders = own.config.mix["tasks"]["paired"]["pairs"]
    assert (folders["input"], folders["target"]) == (f"{tmp_path}/My Pictures (2)/rain", f"{tmp_path}/clean")
    assert config.input == (f"{tmp_path}/a.png", f"{tmp_path}/b.png")
    assert {Path(p).parent for p in (config.checkpoint, config.output, config.mix["root"], config.paths.runs)} == {
        tmp_path
    }


def test_several_values_are_a_sweep_or_one_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    roots = [str(tmp_path / name) for name in ("a", "b c", "a,b")]
    for root in roots:
        Path(root).mkdir()
    two = jobs("-m", f"mix.root={roots[0]},{roots[1]}")
    assert [job.config.mix["root"] for job in two] == roots[:2]
    assert [job.config.mix["data"] for job in two] == ["a", "b c"] and two[0].id != two[1].id
    (job,) = jobs("-m", f"mix.root={tmp_path}/a,b", "seed=1")
    assert job.config.mix["root"] == f"{tmp_path}/a,b"
    assert [job.config.study for job in jobs("-m", "study=choice(a,b)")] == ["a", "b"]


def test_grammar_that_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/data")
    given = {"null": None, "'a b'": "a b", '"c, d"': "c, d", "${oc.env:DATA}/x": "/data/x", "${study}": "default"}
    for value, folder in given.items():
        assert jobs("task=preview", f"output={value}")[0].config.output == folder
    config = jobs("study=a = b", "label=rank 4, (first)", "train.steps = 1e3")[0].config
    assert (config.study, config.label, config.train.steps) == ("a = b", "rank 4, (first)", 1000)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--experts.rank", "4"], "--experts.rank: no such flag; write experts.rank=4"),
        (["--experts.rank=4"], "--experts.rank=4: no such flag; write experts.rank=4"),
        (["--steps", "seed=1"], "--steps: no such flag; write steps=..."),
        (["experts.rank", "=", "4"], "experts.rank =: write experts.rank=4 without spaces"),
        (["experts.rank", "=4"], "experts.rank =4: write experts.rank=4 without spaces"),
        (["experts.rank=", "4"], "experts.rank= 4: write experts.rank=4 without spaces"),
        (["experts.rank", "4"], "experts.rank: not an override; write experts.rank=4"),
        (["train"], "train: not an override; write task=train"),
        (["experts.rank:4"], "experts.rank:4: not an override; write experts.rank=4"),
        (["experts.rank:", "4"], "experts.rank:: not an override; write experts.rank=4"),
        (["--config-path", "conf"], "--config-path: has no effect here; --config-dir DIR adds a folder with configs"),
        (["seed=1", "photo.png"], "photo.png: not an override; write KEY=VALUE, as in seed=1"),
        ([""], "'': not an override; write KEY=VALUE, as in seed=1"),
        (["--config-dir"], "argument --config-dir/-cd: expected one argument"),
        (["hydra.run.dir=X"], "hydra.run.dir: has no effect here; paths.runs=DIR is the folder of all results"),
        (["-m", "hydra.sweep.dir=X"], "hydra.sweep.dir: has no effect here; paths.runs=DIR is the folder of all"),
        (["experts={rnk:3}"], "experts.rnk: unknown; did you mean experts.rank?"),
        (["train={stepz:3}"], "train.stepz: unknown; did you mean train.steps?"),
        (["mix.weights={demo_x:1}"], "mix.weights: unknown; it is mix.tasks.NAME.weight now"),
        (["optimizer.betas={a:1}"], "optimizer.betas: "),
        (["device=gpu"], 'device: "gpu" is not one of auto, cpu, cuda; did you mean cuda?'),
        (["train.workers=1000000"], f"train.workers: must be at most {max(64, 4 * os.cpu_count())} on this m"),
        (["evaluate.workers=1000000"], "evaluate.workers: must be at most "),
        (["collate.crops={a:[1,2]}"], "collate.crops.a[0]: needs more values, got [1, 2]"),
        (["collate.crops={a:[[1,2,16],[1,2,4]]}"], "collate.crops.a[1][2]: must be at least 8, got 4"),
        (["collate.crops={a:x}"], 'collate.crops.a: must be a list, got "x"'),
        (["evaluate.shown={demo_noise:a}"], "evaluate.shown: no demo_noise; did you mean demo_noise"),
        (["evaluate.shown={demo_rain:a}"], "evaluate.shown.demo_rain: no image a"),
        (["benchmarks.007.target=c"], "benchmarks.007.target=c: not valid as an override; 007 is no name; "),
        (["scale=tiny", "mix=demo", "optimizer._target_=torch.optim.NAdam"],
         "optimizer.lr: scale=tiny sets 0.002, for adamw; give that of NAdam, as in optimizer.lr=0.002"),
        (["experts.count=1000000000"], "experts.count: must be at most 4096, got 1000000000"),
        (["experts.rank=1e7", "model.channels=1e7"], "model: has at least "),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_refused_says_what_to_write(monkeypatch: pytest.MonkeyPatch, words: list[str], text: str) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    told = refusal(*words)
    assert told.startswith(text) and "To append" not in told


def test_captions_are_taken_as_they_stand() -> None:
    look = jobs("task=collate", "study=a", "collate.table.caption=Ours (b), PSNR/SSIM: 50%", "collate.name=a & b")
    assert look[0].config.collate.table.caption == "Ours (b), PSNR/SSIM: 50%" and look[0].config.collate.name == "a & b"


def test_one_square_is_a_list_of_one() -> None:
    given = "collate.crops={a:[1,2,16],b:[[1,2,16],[0,0,8]]}"
    found = jobs("task=collate", "study=a", given)[0].config
    assert found.collate.crops == {"a": ((1, 2, 16),), "b": ((1, 2, 16), (0, 0, 8))}
    assert type(found).from_dict(found.to_dict()) == found


def test_whole_numbers_and_single_names_are_taken() -> None:
    config = jobs("train.steps=2e3", "experts.count=1e1", "benchmarks=demo_noise25", "optimizer.lr=1")[0].config
    count = config.model["experts"]["count"]
    assert (config.train.steps, count, list(config.benchmarks)) == (2000, 10, ["demo_noise25"])
    assert isinstance(count, int) and isinstance(config.optimizer["lr"], float)


def test_a_network_that_cannot_fit_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    convolution = {"_target_": "torch.nn.Conv2d", "in_channels": 10**6, "out_channels": 10**6, "kernel_size": 1}
    with (
        torch.device("meta"),
        pytest.raises(UserError, match=r"^model: has at least 4e\+03 GB of weights in 1 tensors, to"),
    ):
        checkpoint.build(convolution)
    monkeypatch.setattr(checkpoint, "MOST_TENSORS", 1)
    with pytest.raises(UserError, match="in 2 tensors, too large for this machine's memory"):
        checkpoint.build({**convolution, "in_channels": 1, "out_channels": 1})


def test_the_environment_counts_where_the_config_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODE", "PROJECT", "ENTITY", "TAGS", "NOTES"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    logger = jobs()[0].config.logger
    assert (logger.mode, logger.project, logger.entity, logger.tags, logger.notes) == (
        "offline",
        "daair",
        None,
        (),
        None,
    )
    given = {"MODE": "disabled", "PROJECT": "mine", "ENTITY": "team", "TAGS": "a, b", "NOTES": "try = 1"}
    for name, value in given.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    logger = jobs("logger.project=typed")[0].config.logger
    assert (logger.mode, logger.project, logger.entity) == ("disabled", "typed", "team")
    assert (logger.tags, logger.notes) == (("a", "b"), "try = 1")


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("experts:rank=4", "experts:rank=4: not an override; write experts.rank=4"),
        ("experts.rank:=4", "experts.rank:=4: not an override; write experts.rank=4"),
        (" ", "' ': not an override; write KEY=VALUE, as in seed=1"),
    ],
)
def test_words_of_another_grammar(word: str, text: str) -> None:
    assert refusal(word) == text


def test_a_function_among_the_values_of_a_sweep() -> None:
    assert refusal("-m", "seed=range(0,2),3").startswith("seed: a function such as range(0,3) cannot stand among other")


@pytest.mark.parametrize("key", ["output", "paths.runs"])
def test_a_place_that_cannot_be_written_is_told_before_anything_starts(tmp_path: Path, key: str) -> None:
    (tmp_path / "file").touch()
    text = refusal("task=verify", f"{key}={tmp_path}/file/deep/x", f"mix.root={tmp_path}")
    assert text == f"{key}: {tmp_path}/file/deep/x: cannot be written ({tmp_path}/file is a file)"
    assert os.listdir(tmp_path) == ["file"]


def test_commas_of_a_sentence_are_no_values_of_a_sweep() -> None:
    points = jobs("-m", "seed=0,1", "question=How large, and why?", "launch.dry_run=true")
    assert [job.config.question for job in points] == ["How large, and why?"] * 2
