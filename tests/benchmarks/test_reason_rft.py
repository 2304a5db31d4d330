"""The published data set's loader, on a generated folder of its shape with defects planted."""

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ekipl_lab.benchmarks import Request, load_samples, reason_rft
from ekipl_lab.benchmarks.image_files import ImageFiles
from ekipl_lab.benchmarks.reason_rft.checking import check_folder, check_lines, difference_hash
from ekipl_lab.benchmarks.reason_rft.layout import FILES
from ekipl_lab.benchmarks.reason_rft.loading import data_folder, is_validation
from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError, DataError, TeacherError
from ekipl_lab.parsing import parse_completion
from ekipl_lab.prompts import build_messages
from ekipl_lab.rewards import check_ground_truth, get_scorer
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.run_data import load_training_samples
from ekipl_lab.training.run_teachers import build_run_teachers
from ekipl_lab.types import Action, GenerationParams, Sample

COUNT = {"train": 60, "test": 4, "test_ood": 4}
COUNTING = FILES[0].path
CALLS = "change_size(0, large), change_color(2, red)"
ANSWERS = {
    "counting": ["3", "0", "12", "7"],
    "geometry": ["A", "12.5", "D", "2\\sqrt{3}"],
    "transformation": ["change_size(0, large)", CALLS, "change_shape(1, 'cube')", CALLS],
}


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All ten files, every documented form of ``image``, no defects."""
    number = 0
    for file in FILES:
        rows = []
        for index in range(COUNT[file.split]):
            names = []
            for _ in range(2 if file.task == "transformation" else 1):
                names.append(f"{file.family}/{file.split}-{number}.png")
                write_image(tmp_path / file.images / names[-1], number)
                number += 1
            forms: list[Any] = [names[0], names, {"path": names[0]}, [{"path": n} for n in names]]
            row = {
                "id": f"{file.family}-{file.split}-{index}",
                "image": forms[index % 2 * 2 + 1 if len(names) == 2 else index % 4],
                "problem": f"Question {number}?",
                "answer": ANSWERS[file.task][index % 4],
            }
            if file.split == "train":
                row["cot"] = f"Chain {index}."
            rows.append(row)
        path = tmp_path / file.path
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(rows))
    return tmp_path


def change(folder: Path, path: str, edit: Callable[[list[Any]], Any]) -> None:
    rows = json.loads((folder / path).read_text())
    edit(rows)
    (folder / path).write_text(json.dumps(rows))


def load(folder: Path, task: str, split: str, **options: Any) -> list[Sample]:
    return list(reason_rft.iterate(Request(task, split, **options), folder))


def test_every_file_is_loaded(folder: Path) -> None:
    for task in reason_rft.TASKS:
        train, held = load(folder, task, "train"), load(folder, task, "validation")
        assert len(train) + len(held) == 60 and len(held) >= 1
        assert all(is_validation(s.id.rsplit("/", 1)[1]) for s in held)
        assert all(s.cot and s.cot.startswith("Chain") for s in train)
        assert len(load(folder, task, "test")) == 4
        assert len(load(folder, task, "test_ood")) == (8 if task == "transformation" else 4)
        samples = [*train, *held, *load(folder, task, "test"), *load(folder, task, "test_ood")]
        assert len({s.id for s in samples}) == len(samples)
        for sample in samples:
            check_ground_truth(sample)
            assert len(sample.images) == (2 if task == "transformation" else 1)
            assert build_messages(sample)[0]["content"][-1]["type"] == "text"


def test_chains_of_the_records_are_replayed_by_a_teacher(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a run with `teachers: [{type: replay, cot: true}]` asks; some records bring the tags."""
    monkeypatch.setenv("EKIPL_REASON_RFT", str(folder))

    def tag(rows: list[Any]) -> None:
        for row in rows[::2]:
            row["cot"] = f"<think>{row['cot']}</think>\n<answer>{row['answer']}</answer>"

    for file in FILES:
        if file.split == "train":
            change(folder, file.path, tag)
    chains = {"type": "replay", "id": "chains", "cot": True}
    for task in reason_rft.TASKS:
        data = {"benchmark": "reason_rft", "task": task}
        raw = {"name": "r", "policy": {"build": "nano"}, "data": data, "teachers": [chains]}
        config = parse_config(raw)
        samples = load_training_samples(config)
        (teacher,) = build_run_teachers(config, samples)
        rows = teacher.source.propose(samples, teacher.actions, GenerationParams())
        for sample, (action,) in zip(samples, rows, strict=True):
            assert sample.cot is not None and action.completion.count("Chain ") == 1
            assert parse_completion(action.completion).format_ok
            assert get_scorer("ekipl/auto")(sample, action).success
        with pytest.raises(TeacherError, match=rf"reason_rft/{task}/test/.* has no reasoning"):
            teacher.source.propose(load(folder, task, "test")[:1], 1, GenerationParams())


def test_a_link_that_leads_out_of_the_folder_is_not_followed(folder: Path) -> None:
    rows = json.loads((folder / COUNTING).read_text())
    path = folder / FILES[0].images / rows[0]["image"]
    outside = folder.parent / f"{folder.name}-private.png"
    path.replace(outside)
    path.symlink_to(outside)
    with pytest.raises(DataError, match="leads out of the data set's folder"):
        load(folder, "counting", "train")


def test_samples_carry_what_the_records_say(folder: Path) -> None:
    first, second = load(folder, "transformation", "test")[:2]
    assert first.id == "reason_rft/transformation/test/trance/trance-test-0"
    assert (first.answer, first.answer_type, first.difficulty) == (
        "change_size(0, large)", "calls", 1
    )  # fmt: skip
    assert second.difficulty == 2 and second.cot is None
    assert [image.size for image in first.images] == [(32, 24)] * 2
    quoted = load(folder, "transformation", "test")[2]
    assert quoted.answer == "change_shape(1, cube)"
    kinds = [sample.answer_type for sample in load(folder, "geometry", "test")]
    assert kinds == ["letter", "number", "letter", "math"]


def test_images_are_right_small_and_opened_when_looked_at(folder: Path) -> None:
    sample = load(folder, "counting", "test", image_size=16)[0]
    assert sample.images[0].size == (16, 12)
    big = folder / "images" / "big.png"
    Image.new("RGB", (3000, 1000)).save(big)
    small = ImageFiles((big,))[0]
    assert small.size == (1200, 400) and small.width * small.height <= 480_000


def test_slices_and_order(folder: Path) -> None:
    left = load(folder, "transformation", "test_ood", families=["trance_left"])
    assert {s.family for s in left} == {"trance_left"}
    hard = load(folder, "transformation", "test", difficulties=[2])
    assert [s.difficulty for s in hard] == [2, 2]
    plain = load(folder, "counting", "train")
    assert load(folder, "counting", "train", start=3) == plain[3:]
    shuffled = load(folder, "counting", "train", seed=1)
    assert shuffled != plain and sorted(s.id for s in shuffled) == sorted(s.id for s in plain)
    assert load(folder, "counting", "train", seed=1) == shuffled


def test_both_families_of_scores_apply(folder: Path) -> None:
    sample = load(folder, "transformation", "test")[1]
    half = Action("<think>x</think><answer>change_size(0, large)</answer>", "policy", "m")
    for name in ("ekipl/auto", "reason_rft/train", "reason_rft/eval"):
        assert get_scorer(name)(sample, half).components["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("path", "edit", "field", "reason"),
    [
        (COUNTING, lambda r: r[5].pop("id"), "'id'", "missing"),
        (COUNTING, lambda r: r[5].update(id=r[2]["id"]), "'id'", "the same as of record 2"),
        (COUNTING, lambda r: r[5].update(answer=" "), "'answer'", "empty"),
        (COUNTING, lambda r: r[5].update(answer="many"), "'answer'", "not a number"),
        (COUNTING, lambda r: r[5].update(answer=["3"]), "'answer'", "a list where a text"),
        (COUNTING, lambda r: r[5].pop("problem"), "'problem'", "missing"),
        (COUNTING, lambda r: r[5].update(cot=""), "'cot'", "empty"),
        (COUNTING, lambda r: r[5].pop("image"), "'image'", "missing"),
        (COUNTING, lambda r: r[5].update(image=[]), "'image'", "missing"),
        (COUNTING, lambda r: r[5].update(image="no/such.png"), "'image'", "does not exist"),
        (COUNTING, lambda r: r[5].update(image="../../x.png"), "'image'", "leads out of"),
        (COUNTING, lambda r: r[5].update(image="/etc/passwd"), "'image'", "leads out of"),
        (COUNTING, lambda r: r[5].update(image={"file": "a"}), "'image'", "neither a path"),
        (COUNTING, lambda r: r[5].update(image=["a.png", "b.png"]), "'image'", "2 images where"),
        (COUNTING, lambda r: r.__setitem__(5, "text"), "record 5", "not a JSON object"),
        (
            FILES[6].path,
            lambda r: r[5].update(answer="change_weight(0, red)"),
            "'answer'",
            "unknown function 'change_weight'",
        ),
        (
            FILES[6].path,
            lambda r: r[5].update(answer="change_color(0, pink)"),
            "'answer'",
            "unknown value 'pink'",
        ),
        (
            FILES[6].path,
            lambda r: r[5].update(answer="change_color(0, red) twice"),
            "'answer'",
            "not a sequence of calls",
        ),
        (
            FILES[6].path,
            lambda r: r[5].update(answer=", ".join(["change_color(0, red)"] * 5)),
            "'answer'",
            "5 calls where 4",
        ),
        (FILES[6].path, lambda r: r[5].update(image=r[5]["image"][:1]), "'image'", "1 images"),
    ],
)
def test_a_broken_record_is_refused_and_named(
    folder: Path, path: str, edit: Callable[[list[Any]], Any], field: str, reason: str
) -> None:
    change(folder, path, edit)
    task = next(file.task for file in FILES if file.path == path)
    with pytest.raises(DataError) as caught:
        load(folder, task, "train")
    for part in (path, "record 5", field, reason):
        assert part in str(caught.value)
    report = check_folder(folder)
    assert [str(problem) for problem in report.problems] == [str(caught.value)]
    assert not report.sound
    load(folder, task, "test")  # the other files are as good as before


def test_broken_files_are_named(folder: Path) -> None:
    (folder / COUNTING).write_text("[")
    with pytest.raises(DataError, match=rf"{COUNTING}: not JSON"):
        load(folder, "counting", "train")
    (folder / COUNTING).write_text("{}")
    with pytest.raises(DataError, match="not a JSON list"):
        load(folder, "counting", "train")
    (folder / COUNTING).unlink()
    with pytest.raises(DataError, match=rf"{COUNTING}: the file is missing"):
        load(folder, "counting", "train")


def test_an_image_that_cannot_be_decoded_is_named(folder: Path) -> None:
    broken = folder / "images/test_images/clevr_math/test-60.png"
    broken.write_bytes(broken.read_bytes()[:200])
    sample = load(folder, "counting", "test")[0]
    with pytest.raises(DataError, match=r"test-60\.png cannot be read"):
        list(sample.images)
    (problem,) = check_folder(folder).problems
    assert (problem.file, problem.index, problem.field) == (FILES[1].path, 0, "image")


def test_wrong_names_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="did you mean 'counting'"):
        load(folder, "countin", "test")
    with pytest.raises(ConfigError, match="did you mean 'test_ood'"):
        load(folder, "counting", "test_odd")
    with pytest.raises(ConfigError, match="Known: super_clevr"):
        load(folder, "counting", "test_ood", families=["clevr"])
    monkeypatch.setenv("EKIPL_REASON_RFT", str(folder / "none"))
    with pytest.raises(ConfigError, match="not a folder"):
        data_folder()
    monkeypatch.setenv("EKIPL_REASON_RFT", str(folder))
    assert len(list(reason_rft.iterate(Request("counting", "test")))) == 4


def test_downloaded_archives_are_unpacked_once(folder: Path) -> None:
    archive = folder / "test_images.zip"
    images = folder / "images" / "test_images"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(images.rglob("*.png")):
            opened.write(path, f"test_images/{path.relative_to(images)}")
    for path in sorted(images.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    images.rmdir()
    assert len(load(folder, "counting", "test")) == 4
    archive.unlink()
    assert len(load(folder, "counting", "test")) == 4


def test_the_folder_as_downloaded_checks_like_the_loaded_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(folder)]) == 0
    loaded = capsys.readouterr().out
    for name in ("train_images", "test_images"):
        images = folder / "images" / name
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as opened:
            for path in sorted(images.rglob("*.png")):
                opened.write(path, f"{name}/{path.relative_to(images)}")
        shutil.rmtree(images)
    assert main(["data", "check", str(folder)]) == 0
    assert capsys.readouterr().out == loaded
    shutil.rmtree(folder / "images" / "test_images")
    archive = folder / "test_images.zip"
    archive.write_bytes(archive.read_bytes()[:-30])
    assert main(["data", "check", str(folder)]) == 2
    assert "test_images.zip cannot be unpacked" in capsys.readouterr().err
    assert not list(folder.glob(".test_images*"))


def test_what_training_would_die_of_is_a_problem_of_the_record(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / FILES[0].images / "clevr_math" / "strip.png"
    Image.new("RGB", (2300, 8)).save(path)
    change(folder, COUNTING, lambda r: r[5].update(image="clevr_math/strip.png"))
    change(folder, COUNTING, lambda r: r[6].update(problem="What is <|image_pad|>?"))
    change(folder, COUNTING, lambda r: r[7].update(problem="<image> and <image>?"))
    change(folder, COUNTING, lambda r: r[8].update(problem="A \ud800?"))
    change(folder, COUNTING, lambda r: r[10].update(image=r[9]["image"], problem=r[9]["problem"]))
    assert main(["data", "check", str(folder)]) == 1
    out = capsys.readouterr().out
    for index, words in (
        (5, "images of 2300 x 8 pixels"), (6, "holds '<|image_pad|>'"),
        (7, "2 <image> for 1 images"), (8, "half a character"),
    ):  # fmt: skip
        assert re.search(
            rf"record {index} \(id clevr_math-train-{index}\).*{re.escape(words)}", out
        )
    assert "the same item: clevr_math-train-9 and clevr_math-train-10, answers differ" in out
    assert "one finished prompt, reason_rft/counting/train/clevr_math/" in out


def test_a_limit_draws_from_every_family(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EKIPL_REASON_RFT", str(folder))
    options: dict[str, Any] = {"task": "transformation", "split": "test_ood", "limit": 4}
    for seed in (0, 1):
        drawn = load_samples("reason_rft", seed=seed, **options)
        assert sorted(s.family for s in drawn) == ["trance_left"] * 2 + ["trance_right"] * 2


def test_a_sound_folder_is_reported_with_its_counts(folder: Path) -> None:
    seen: list[tuple[str, int]] = []
    report = check_folder(folder, lambda path, count: seen.append((path, count)))
    assert report.sound and not report.overlaps and not report.problems
    assert [one.records for one in report.files] == [COUNT[f.split] for f in FILES]
    assert seen == [(f.path, COUNT[f.split]) for f in FILES]
    assert report.files[3].answer_types == {"letter": 30, "math": 15, "number": 15}
    assert report.files[7].difficulties == {1: 2, 2: 2}
    assert not any(one.complete for one in report.files)
    lines = check_lines(report)
    assert lines[0] == f"{COUNTING}: 60 records (published: 35000); number 60"
    assert "Broken records: 0" in lines
    with pytest.raises(ConfigError, match="holds none of the files"):
        check_folder(folder / "images")


def test_duplicates_and_overlaps_are_found(folder: Path) -> None:
    train = json.loads((folder / COUNTING).read_text())
    images, tests = folder / "images", FILES[1].path

    def copy(rows: list[Any], index: int, source: int, problem: str | None) -> None:
        name = f"clevr_math/copy-{index}.png"
        name_of = train[source]["image"]
        name_of = name_of[0] if isinstance(name_of, list) else name_of
        name_of = name_of["path"] if isinstance(name_of, dict) else name_of
        image = Image.open(images / "train_images" / name_of)
        if index == 2:  # nearly the same: one pixel differs
            image.putpixel((0, 0), (1, 2, 3))
        image.save(images / "test_images" / name)
        rows[index]["image"] = name
        if problem is not None:
            rows[index]["problem"] = problem

    def plant(rows: list[Any]) -> None:
        copy(rows, 0, 7, train[7]["problem"])
        copy(rows, 1, 8, None)
        copy(rows, 2, 9, None)

    change(folder, tests, plant)
    change(folder, COUNTING, lambda r: r[4].update(image=r[3]["image"], problem=r[3]["problem"]))
    report = check_folder(folder)
    found = [(o.kind, o.test_id, o.train_id) for o in report.overlaps]
    assert found == [
        ("whole item", "clevr_math-test-0", "clevr_math-train-7"),
        ("exact image", "clevr_math-test-1", "clevr_math-train-8"),
        ("near image", "clevr_math-test-2", "clevr_math-train-9"),
    ]
    assert report.files[0].duplicates == (("clevr_math-train-3", "clevr_math-train-4"),)
    assert not report.sound
    assert any("whole item: 1" in line for line in check_lines(report))


def test_one_image_of_two_is_enough_for_an_overlap(folder: Path) -> None:
    train = json.loads((folder / FILES[6].path).read_text())
    first = train[0]["image"][0]
    target = folder / "images/test_images" / first
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes((folder / "images/train_images" / first).read_bytes())
    change(folder, FILES[8].path, lambda r: r[1].update(image=[r[1]["image"][0], first]))
    (overlap,) = check_folder(folder).overlaps
    assert (overlap.kind, overlap.test_id) == ("exact image", "trance_left-test_ood-1")


def test_difference_hash_survives_another_size_and_not_another_image(folder: Path) -> None:
    one = Image.linear_gradient("L").convert("RGB").rotate(45)
    same = difference_hash(one) ^ difference_hash(one.resize((200, 200)))
    assert int(np.bitwise_count(same).sum()) <= 6
    other = difference_hash(one) ^ difference_hash(one.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert int(np.bitwise_count(other).sum()) > 40


def test_training_files_in_the_published_forms(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    counting = reason_rft.read_records(folder, FILES[0])
    assert reason_rft.export(counting, "ans_sft", out, root=folder, prompt="Count.") == 60
    entry = json.loads(out.read_text())[0]
    assert entry["id"] == "clevr_math-train-0"
    assert entry["image"] == "images/train_images/clevr_math/train-0.png"
    assert entry["messages"] == [
        {"role": "user", "content": "Count.\n<image>Question 1?"},
        {"role": "assistant", "content": "3"},
    ]
    pairs = reason_rft.read_records(folder, FILES[6])
    reason_rft.export(pairs, "cot_sft", out, root=folder)
    entry = json.loads(out.read_text())[1]
    assert len(entry["image"]) == 2
    assert entry["messages"][0]["content"].startswith("<image><image>Question")
    assert entry["messages"][1]["content"] == (
        f"<think>\nChain 1.\n</think>\n<answer>\n{CALLS}\n</answer>"
    )
    reason_rft.export(pairs[1:2], "rl", out, root=folder)
    (entry,) = json.loads(out.read_text())
    assert set(entry) == {"id", "image", "problem", "solution"} and entry["solution"] == CALLS
    with pytest.raises(DataError, match="record 0: there is no chain"):
        tests = reason_rft.read_records(folder, FILES[1])
        reason_rft.export(tests, "cot_sft", out, root=folder)
    with pytest.raises(ConfigError, match="did you mean 'cot_sft'"):
        reason_rft.export([], "cot_stf", out, root=folder)


def test_the_command_line_reports_on_a_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(folder)]) == 0
    assert "Broken records: 0" in capsys.readouterr().out
    change(folder, COUNTING, lambda r: r[5].pop("answer"))
    assert main(["data", "check", str(folder)]) == 1
    assert "record 5 (id clevr_math-train-5), field 'answer': missing." in capsys.readouterr().out


def test_the_benchmark_is_registered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EKIPL_REASON_RFT", str(folder))
    samples = load_samples("reason_rft", task="geometry", split="test")
    assert [sample.answer for sample in samples[:3]] == ["A", "12.5", "D"]
