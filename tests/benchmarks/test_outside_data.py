"""The questions from outside: the data are what the generator makes, in words that are known."""

import json
from collections import Counter

import numpy as np
import pytest
from paths import ROOT
from PIL import Image
from tokenizers import Tokenizer

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.counting.scene import split_of
from ekipl_lab.benchmarks.mini.task import SampleKey
from ekipl_lab.prompts import prompt_text
from perf.outside import main, table
from perf.outside_items import DESCRIPTION, FAMILIES, ITEMS, make_item

DATA = ROOT / "perf" / "outside_data"
ROWS = [json.loads(line) for line in (DATA / "test.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_data_are_what_the_generator_makes(family):
    kept = [row for row in ROWS if row["family"] == family]
    assert len(kept) == ITEMS and (DATA / "data.yaml").read_text("utf-8") == DESCRIPTION
    for index in range(4):
        item = make_item(family, index)
        assert item.row() == kept[index]
        with Image.open(DATA / "pictures" / kept[index]["picture"]) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(item.picture()))
        answer = item.asked.answer(item.scene)
        assert split_of(item.scene.things) == "test"
        assert answer not in [misread(item.scene) for misread in item.asked.misread]


def test_answers_are_balanced_and_no_scene_occurs_twice():
    for name, family in FAMILIES.items():
        answers = Counter(row["answer"] for row in ROWS if row["family"] == name)
        assert answers == Counter(family.answers) and max(answers.values()) < ITEMS / 4
    assert len({row["scene"] for row in ROWS}) == len(ROWS)


def test_every_token_of_a_prompt_is_one_of_the_built_in_questions():
    """A word beyond the vocabulary would fall into bytes, which no built-in question has."""
    tokenizer = Tokenizer.from_file(str(ROOT / "assets/policies/counting_study/tokenizer.json"))
    task = MINI_TASKS["counting"]
    keys = [
        SampleKey("counting", "train", 0, family, index)
        for family, kind in task.families.items()
        if kind.images and kind.status != "ground"
        for index in range(40)
    ]
    known = {token for key in keys for token in tokenizer.encode(task.draft(key).question).tokens}
    samples = load_samples(str(DATA / "data.yaml"), task="counting", split="test", limit=None)
    asked = {sample.id: set(tokenizer.encode(prompt_text(sample)).tokens) for sample in samples}
    assert len(asked) == len(ROWS)
    assert {name: tokens - known for name, tokens in asked.items() if tokens - known} == {}
    assert set(tokenizer.encode("Remove red things. Where are sofas?").tokens) - known


def test_measure_keeps_counts_by_family_and_the_table_shows_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("perf.outside.CACHE", tmp_path / "cache")
    monkeypatch.setattr("perf.outside.SAMPLES", 8)
    out = tmp_path / "record.json"
    given = ["measure", "--data", str(DATA / "data.yaml"), "--items", "1", "--out", str(out)]
    assert main([*given, "--policy", f"one={ROOT / 'assets/policies/counting_study'}"]) == 0
    record = json.loads(out.read_text("utf-8"))
    assert record["data"]["samples"] == len(FAMILIES) and record["command"].endswith("study")
    for counts in record["policies"]["one"]["families"].values():
        assert counts["items"] == counts["greedy_scored"] == 1 and counts["sampled_scored"] == 8
        assert counts["accuracy_greedy"]["value"] == counts["greedy_right"]
        assert counts["pass_at_8"]["value"] == counts["items_ever_right"]
        assert counts["pass_at_1"]["value"] == counts["sampled_right"] / 8
    assert main(["table", str(out)]) == 0
    table = capsys.readouterr().out
    assert all(f"| {family} | one | 1 | 100.0 |" in table for family in FAMILIES)


def test_the_page_has_the_table_of_the_record():
    record = json.loads((ROOT / "results" / "outside.json").read_text("utf-8"))
    assert table(record) in (ROOT / "docs" / "outside.md").read_text("utf-8")
