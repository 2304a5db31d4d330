"""Predictions in the shapes of lmms-eval and VLMEvalKit, read back as those tools do."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation import evaluate
from ekipl_lab.evaluation.exporting import export_lmms_eval, export_vlmevalkit
from ekipl_lab.rewards import get_scorer
from ekipl_lab.teachers.adapters.replay import ReplayTeacher
from ekipl_lab.types import EvalRecord, Sample

SAMPLES = [
    Sample("own/a", "counting", "test", (), 'How "many"\tapples?', "3", "number", "fruit"),
    Sample("own/b", "counting", "test", (), "How many\npears?", "4", "number"),
]
ACTIONS = {
    "own/a": ["<think>x</think><answer>3</answer>", "<think>x</think><answer>5</answer>"],
    "own/b": ["four\tor\nfive", "<think>x</think><answer>4</answer>"],
}


def records(folder: Path, num_samples: int) -> list[EvalRecord]:
    path = folder / "actions.jsonl"
    rows = [{"sample_id": i, "completion": c} for i, texts in ACTIONS.items() for c in texts]
    path.write_text("\n".join(map(json.dumps, rows)))
    mode = "greedy" if num_samples == 1 else "sampled"
    return evaluate(
        ReplayTeacher("r", path), SAMPLES, get_scorer("ekipl/auto"), mode=mode,
        num_samples=num_samples,
    )  # fmt: skip


def test_lmms_eval_lines(tmp_path: Path) -> None:
    path = tmp_path / "out" / "samples_own.jsonl"
    assert export_lmms_eval(path, records(tmp_path, 2), SAMPLES) == 2
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert (first["doc_id"], first["target"], first["accuracy"]) == (0, "3", 0.5)
    assert first["resps"] == [ACTIONS["own/a"]] and first["filtered_resps"] == ["3", "5"]
    assert second["filtered_resps"] == ["", "4"] and second["doc"]["id"] == "own/b"
    assert "<answer>" in first["arguments"][0] and "3" not in first["arguments"][0]
    assert len({first["doc_hash"], second["doc_hash"]}) == 2


def test_a_sample_has_one_number_in_both_modes(tmp_path: Path) -> None:
    path = tmp_path / "samples_own.jsonl"
    both = [*records(tmp_path, 1), *records(tmp_path, 2)]
    assert export_lmms_eval(path, both, iter(SAMPLES)) == 4
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["doc_id"], row["doc"]["id"], row["arguments"][1]["mode"]) for row in rows] == [
        (0, "own/a", "greedy"), (1, "own/b", "greedy"),
        (0, "own/a", "sampled"), (1, "own/b", "sampled"),
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl"])
def test_vlmevalkit_table(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model_own{suffix}"
    assert export_vlmevalkit(path, records(tmp_path, 1), SAMPLES) == 2
    if suffix == ".tsv":
        rows = pd.read_csv(path, sep="\t").to_dict("records")
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["index"] for row in rows] == [0, 1]
    assert [row["question"] for row in rows] == [sample.question for sample in SAMPLES]
    assert [str(row["answer"]) for row in rows] == ["3", "4"]
    assert [str(row["prediction"]) for row in rows] == ["3", "four\tor\nfive"]
    assert [row["category"] for row in rows] == ["fruit", "counting"]


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    sampled = records(tmp_path, 2)
    with pytest.raises(ConfigError, match="own/a has 2 predictions"):
        export_vlmevalkit(tmp_path / "x.tsv", sampled, SAMPLES)
    with pytest.raises(ConfigError, match=r"\.tsv or \.jsonl"):
        export_vlmevalkit(tmp_path / "x.xlsx", sampled, SAMPLES)
    with pytest.raises(DataError, match="own/b"):
        export_lmms_eval(tmp_path / "x.jsonl", sampled, SAMPLES[:1])
