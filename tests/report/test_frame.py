"""Runs as a frame: what its columns hold, what is left out and why, and that nothing is touched."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from synthetic import make_run, rows

import daair
from daair.errors import UserError
from daair.report.config_columns import read_config
from daair.report.flat import flatten
from daair.report.frame import FACTS, frame
from daair.report.table import TableSpec, study_table
from daair.runs.record import Record


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_row_per_run_benchmark_protocol_and_image_with_every_key(tmp_path: Path) -> None:
    for rank in (16, 4):
        for seed in (1, 0):
            both = rows([30.0, 31.0]) + rows([25.0], "rain100l", protocol="basicsr_y")
            make_run(tmp_path, f"daair-{rank:08x}", seed, both, experts={"rank": rank}, loss={"l1": 1})
    collated = frame(tmp_path, "rank")
    table = collated.frame
    assert collated.left_out == () and len(collated.runs) == 4 and len(table) == 12
    assert list(table.columns[: len(FACTS)]) == list(FACTS)
    first = table.iloc[0]
    expected = {
        "run": "rank/daair-00000004/seed0", "study": "rank", "variant": "daair-00000004", "label": "daair",
        "id": "00000004", "seed": 0, "state": "done", "steps": 100, "commit": "c" * 40, "hardware": "A Processor",
        "torch": "2.14.1", "parameters": 500_000, "macs": 10**9, "benchmark": "cbsd68_sigma25", "protocol": "promptir",
        "image": "0.png", "psnr": 30.0, "gain": 10.0, "ssim": 0.3, "step": 100, "router": "top1", "model": "daair_tiny",
        "experts.rank": 4, "experts.count": 5, "train.steps": 100, "loss.l1": 1, "model.channels": 8,
    }  # fmt: skip
    assert {name: first[name] for name in expected} == expected
    assert table["run"].unique().tolist() == [
        f"rank/daair-{rank:08x}/seed{seed}" for rank in (4, 16) for seed in (0, 1)
    ]
    assert table.groupby(["experts.rank", "protocol"], observed=True)["psnr"].mean().to_dict() == {
        (4, "basicsr_y"): 25.0, (4, "promptir"): 30.5, (16, "basicsr_y"): 25.0, (16, "promptir"): 30.5,
    }  # fmt: skip


def test_the_function_for_notebooks_takes_a_study_or_all(tmp_path: Path) -> None:
    make_run(tmp_path, "a-00000001", 0)
    make_run(tmp_path, "a-00000001", 0, study="other")
    assert set(daair.collate(tmp_path / "rank")["study"]) == {"rank"}
    assert set(daair.collate(str(tmp_path))["study"]) == {"other", "rank"}


def test_a_run_without_results_is_a_row_without_an_image(tmp_path: Path) -> None:
    make_run(tmp_path, "a-00000001", 0)
    make_run(tmp_path, "a-00000001", 1, None, status={"state": "queued", "attempt": 0, "started": "", "finished": ""})
    make_run(tmp_path, "a-00000001", 2)
    table = frame(tmp_path).frame
    assert table["seed"].tolist() == [0, 0, 1, 2, 2]
    queued = table[table["seed"] == 1].iloc[0]
    assert queued["state"] == "queued" and queued[["image", "benchmark", "psnr", "started"]].isna().all()
    assert table["psnr"].count() == 4


def test_types_of_columns(tmp_path: Path) -> None:
    make_run(tmp_path, "a-00000001", 0, evaluate={"tile": "auto"}, train={"clip_grad": 1.0, "compile": True})
    make_run(tmp_path, "b-00000002", 0, evaluate={"tile": 512}, train={"clip_grad": None, "compile": False})
    make_run(tmp_path, "c-00000003", 0, metrics=["psnr"], router={"noise": 1})
    runs = frame(tmp_path).runs
    assert runs["evaluate.tile"].tolist()[:2] == ["auto", "512"] and runs["evaluate.tile"].isna()[2]
    assert runs["train.clip_grad"].dtype == "float64" and runs["train.clip_grad"].isna().tolist() == [False, True, True]
    assert runs["train.compile"].tolist()[:2] == [True, False] and runs["train.compile"].dtype == "boolean"
    assert runs["metrics"].tolist()[2] == '["psnr"]' and runs["router.noise"][2] == 1
    assert runs["seed"].dtype == "int64" and runs["question"].isna().all()


def test_hardware_is_what_the_run_worked_on(tmp_path: Path) -> None:
    make_run(tmp_path, "a-00000001", 0, status={"device": "2 x NVIDIA H100"})
    make_run(tmp_path, "a-00000001", 1, environment={"gpus": ["NVIDIA H100"]})
    make_run(tmp_path, "a-00000001", 2, status={"device": "2 x cpu"})
    assert frame(tmp_path).runs["hardware"].tolist() == ["2 x NVIDIA H100", "A Processor", "2 x A Processor"]


HEADER = "benchmark,protocol,image,width,height,tile,input_psnr,input_ssim,psnr,ssim,step\n"
LINE = "rain100l,promptir,1.png,480,320,0,25.0,0.8,28.0,0.9,100\n"
DAMAGES = {
    "status.json": [
        ('{"state": "do', "status.json: cannot be read"),
        ("[]", "status.json: holds no status"),
        ('{"state": "done", "schema": 99}', "status.json: written by a newer version"),
        ('{"state": "dancing"}', "status.json: state: 'dancing' is not one of"),
    ],
    "config.yaml": [
        ("", "config.yaml: not a mapping"),
        ("a: [1", "config.yaml: while parsing"),
        ("model:\n  channels: 8\n", "config.yaml: ends before the seed"),
        ("\x00", "config.yaml: "),
    ],
    "environment.json": [('{"git": ', "environment.json: cannot be read"), ("3", "environment.json: is not a JSON")],
    "summary.json": [('{"macs": 1', "summary.json: cannot be read")],
    "results.csv": [
        ("", "results.csv: is empty"),
        (HEADER + LINE[:-9], "results.csv: ends within a line"),
        (HEADER + LINE[:20] + "\n", "results.csv: CSV parse error: Expected 11 columns, got 3"),
        (HEADER + LINE + LINE, "results.csv: has an image twice"),
        (HEADER + LINE.replace("28.0", "??"), "results.csv: In CSV column #8: CSV conversion error"),
        (HEADER + LINE.replace("28.0", ""), "results.csv: has a row without psnr"),
        (HEADER + "\n" + LINE, "results.csv: has lines that are no rows"),
        (HEADER.replace("psnr", "snr") + LINE, "results.csv: has no column input_psnr"),
    ],
}


@pytest.mark.parametrize(
    ("file", "text", "reason"), [(file, *case) for file, cases in DAMAGES.items() for case in cases]
)
def test_damaged_runs_are_left_out_with_a_reason(tmp_path: Path, file: str, text: str, reason: str) -> None:
    for seed in range(3):
        folder = make_run(tmp_path, "a-00000001", seed)
        if seed == 1:
            (folder / file).write_text(text)
    before = snapshot(tmp_path)
    collated = frame(tmp_path, "rank")
    assert collated.runs["seed"].tolist() == [0, 2] and collated.frame["seed"].tolist() == [0, 0, 2, 2]
    (one,) = collated.left_out
    assert one.path == "rank/a-00000001/seed1" and one.reason.startswith(reason), one.reason
    assert snapshot(tmp_path) == before


def test_foreign_files_are_listed_and_outputs_are_not(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "a-00000001", 0)
    (folder / "notes.txt").write_text("mine")  # within a run's folder everything is the run's
    (tmp_path / "rank" / "notes.txt").write_text("mine")
    (tmp_path / "rank" / "old").mkdir()
    (tmp_path / "rank" / "a-00000001" / "seed0 (copy)").mkdir()
    (tmp_path / "rank" / ".hidden").mkdir()
    (tmp_path / "rank" / "table.md").write_text("")
    left_out = {one.path: one.reason for one in frame(tmp_path, "rank").left_out}
    assert set(left_out) == {"rank/notes.txt", "rank/old", "rank/a-00000001/seed0 (copy)"}
    assert left_out["rank/old"] == "not a run: no folder named <label>-<config id>"


def test_nothing_to_collate(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no runs there yet"):
        frame(tmp_path, "rank")
    folder = make_run(tmp_path, "a-00000001", 0)
    with pytest.raises(UserError, match="study=rnk has no runs in .*; did you mean study=rank?"):
        frame(tmp_path, "rnk")
    (folder / "status.json").write_text("{")
    with pytest.raises(UserError, match="no run can be read; rank/a-00000001/seed0: status.json"):
        frame(tmp_path, "rank")
    make_run(tmp_path, "a-00000001", 1)
    (tmp_path / "rank" / "a-00000001" / "seed1" / "results.csv").write_text("benchmark\n")
    with pytest.raises(UserError, match="no run can be read; "):
        frame(tmp_path, "rank")


def test_copies_under_another_label_count_once(tmp_path: Path) -> None:
    make_run(tmp_path, "a-00000001", 0, status={"state": "interrupted"})
    make_run(tmp_path, "b-00000001", 0, status={"finished": "2026-11-02T11:00:00+00:00"})
    make_run(tmp_path, "c-00000001", 0)
    make_run(tmp_path, "a-00000002", 0)
    collated = frame(tmp_path, "rank")
    assert collated.runs["run"].tolist() == ["rank/a-00000002/seed0", "rank/b-00000001/seed0"]
    assert [one.path for one in collated.left_out] == ["rank/a-00000001/seed0", "rank/c-00000001/seed0"]
    assert collated.left_out[0].reason == "has the config and seed of rank/b-00000001/seed0, which counts"


def test_results_of_different_ages_come_together(tmp_path: Path) -> None:
    new = [{**row, "arithmetic": "float32", "input_lpips": 0.5, "lpips": 0.1} for row in rows([31.0])]
    make_run(tmp_path, "a-00000001", 0, rows([30.0]))
    make_run(tmp_path, "a-00000001", 1, new)
    table = frame(tmp_path).frame
    assert table["tile"].tolist() == [0, 0] and table["psnr"].tolist() == [30.0, 31.0]
    assert table["lpips"].isna().tolist() == [True, False]
    assert table["arithmetic"].isna().tolist() == [True, False] and table["arithmetic"][1] == "float32"


def test_runs_of_a_version_without_a_key_stand_with_those_that_have_its_default(tmp_path: Path) -> None:
    """They have the same id, so a table must not tell them apart."""
    naf = {"_target_": "daair.models.daair_naf.DaAIRNAF", "channels": 8}
    experts = {"_target_": "daair.models.daair_naf.MergedExperts", "count": 5, "rank": 4}
    make_run(tmp_path, "a-00000001", 0, model=naf, experts=experts)
    new = {"experts": experts | {"where": "all"}, "control": {"update": "none", "momentum": 0.5}}
    make_run(tmp_path, "a-00000001", 1, model=naf, **new)
    make_run(tmp_path, "b-00000002", 0, model=naf, **new | {"experts": experts | {"where": "encoder"}})
    make_run(tmp_path, "c-00000003", 0, experts={"count": 5, "rank": 4})
    runs = frame(tmp_path, "rank").runs
    assert runs["experts.where"].astype(object).tolist()[:3] == ["all", "all", "encoder"]
    assert runs["control.update"].astype(object).tolist()[:3] == ["none"] * 3
    assert runs[["experts.where", "control.update"]].iloc[3].isna().all(), "of another class nothing is known"


def test_flat_reading_equals_parsing_and_flattening() -> None:
    config = {
        "model": {"channels": 8, "experts": {"rank": 4}, "heads": [1, 2]},
        "experts": {"rank": 4, "none": None, "deep": {"er": {"x": 1e-8, "no": "no", "text": "a: b # c"}}},
        "benchmarks": {"mine.own": {"input": "a", "target": None}},
        "question": "How long " * 30 + "\n\nis it?\n",
        "empty": {}, "list": [{"a": 1}, {"b": [2, 3]}], "zero": "0123", "tick": "it's", "yes": True,
        "choices": {"degradation@mix.tasks.rain.degrade": "rain", "model": "daair"},
    }  # fmt: skip
    expected = {k: v for k, v in flatten(config) if not k.startswith("model.experts.")}
    for width in (20, 80, 1000):
        text = yaml.safe_dump(config, sort_keys=False, width=width)
        assert [pair for piece in read_config(text) for pair in piece] == list(expected.items())
        assert all(a is b for a, b in zip(read_config(text), read_config("" + text), strict=True)), "parsed once"
    shared = [1, 2]
    anchored = yaml.safe_dump({"a": {"b": shared}, "c": shared})
    assert "&id001" in anchored and read_config(anchored) == ((("a.b", "[1, 2]"), ("c", "[1, 2]")),)


def test_summary_merges(tmp_path: Path) -> None:
    record = Record(tmp_path)
    assert record.summary() == {}
    record.summarise(parameters=5, macs=1)
    record.summarise(macs=2, images_per_second=float("nan"))
    assert record.summary() == {"parameters": 5, "macs": 2, "images_per_second": None}
    assert json.loads(record.summary_file.read_text())["macs"] == 2


def test_a_frame_survives_parquet(tmp_path: Path) -> None:
    make_run(tmp_path, "a-00000001", 0)
    make_run(tmp_path, "a-00000001", 1, None)
    table = frame(tmp_path).frame
    table.to_parquet(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "x.parquet"), table, check_categorical=False)


def test_numbers_that_no_run_has_are_numbers(tmp_path: Path) -> None:
    """A study of somebody's weights alone knows no updates; its table was a traceback."""
    table = rows([30.0, 31.0], step="")
    folder = make_run(tmp_path, "a-00000001", 0, table, status={"steps": 0})
    collated = frame(tmp_path, "rank")
    assert collated.runs["steps"].dtype == "float64" and collated.runs["steps"].isna().all(), folder
    assert study_table(collated, TableSpec(), "rank").numbers["mean"].notna().any()
