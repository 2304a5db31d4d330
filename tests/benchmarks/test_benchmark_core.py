"""The built-in benchmark as a whole: names, ids, streams, splits, determinism, previews."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT
from PIL import Image

from ekipl_lab.benchmarks import (
    BENCHMARKS,
    SPLITS,
    Request,
    iterate_samples,
    load_sample,
    load_samples,
)
from ekipl_lab.benchmarks.dataset import as_dataset
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.audit import shared_scenes
from ekipl_lab.benchmarks.mini.stream import study_families
from ekipl_lab.benchmarks.preview import write_contact_sheet
from ekipl_lab.benchmarks.seeding import in_domain_split, rng_for, stable_seed
from ekipl_lab.errors import ConfigError, DataError

TASKS = tuple(MINI_TASKS)


def fingerprint(task: str) -> str:
    """One hash over ids, questions, answers and pixels of samples of every family and split."""
    digest = hashlib.sha256()
    for split in SPLITS:
        families = list(MINI_TASKS[task].families)
        for sample in load_samples("mini", task=task, split=split, limit=40, families=families):
            digest.update(json.dumps([sample.id, sample.question, sample.answer]).encode())
            for image in sample.images:
                digest.update(image.tobytes())
    return digest.hexdigest()


def test_registry_names_the_tasks() -> None:
    assert BENCHMARKS["mini"].tasks == TASKS
    assert BENCHMARKS["mini"].sizes["test"] == 1000


@pytest.mark.parametrize("task", TASKS)
def test_another_process_with_another_hash_seed_makes_the_same(task: str) -> None:
    code = (
        "import sys; sys.path[:0] = ['tests/kit', 'tests/benchmarks']\n"
        f"from test_benchmark_core import fingerprint; print(fingerprint({task!r}))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "12345"}
    root = ROOT
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint(task)


@pytest.mark.parametrize("task", TASKS)
def test_no_global_random_state_is_read_or_moved(task: str) -> None:
    random.seed(1)
    first = load_samples("mini", task=task, split="train", limit=3)
    state = random.getstate()
    random.seed(2)
    again = load_samples("mini", task=task, split="train", limit=3)
    assert [s.metadata for s in first] == [s.metadata for s in again]
    random.seed(1)
    assert random.getstate() == state


@pytest.mark.parametrize("task", TASKS)
def test_an_id_rebuilds_its_sample(task: str) -> None:
    for sample in load_samples("mini", task=task, split="test_ood", limit=9, seed=3):
        again = load_sample(sample.id)
        assert (again.question, again.answer, again.metadata) == (
            sample.question,
            sample.answer,
            sample.metadata,
        )
        assert [i.tobytes() for i in again.images] == [i.tobytes() for i in sample.images]


@pytest.mark.parametrize("task", TASKS)
def test_a_stream_can_be_entered_anywhere(task: str) -> None:
    ids = [s.id for s in load_samples("mini", task=task, split="train", limit=12)]
    assert len(set(ids)) == 12
    assert [s.id for s in load_samples("mini", task=task, split="train", limit=5, start=7)] == ids[
        7:12
    ]


def test_seeds_and_splits_give_other_samples() -> None:
    def scenes(split: str, seed: int) -> list[object]:
        samples = load_samples("mini", task="counting", split=split, limit=4, seed=seed)
        return [sample.metadata["scene"] for sample in samples]

    assert scenes("train", 0) != scenes("train", 1)
    assert scenes("train", 0) != scenes("validation", 0)


@pytest.mark.parametrize("task", TASKS)
def test_default_families_are_those_for_studies(task: str) -> None:
    families = study_families(task)
    samples = load_samples("mini", task=task, split="train", limit=2 * len(families))
    assert [sample.family for sample in samples] == list(families) * 2
    assert all(MINI_TASKS[task].families[name].status == "study" for name in families)


@pytest.mark.parametrize("task", TASKS)
def test_difficulties_are_kept_apart(task: str) -> None:
    hard = load_samples("mini", task=task, split="train", limit=10, difficulties=[2, 3])
    assert {sample.difficulty for sample in hard} == {2, 3}


def test_hand_computed_seed_and_split() -> None:
    # BLAKE2b-64 of "a", unit separator, "1", big-endian.
    expected = hashlib.blake2b(b"a\x1f1", digest_size=8).hexdigest()
    assert f"{stable_seed('a', 1):016x}" == expected
    assert rng_for("a", 1).random() == random.Random(int(expected, 16)).random()
    assert in_domain_split(f"{79:012x}" + "0" * 20) == "train"
    assert in_domain_split(f"{80:012x}" + "0" * 20) == "validation"
    assert in_domain_split(f"{90:012x}" + "0" * 20) == "test"
    assert in_domain_split(f"{100:012x}" + "0" * 20) == "train"


@pytest.mark.parametrize("task", TASKS)
def test_no_scene_in_two_splits(task: str) -> None:
    assert set(shared_scenes(task, 150).values()) == {0}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("task", TASKS)
def test_no_scene_in_two_splits_among_a_million(task: str) -> None:
    assert set(shared_scenes(task, 250_000, seed=1).values()) == {0}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [56, 100, 448])
def test_images_have_the_size_asked_for(task: str, size: int) -> None:
    sample = next(iterate_samples("mini", Request(task, "train", image_size=size)))
    assert {image.size for image in sample.images} == {(size, size)}
    assert {image.mode for image in sample.images} == {"RGB"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "countin"}, "counting"),
        ({"split": "tests"}, "did you mean 'test'"),
        ({"families": ["count_pear"]}, "count_pair"),
        ({"families": []}, "No families"),
        ({"families": ["remove", "compare", "remove"]}, "'remove' is asked for twice"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"image_size": 20}, "56 to 448"),
        ({"limit": 0}, "at least 1"),
        ({"start": -1}, "start is -1"),
        ({"difficulties": [9]}, "no difficulty 9"),
        ({"difficulties": []}, "No difficulties"),
    ],
)
def test_wrong_use_names_the_fix(changes: dict[str, object], words: str) -> None:
    arguments = {"task": "counting", "split": "test", "limit": 1} | changes
    with pytest.raises(ConfigError, match=words):
        load_samples("mini", **arguments)  # type: ignore[arg-type]


def test_one_family_may_be_named_without_a_list() -> None:
    samples = load_samples("mini", task="counting", split="test", families="remove", limit=2)
    assert [sample.id[-13:] for sample in samples] == ["remove/000000", "remove/000001"]


def test_unknown_benchmark_and_broken_id() -> None:
    with pytest.raises(ConfigError, match="mini"):
        load_samples("maxi", task="counting", split="test", limit=1)
    for broken in (
        "mini/counting/test",
        "mini/counting/test/sx/count_pair/000001",
        "mini/counting/test/s\u00b2/count_pair/000001",
        "mini/counting/test/s-1/count_pair/000001",
        "a/b/c/s0/d/1",
    ):
        with pytest.raises(ConfigError, match="no sample id"):
            load_sample(broken)
    with pytest.raises(ConfigError, match="Unknown split"):
        load_sample("mini/counting/nowhere/s0/count_pair/000001")


@pytest.mark.parametrize("task", TASKS)
def test_dataset_has_image_columns(task: str) -> None:
    samples = load_samples("mini", task=task, split="validation", limit=3)
    data = as_dataset(samples)
    assert data.num_rows == 3
    row = data[1]
    assert [image.tobytes() for image in row["images"]] == [i.tobytes() for i in samples[1].images]
    assert (row["id"], row["answer"]) == (samples[1].id, samples[1].answer)
    assert json.loads(row["metadata"]) == samples[1].metadata
    with pytest.raises(DataError, match="at least one"):
        as_dataset([])


def test_contact_sheet_shows_every_sample(tmp_path: Path) -> None:
    samples = load_samples("mini", task="counting", split="validation", limit=5)
    path = write_contact_sheet(samples, tmp_path / "new" / "sheet.png", columns=2)
    sheet = Image.open(path).convert("RGB")
    # Cards are 230 px wide with an 8 px gap; images of 56 px are enlarged three times.
    assert sheet.width == 2 * 238
    enlarged = samples[1].images[0].resize((168, 168), Image.Resampling.NEAREST)
    assert sheet.crop((238, 0, 238 + 168, 168)).tobytes() == enlarged.tobytes()
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ConfigError, match="no samples"):
        write_contact_sheet([], tmp_path / "x.png")
    with pytest.raises(ConfigError, match="columns"):
        write_contact_sheet(samples, tmp_path / "x.png", columns=0)
