"""Blind solvers on hand-made samples, the committed record, and the page generated from it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from paths import ROOT
from PIL import Image

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.blind import (
    BLIND_LIMIT,
    draw,
    main,
    measure,
    shuffle_images,
    table,
    with_table,
    without_images,
)
from ekipl_lab.benchmarks.mini.solvers import SOLVERS, template
from ekipl_lab.benchmarks.mini.task import MINI_VERSION
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.types import Sample


def made(question: str, answer: str, shade: int = 0) -> Sample:
    image = Image.new("RGB", (56, 56), (shade, shade, shade))
    return Sample("x", "counting", "test", (image,), question, answer, "text")


def test_templates_by_hand() -> None:
    assert template(made("More red things or balls?", "red 3 2")) == "@1 3 2"
    assert template(made("More red things or balls?", "ball 3 2")) == "@4 3 2"
    assert template(made("How many balls?", "2 1")) == "2 1"


TRAIN = [
    made("How many red?", "1", 10),
    made("How many red?", "1", 20),
    made("How many blue?", "2", 200),
    made("How many blue?", "3", 90),
    made("How many blue?", "2", 220),
]


@pytest.mark.parametrize(
    ("name", "credit"),
    [
        ("constant", [1, 0, 0]),  # "1" and "2" tie at two each; the first seen is taken
        ("prior", [0.4, 0.4, 0.2]),
        ("question_words", [1, 1, 0]),
        ("question_nearest", [1, 1, 0]),
        ("pixels", [0, 0, 1]),
        ("outlines", [1, 0, 0]),  # flat pictures are all alike: the first of them
        ("pixels_same_question", [1, 0, 1]),
    ],
)
def test_solvers_by_hand(name: str, credit: list[float]) -> None:
    test = [
        made("How many red?", "1", 215),  # its picture is nearest to an answer 2
        made("How many blue?", "2", 14),  # nearest of all: 1; of the blue ones: 3
        made("How many blue?", "3", 85),
    ]
    assert SOLVERS[name](TRAIN, test).tolist() == credit


def test_solvers_find_what_can_be_guessed() -> None:
    fit = draw("counting", "count_one", "train", 300)
    row = measure("counting", "count_one", "test", fit, 200)
    assert row["status"] == "guessable" and row["best_score"] > BLIND_LIMIT
    assert row["best_score"] == max(row["scores"].values())


def test_images_are_shuffled_within_the_family() -> None:
    samples = load_samples("mini", task="counting", split="test", limit=21)
    shuffled = shuffle_images(samples, seed=1)
    for before, after in zip(samples, shuffled, strict=True):
        assert before.images != after.images
        assert (before.id, before.answer) == (after.id, after.answer)
    for family in {sample.family for sample in samples}:
        pools = [
            {id(s.images[0]) for s in group if s.family == family} for group in (samples, shuffled)
        ]
        assert pools[0] == pools[1]
    assert all(sample.images == () for sample in without_images(samples))
    with pytest.raises(DataError, match="one sample"):
        shuffle_images(samples[:1])


def test_no_sample_gets_an_image_that_is_its_own() -> None:
    """Several questions about one picture, as data of one's own have them; pairs among single."""
    colours = ["red", "red", "red", "blue", "green", "blue", "red", "white", "black"]
    samples = [
        Sample(f"own/{n}", "t", "test", (Image.new("RGB", (8, 8), c),), "Which?", c, "text")
        for n, c in enumerate(colours)
    ]
    pairs = [
        replace(one, id=f"own/pair-{n}", images=one.images * 2)
        for n, one in enumerate(samples[3:6])
    ]
    for seed in range(20):
        for before, after in zip(samples, shuffle_images(samples, seed), strict=True):
            assert before.images[0].tobytes() != after.images[0].tobytes()
    mixed = [*samples, pairs[0], pairs[1]]
    sizes = [len(sample.images) for sample in shuffle_images(mixed)]
    assert sizes == [len(sample.images) for sample in mixed]
    with pytest.raises(DataError, match="4 of 7 samples of family '' have the same image"):
        shuffle_images([*samples[:4], *samples[6:]])
    with pytest.raises(DataError, match="one sample with as many images as own/pair-0"):
        shuffle_images([*samples, pairs[0]])


def test_study_families_stay_under_the_limit() -> None:
    record = json.loads((ROOT / "results/blind.json").read_text())
    assert record["version"] == MINI_VERSION
    rows = {(row["task"], row["family"], row["split"]): row for row in record["rows"]}
    for task, mini in MINI_TASKS.items():
        for name, family in mini.families.items():
            for split in ("test", "test_ood") if family.images else ():
                row = rows.pop((task, name, split))
                assert row["status"] == family.status
                assert row["best_score"] == max(row["scores"].values())
                if family.status in ("study", "ground"):
                    assert row["best_score"] <= BLIND_LIMIT, row
    assert rows == {}


def test_the_page_holds_the_table_of_the_record() -> None:
    record = json.loads((ROOT / "results/blind.json").read_text())
    page = (ROOT / "docs/benchmark.md").read_text()
    assert with_table(page, record) == page
    assert "| counting | count_pair | study |" in table(record)
    with pytest.raises(DataError, match="lacks the marks"):
        with_table("no markers", record)


def test_the_page_names_every_family() -> None:
    page = (ROOT / "docs/benchmark.md").read_text()
    for mini in MINI_TASKS.values():
        assert all(name in page for name in mini.families)


def test_the_page_s_example_runs() -> None:
    page = (ROOT / "docs/benchmark.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_command_writes_record_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- blind table: begin -->\n<!-- blind table: end -->\nbelow\n")
    record = tmp_path / "new" / "blind.json"
    main(["--train", "12", "--test", "6", "--record", str(record), "--page", str(page)])
    written = json.loads(record.read_text())
    assert written["train_samples"] == 12
    text = page.read_text()
    assert text.startswith("above\n") and text.endswith("below\n")
    assert table(written) in text and table(written) in capsys.readouterr().out


def test_families_by_name_are_printed_and_written_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "blind.json"
    small = ["--train", "12", "--test", "6", "--record", str(record)]
    before = (ROOT / "docs/benchmark.md").read_bytes()
    main([*small, "--page", str(ROOT / "docs/benchmark.md"), "--families", "count_pair", "line"])
    printed = capsys.readouterr().out
    assert "| counting | count_pair |" in printed and "| geometry | line |" in printed
    assert printed.count("| study |") == 2
    assert not record.exists() and (ROOT / "docs/benchmark.md").read_bytes() == before
    with pytest.raises(ConfigError, match="count_pair"):
        main([*small, "--families", "count_pairs"])
