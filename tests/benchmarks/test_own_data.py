"""Data and a reward of one's own, by nothing but what the page in docs says."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from paths import ROOT
from PIL import Image

from ekipl_lab import tracking
from ekipl_lab.benchmarks import load_samples
from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError, DataError, RewardError
from ekipl_lab.evaluation import evaluate, summarize
from ekipl_lab.prompts import build_messages, prompt_text
from ekipl_lab.rewards import get_scorer
from ekipl_lab.rewards.audit import main as audit_main
from ekipl_lab.teachers.adapters.random import RandomTeacher
from ekipl_lab.training.evaluator import metric_part
from ekipl_lab.types import Action, Sample

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.split("## Your own data")[1], re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def fruit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the page, word for word; tests run beside it, as a user would."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "fruit"
    (folder / "pictures").mkdir(parents=True)
    Image.new("RGB", (40, 20), "red").save(folder / "pictures/1.png")
    Image.new("RGB", (20, 20), "green").save(folder / "pictures/2.png")
    (folder / "data.yaml").write_text(block("yaml"))
    (folder / "train.jsonl").write_text(block("json"))
    (folder / "test.csv").write_text(
        "name,picture,text,count,level\na,1.png,How many?,4,1\nb,2.png,How many?,5,2\n"
    )
    (folder / "rewards.py").write_text(block("python"))
    return folder


def load(split: str = "train", **options: object) -> list[Sample]:
    return load_samples("fruit/data.yaml", task="counting", split=split, **options)  # type: ignore[arg-type]


def act(answer: str) -> Action:
    return Action(f"<think>x</think><answer>{answer}</answer>", "policy", "m")


def edit(fruit: Path, old: str, new: str) -> None:
    text = (fruit / "data.yaml").read_text()
    assert old in text
    (fruit / "data.yaml").write_text(text.replace(old, new))


@pytest.mark.usefixtures("fruit")
def test_the_page_works_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = load()
    assert (one.id, one.answer, one.difficulty) == ("fruit/counting/train/bowl-1", "3", 1)
    assert [image.size for image in two.images] == [(40, 20), (20, 20)]
    assert "How many apples" in prompt_text(one) and "<answer>" in prompt_text(one)
    assert len(build_messages(two)[0]["content"]) == 3
    score = get_scorer("ekipl/auto")
    assert [score(one, act(a)).success for a in ("3", "4", "5")] == [True, True, False]
    assert main(["data", "check", "fruit/data.yaml"]) == 0
    out = capsys.readouterr().out
    assert "train: 2 records, 2 image sizes, 2 different answers" in out and "sound" in out
    own = get_scorer("python:fruit/rewards.py:closeness")
    assert [own(one, act(a)).components["accuracy"] for a in ("3", "4", "5", "x")] == [1, 0.5, 0, 0]
    assert [own(one, act(a)).success for a in ("3", "4")] == [True, False]
    records = evaluate(RandomTeacher("g"), load("test"), own, mode="sampled", num_samples=8)
    assert {row.n for row in summarize(records, ks=(1, 8))} == {2}


def test_a_reward_of_ones_own_is_audited(fruit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = re.search(r"python -m ekipl_lab.rewards.audit (.*)", PAGE)
    assert command is not None
    audit_main(command[1].split())
    assert capsys.readouterr().out.splitlines()[2].endswith("| nothing tried | - | - |")
    (fruit / "loose.py").write_text(
        "def score(completion, sample):\n    return float(sample.answer in completion)\n"
    )
    audit_main(["python:fruit/loose.py:score", "--right", "3", "--wrong", "8"])
    out = capsys.readouterr().out
    assert "right in the reasoning, wrong answer (1)" in out and "right or wrong (1)" in out
    (fruit / "frail.py").write_text(
        "def score(completion, sample):\n"
        "    answer = completion.split('<answer>')[-1].removesuffix('</answer>')\n"
        "    return float(answer.isdigit() and int(answer) == 3)\n"
    )
    audit_main(["python:fruit/frail.py:score", "--right", "3", "--wrong", "8"])
    assert capsys.readouterr().out.splitlines()[2].endswith("| a huge number |")


def test_training_on_it_works_as_the_page_says(
    fruit: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two steps on data without families, whose metrics then have none in their names."""
    root = ROOT
    (fruit.parent / "assets").symlink_to(root / "assets")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{fruit.parent}/mlflow.db")
    text = PAGE.split("### Training on it")[1]
    found = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert found is not None
    (fruit / "train.yaml").write_text(found[1])
    for command in re.findall(r"^ekipl (train .*)$", text, re.MULTILINE):
        assert main(command.split()) == 0
    run = re.search(r"Run (\w+) finished", capsys.readouterr().out)
    assert run is not None
    metrics = tracking.find_run(run[1]).metrics
    assert metrics["eval/test/accuracy_greedy"] == 0.0
    assert [name for name in metrics if "//" in name] == []


def test_a_family_is_a_metric_name_or_none() -> None:
    assert [metric_part(name) for name in ("", "two rows", "a/b:c", "größe")] == [
        "", "two rows", "a_b_c", "gr__e",
    ]  # fmt: skip


@pytest.mark.usefixtures("fruit")
def test_slices_order_and_sizes() -> None:
    assert [s.id[-1] for s in load("test", difficulties=[2])] == ["b"]
    assert len(load("test", limit=1)) == 1 and len(load("test", start=1)) == 1
    assert load("test", image_size=10)[0].images[0].size == (10, 5)


def test_a_prompt_of_ones_own_replaces_the_instruction(fruit: Path) -> None:
    edit(fruit, "tolerance: 1", "prompt: 'Look. {question} Tag it.'")
    assert prompt_text(load()[0]) == "Look. How many apples are there? Tag it."


def test_images_in_a_parquet_table(fruit: Path) -> None:
    pixels = (fruit / "pictures/2.png").read_bytes()
    rows = [{"name": "a", "picture": {"bytes": pixels, "path": None}, "text": "?", "count": 1,
             "level": 0}]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), fruit / "train.parquet")
    edit(fruit, "train.jsonl", "train.parquet")
    assert load()[0].images[0].size == (20, 20)


def test_choices_families_and_chains(fruit: Path) -> None:
    rows = [
        {"p": "1.png", "q": "Which?", "a": "B", "c": "red|green", "f": "colour", "r": "Green."},
        {"p": "1.png", "q": "Which one?", "a": "A", "c": ["1", "2"], "f": "size", "r": None},
    ]
    (fruit / "train.json").write_text(json.dumps(rows))
    edit(fruit, "train.jsonl", "train.json")
    edit(fruit, "answer_type: number", "answer_type: letter")
    edit(fruit, "tolerance: 1\n", "")
    columns = "{image: p, question: q, answer: a, choices: c, family: f, cot: r}"
    text = re.sub(r"columns: .*", f"columns: {columns}", (fruit / "data.yaml").read_text())
    (fruit / "data.yaml").write_text(text)
    one, two = load()
    assert (one.choices, two.choices) == (("red", "green"), ("1", "2"))
    assert (one.cot, two.cot, one.id) == ("Green.", None, "fruit/counting/train/0")
    assert "A. red\nB. green" in prompt_text(one)
    assert [s.id for s in load(families=["size"])] == [two.id]


@pytest.mark.parametrize("nothing", [None, "", []])
def test_a_record_without_choices_leaves_their_field_empty(fruit: Path, nothing: object) -> None:
    row = {"p": "1.png", "q": "Which?", "a": "red"}
    rows = [row | {"c": "red|green"}, row | {"q": "What colour?", "c": nothing}]
    (fruit / "train.json").write_text(json.dumps(rows))
    edit(fruit, "train.jsonl", "train.json")
    edit(fruit, "answer_type: number\n", "answer_type: text\n")
    edit(fruit, "tolerance: 1\n", "")
    text = (fruit / "data.yaml").read_text()
    columns = "columns: {image: p, question: q, answer: a, choices: c}"
    (fruit / "data.yaml").write_text(re.sub(r"columns: .*", columns, text))
    assert [sample.choices for sample in load()] == [("red", "green"), ()]
    (fruit / "train.json").write_text(json.dumps([row | {"c": 0}]))
    with pytest.raises(DataError, match="record 0, column 'c': no list"):
        load()
    (fruit / "train.json").write_text(json.dumps([rows[0], row]))
    with pytest.raises(DataError, match="record 1: there is no column 'c'; fix `columns` or the"):
        load()


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("name: fruit", "nmae: fruit", "did you mean 'name'"),
        ("question: text", "questoin: text", "did you mean 'question'"),
        ("answer_type: number", "answer_type: integer", "answer_type"),
        ("train: train.jsonl", "trian: train.jsonl", "did you mean 'train'"),
        ("train.jsonl", "other.jsonl", "does not exist"),
        ("train.jsonl", "data.yaml", "file type"),
        ("tolerance: 1", "prompt: Look.", "{question}"),
        ("answer_type: number", "answer_type: letter", "tolerance means nothing for answer_type"),
        ("answer_type: number", "answer_type: box", "number, math, point); leave it out"),
        ("tolerance: 1", "iou: 0.9", "iou means nothing for answer_type number"),
        ("tolerance: 1", "coordinates: pixels", "it is for box, boxes, point"),
        ("answer_type: number", "unit: cm\nanswer_type: point", "unit means nothing for"),
        ("name: fruit", "name: [", "not valid YAML"),
    ],
)
def test_a_wrong_description_is_one_clear_sentence(
    fruit: Path, old: str, new: str, names: str
) -> None:
    edit(fruit, old, new)
    with pytest.raises(ConfigError) as caught:
        load()
    assert names in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_samples("fruit/none.yaml", task="counting", split="train")


@pytest.mark.parametrize(
    ("settings", "answer", "message"),
    [
        (
            "answer_type: box",
            "[10, 10, 2000, 90]",
            "outside the picture.*set `coordinates: pixels`",
        ),
        ("answer_type: box", "[-5, 10, 200, 90]", "outside the picture"),
        ("answer_type: box", "[0.1, 0.2, 0.5, 0.6]", "fractions, not thousandths"),
        ("answer_type: boxes", "[1, 2, 30, 40], [10, 2, 30, 1001]", "outside the picture"),
        ("answer_type: point\ntolerance: 20", "[0.5, 0.5]", "fractions, not thousandths"),
        ("answer_type: point\ncoordinates: pixels", "[500, 5]", "outside the picture"),
        ("answer_type: box", "[0, 0, 1000, 1000]", ""),
        ("answer_type: box", "[0.5, 0.5, 20.5, 30]", ""),
        ("answer_type: point", "[0, 1]", ""),
    ],
)
def test_a_place_outside_the_picture_is_refused_by_record(
    fruit: Path, settings: str, answer: str, message: str
) -> None:
    edit(fruit, "answer_type: number", settings)
    edit(fruit, "tolerance: 1\n", "")
    row = {"name": "a", "picture": "1.png", "text": "Where?", "count": answer, "level": 1}
    (fruit / "train.jsonl").write_text(json.dumps(row))
    if message:
        with pytest.raises(DataError, match=rf"record 0: .*{message}"):
            load()
    else:
        assert load()[0].answer == answer


@pytest.mark.parametrize("content", ["", "7,1.png,How many?,3,1\n", "name,picture,text,count\n"])
def test_a_table_without_records_says_so(fruit: Path, content: str) -> None:
    (fruit / "train.csv").write_text(content)
    edit(fruit, "train.jsonl", "train.csv")
    with pytest.raises(DataError, match=r"train\.csv: no record in it; a table's first line is"):
        load()


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ('"1.png", "text": "How many a', '"9.png", "text": "How many a', "record 0, column 'pic"),
        ('"picture": "1.png"', '"picture": "../data.yaml"', "leads out"),
        ('"picture": "1.png"', '"picture": 5', "neither a path"),
        ('"count": 3', '"count": ""', "record 0, column 'count': empty"),
        ('"count": 3', '"count": [3]', "a list, not a text"),
        ('"count": 3', '"sum": 3', "no column 'count'"),
        ('"level": 2', '"level": "hard"', "record 1, column 'level': not a whole number"),
        ("bowl-2", "bowl-1", "record 1, column 'name': the id occurs twice"),
        ('{"name": "bowl-1"', '"name": "bowl-1"', "cannot be read"),
    ],
)
def test_a_broken_record_is_named(
    fruit: Path, old: str, new: str, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (fruit / "train.jsonl").read_text()
    assert old in text
    (fruit / "train.jsonl").write_text(text.replace(old, new))
    with pytest.raises(DataError, match=re.escape(names)):
        load()
    assert main(["data", "check", "fruit/data.yaml"]) == 1
    assert names in capsys.readouterr().out


def test_answers_and_images_are_checked(fruit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (fruit / "train.jsonl").read_text().replace('"count": 3', '"count": "three"')
    (fruit / "train.jsonl").write_text(text)
    (fruit / "pictures/2.png").write_bytes(b"no image")
    assert main(["data", "check", "fruit/data.yaml"]) == 1
    out = capsys.readouterr().out
    assert "ground truth 'three' is not a number" in out
    assert "train/bowl-2: Image" in out and "test/b: Image" in out and "3 problems" in out


def test_doubled_and_overlapping_records_are_found(
    fruit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = Image.effect_noise((32, 32), 90).convert("RGB").resize((64, 64))
    noise.save(fruit / "pictures/3.png")
    noise.resize((80, 80)).save(fruit / "pictures/4.png")
    ask = "How many apples are there?"
    rows = [("a", "1.png", ask), ("b", "1.png", "Red?"), ("c", "4.png", ask), ("d", "2.png", ask)]
    lines = [f"{name},{picture},{text},4,1" for name, picture, text in rows]
    (fruit / "test.csv").write_text("\n".join(["name,picture,text,count,level", *lines]))
    more = '{"name": "x", "picture": "3.png", "text": "How?", "count": 3, "level": 1}\n'
    twin = more.replace('"x"', '"y"')
    (fruit / "train.jsonl").write_text((fruit / "train.jsonl").read_text() + more + twin)
    assert main(["data", "check", "fruit/data.yaml"]) == 1
    out = capsys.readouterr().out
    assert "train: 1 records have the images and question of an earlier one" in out
    # a: whole; a, b, d: their image is in a training record; c: the noise in another size
    assert "test: of 4 records 1 are in train whole, 3 have their images there, 1 a nearly" in out
    assert "2 problems" in out


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("return 2.0", "not a number from 0 to 1"),
        ("return float('nan')", "not a number from 0 to 1"),
        ("return 'good'", "could not convert"),
        ("return '0.5'", "not a number from 0 to 1"),
        ("return 1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_defect_in_a_reward_stops_and_names_the_sample(
    fruit: Path, body: str, names: str
) -> None:
    (fruit / "bad.py").write_text(f"def score(completion, sample):\n    {body}\n")
    with pytest.raises(RewardError, match="fruit/counting/train/bowl-1") as caught:
        get_scorer("python:fruit/bad.py:score")(load()[0], act("3"))
    assert names in str(caught.value)


def test_a_reward_may_say_that_it_cannot_judge(fruit: Path) -> None:
    (fruit / "shy.py").write_text("def score(completion, sample):\n    return None\n")
    scored = get_scorer("python:fruit/shy.py:score")(load()[0], act("3"))
    assert (scored.success, scored.total) == (None, None)


@pytest.mark.usefixtures("fruit")
@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("python:fruit/rewards.py", "must have the form"),
        ("python:fruit/none.py:score", "does not exist"),
        ("python:fruit/rewards.py:closenes", "has no function"),
    ],
)
def test_a_reward_that_is_not_there_is_named(name: str, names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        get_scorer(name)


def test_a_link_that_leads_out_of_the_folder_is_not_followed(fruit: Path) -> None:
    outside = fruit.parent / "private.png"
    Image.new("RGB", (20, 20), "blue").save(outside)
    (fruit / "pictures" / "1.png").unlink()
    (fruit / "pictures" / "1.png").symlink_to(outside)
    with pytest.raises(DataError, match=r"'1\.png' leads out of"):
        load()


def test_only_a_new_line_ends_a_line_of_json(fruit: Path) -> None:
    path = fruit / "train.jsonl"
    first, *rest = path.read_text().splitlines()
    row = json.loads(first)
    named = next(key for key, value in row.items() if "?" in str(value))
    odd = json.dumps({**row, named: "How\u2028many\x85apples?"}, ensure_ascii=False)
    path.write_text("\n".join([odd, *rest]) + "\n", encoding="utf-8")
    assert load()[0].question == "How\u2028many\x85apples?"
