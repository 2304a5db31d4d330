"""Own data as it arrives: photos, spreadsheets, exports; read right, or refused by record."""

import io
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from datasets import List as ListFeature
from PIL import Image

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.image_files import ImageFiles, with_pixels
from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation.cache import sample_digest
from ekipl_lab.policies import PolicySource
from ekipl_lab.policies.build import build_tiny_policy
from ekipl_lab.policies.context import check_prompts_fit
from ekipl_lab.policies.load import as_policy
from ekipl_lab.prompts import build_messages
from ekipl_lab.rewards import get_scorer
from ekipl_lab.teachers.adapters.chat import teacher_messages
from ekipl_lab.teachers.gateway.types import image_digest
from ekipl_lab.training.config.plan import describe_plan
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.run_data import load_evaluation_sets, load_training_samples
from ekipl_lab.training.sft.own import examples_of
from ekipl_lab.types import Action, GenerationParams, Sample

DESCRIPTION = """\
name: own
task: t
answer_type: {kind}
splits: {{train: {file}}}
columns: {{id: id, image: image, question: q, answer: a{more}}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    noise("1.png", 60, 60)
    return tmp_path


def noise(name: str, width: int, height: int, seed: int = 0) -> None:
    """A picture of many colours, another one for each seed."""
    pixels = bytes((x * 7 + x // 3 * 5 + seed * 31) % 256 for x in range(width * height * 3))
    Image.frombytes("RGB", (width, height), pixels).save(name)


def describe(file: str = "train.jsonl", kind: str = "number", more: str = "") -> None:
    Path("data.yaml").write_text(DESCRIPTION.format(file=file, kind=kind, more=more))


def write(*rows: dict[str, object], **options: str) -> None:
    plain = {"image": "1.png", "q": "How many?", "a": 3}
    lines = [json.dumps({"id": f"r{at}", **plain, **row}) for at, row in enumerate(rows)]
    Path("train.jsonl").write_text("\n".join(lines))
    describe(**options)


def load(**options: int) -> list[Sample]:
    return load_samples("data.yaml", task="t", split="train", **options)  # type: ignore[arg-type]


def check(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    code = main(["data", "check", "data.yaml", *options])
    return code, capsys.readouterr().out


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


# ---- images


def test_every_kind_of_picture_is_loaded_as_a_viewer_shows_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = Image.new("RGB", (120, 60), "white")
    photo.paste((255, 0, 0), (0, 0, 60, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save("turned.jpg", exif=exif)
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save("clear.png")
    noise("large.png", 1000, 600)
    write({"image": "turned.jpg"}, {"image": "clear.png"}, {"image": "large.png"})
    turned, clear, large = load()
    assert turned.images[0].size == (60, 120) and turned.images[0].getpixel((30, 5))[1] < 60
    assert clear.images[0].getpixel((5, 5)) == (255, 255, 255)
    assert large.images[0].size == (894, 536)
    code, out = check(capsys)
    assert code == 0
    assert "images are read at 480,000 pixels at most (policy.max_pixels)" in out
    assert "images turned as its EXIF orientation says: 1\n  own/t/train/r0" in out
    assert "images transparent parts on white: 1\n  own/t/train/r1" in out
    assert "images of a single colour: 1\n  own/t/train/r1" in out
    assert "own/t/train/r2: shrunk from 1000 x 600 to 894 x 536 pixels" in out
    assert "images shrunk: 1" in out
    _, out = check(capsys, "--max-pixels", "900", "--min-pixels", "800")
    assert "at 900 pixels at most" in out
    assert "own/t/train/r1: enlarged from 20 x 20 to 29 x 29" in out


def test_the_pixel_cap_is_a_setting_of_the_run(folder: Path) -> None:
    noise("large.png", 1000, 600)
    write({"image": "large.png"})
    raw = {
        "name": "r",
        "policy": {"build": "nano"},
        "data": {"benchmark": "data.yaml", "task": "t", "limit": 1},
        "evaluation": {"sets": [{"split": "train", "limit": 1}]},
        "grpo": {"max_steps": 1, "num_generations": 2, "per_device_train_batch_size": 2},
    }
    plain = parse_config(raw)
    assert "image pixels            at most 480,000" in describe_plan(plain)
    raw["policy"] = {"build": "nano", "min_pixels": 500, "max_pixels": 6000}
    capped = parse_config(raw)
    assert "at least 500, at most 6,000" in describe_plan(capped)
    samples = [*load_training_samples(capped), *load_evaluation_sets(capped)["train"]]
    assert [sample.images[0].size for sample in samples] == [(100, 60)] * 2
    with pytest.raises(ConfigError, match=r"policy\.min_pixels is above policy\.max_pixels"):
        parse_config({**raw, "policy": {"build": "nano", "min_pixels": 10, "max_pixels": 5}})


def test_the_cap_holds_for_pictures_in_memory_too() -> None:
    (drawn,) = load_samples("mini", task="counting", split="train", limit=1)
    assert with_pixels(drawn, None, None) is drawn
    assert with_pixels(drawn, None, 900).images[0].size == (30, 30)
    assert with_pixels(drawn, 10_000, None).images[0].size == (100, 100)


def test_digests_of_plain_pictures_are_what_they_were(folder: Path) -> None:
    """Caches of paid answers and of evaluations are keyed by them."""
    noise("large.png", 1000, 600)
    write({}, {"image": "large.png"})
    assert [image_digest(sample.images[0])[:16] for sample in load()] == [
        "92e6cd19a6aad8c4", "09000829c3639235",
    ]  # fmt: skip
    assert list(map(sample_digest, load())) == ["afbc2001ba9a5f69", "4dc40ba850aef0b5"]


def test_files_stand_where_a_tuple_of_images_does(folder: Path) -> None:
    files = ImageFiles((Path("1.png"), png(Image.new("RGB", (3, 2)))), side=2)
    assert [image.size for image in files[0:2]] == [(2, 2), (2, 1)] and len(files) == 2
    assert files == ImageFiles(files.sources, 2) and hash(files) == hash(
        ImageFiles(files.sources, 2)
    )


# ---- pictures in the question


def test_pictures_stand_where_the_question_names_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise("2.png", 60, 60, seed=1)
    write({"image": ["1.png", "2.png"], "q": "Is <image> more than <image>?"}, {})
    named, plain = load()
    for messages in (build_messages(named), teacher_messages(named)):
        first, image, second, also, rest = messages[0]["content"]
        assert (first["text"], second["text"]) == ("Is ", " more than ")
        assert image == also == {"type": "image"} and rest["text"].startswith("?\n\nFirst write")
    assert [part["type"] for part in build_messages(plain)[0]["content"]] == ["image", "text"]
    code, out = check(capsys)
    assert code == 0 and "images stand where the question says <image>: 1" in out
    moved = replace(named, question="Is <image><image> more?")
    assert sample_digest(moved) != sample_digest(replace(named, question="Is  more?"))


@pytest.mark.parametrize("mark", ["<image 1>", "<image_1>", "<IMAGE>", "<img>", "[image]"])
def test_other_marks_stay_words_and_that_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], mark: str
) -> None:
    write({"q": f"How many in {mark}?"}, {"q": "How many of <image>?"})
    code, out = check(capsys)
    assert code == 0 and f"images before the text: {mark} is not <image> and stays words: 1" in out


@pytest.mark.parametrize("question", ["See <image>.", "<image><image><image>"])
def test_another_number_of_marks_is_an_error_of_the_record(folder: Path, question: str) -> None:
    write({}, {"image": ["1.png", "1.png"], "q": question})
    marks = question.count("<image>")
    with pytest.raises(DataError, match=f"record 1, column 'q': {marks} <image> for 2 images"):
        load()
    sample = replace(make(2), question=question)
    with pytest.raises(DataError, match=rf"sample 'toy' names {marks} images"):
        build_messages(sample)


def make(images: int = 1, size: tuple[int, int] = (56, 56)) -> Sample:
    shown = tuple(Image.new("RGB", size) for _ in range(images))
    return Sample("toy", "t", "train", shown, "How many?", "3", "number")


# ---- what the processor and the tokenizer take


def test_what_training_dies_of_is_named_by_data_check_and_by_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise("strip.png", 2300, 8)
    noise("thin.png", 1, 500)
    write({}, {"image": "strip.png"}, {"image": "thin.png"}, {"q": "What is <|image_pad|>?"})
    code, out = check(capsys)
    assert code == 1 and "3 problems" in out
    assert "cannot take sample 'own/t/train/r1', images of 2300 x 8 pixels (absolute aspect" in out
    assert "cannot take sample 'own/t/train/r2', images of 1 x 500 pixels" in out
    assert "The question of sample 'own/t/train/r3' holds '<|image_pad|>'" in out
    policy = as_policy(*build_tiny_policy("nano", 0))
    good, strip, thin, token = load()
    for broken in (strip, thin, token):
        with pytest.raises(DataError, match=broken.id):
            check_prompts_fit(policy, [good, broken], 8, None)
        with pytest.raises(DataError) as caught:
            PolicySource(policy).propose([good, broken], 1, GenerationParams(max_new_tokens=2))
        assert broken.id in str(caught.value) and good.id not in str(caught.value)


def test_a_given_policy_reads_the_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, processor = build_tiny_policy("nano", 0)
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["<|mine|>"]})
    model.save_pretrained("mine")
    processor.save_pretrained("mine")
    write({"q": "What is <|mine|>?"}, {"a": 4})
    assert check(capsys)[0] == 0
    code, out = check(capsys, "--policy", "mine")
    assert code == 1 and "sample 'own/t/train/r0' holds '<|mine|>'" in out
    assert "one finished prompt, own/t/train/r1:\n<|user|><|vision_start|>" in out
    assert "longest prompt: " in out
    assert main(["data", "check", "data.yaml", "--policy", "none"]) != 0


@pytest.mark.parametrize("column", ["q", "a", "c", "r"])
def test_half_a_character_is_refused_by_record(folder: Path, column: str) -> None:
    row = {"q": "Which?", "a": "A", "c": ["x", "y"], "r": "So."}
    broken = {**row, column: ["x", "\ud800"] if column == "c" else "a \ud83d b"}
    write(row, broken, kind="letter", more=", choices: c, cot: r")
    with pytest.raises(DataError, match=f"record 1, column '{column}': half a character"):
        load()


# ---- doubles


def test_doubles_are_listed_and_contradictions_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise("2.png", 60, 60, seed=1)
    write({}, {"image": "2.png"}, {}, {"a": 4}, {"image": "2.png"})
    code, out = check(capsys)
    assert code == 1 and "1 problem\n" in out
    assert "train: 3 records have the images and question of an earlier one" in out
    assert "train: 1 of these questions have contradicting answers" in out
    assert "  own/t/train/r0 ('3'), own/t/train/r2 ('3'), own/t/train/r3 ('4')" in out
    assert "  own/t/train/r1 ('3'), own/t/train/r4 ('3')" in out


WRONG_CHAINS = {
    "<think>Two and two.</think><answer>4</answer>": "it ends with '4', and the answer is '3'",
    "<think>Three.</think>": "it is not in the form of a completion (missing <answer>)",
    "Three.</think><answer>3</answer>": "it is not in the form of a completion (missing <think>)",
    "Three.</think>": "it is not in the form of a completion (repeated </think>)",
    "<think> </think><answer>3</answer>": "it is not in the form of a completion (empty think",
}
RIGHT_CHAINS = ("One, two, three.", "<think>Three.</think> <answer>$3$</answer>", None)


def test_a_chain_that_cannot_be_learned_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`ekipl sft --data` learns chains as they stand: half of one, or one that says otherwise."""
    for number in range(8):
        noise(f"{number}.png", 60, 60, seed=number)
    right = [{"image": f"{5 + at}.png", "c": chain} for at, chain in enumerate(RIGHT_CHAINS)]
    wrong = [{"image": f"{at}.png", "c": chain} for at, chain in enumerate(WRONG_CHAINS)]
    write(*right, more=", cot: c")
    code, out = check(capsys)
    assert code == 0, out
    assert [e.completion for e in examples_of(load(), chains=True)] == [
        "<think>One, two, three.</think><answer>3</answer>",
        RIGHT_CHAINS[1],
        "<think> look</think><answer>3</answer>",
    ]
    write(*right, *wrong, more=", cot: c")
    code, out = check(capsys)
    assert code == 1 and "train: 5 of 7 chains cannot be learned" in out and "1 problem\n" in out
    assert all(f"own/t/train/r{3 + n}: {why}" in out for n, why in enumerate(WRONG_CHAINS.values()))
    for at, why in enumerate(WRONG_CHAINS.values()):
        with pytest.raises(DataError, match=re.escape(f"r{3 + at} cannot be learned: {why}")):
            examples_of(load()[3 + at :], chains=True)
    assert len(examples_of(load(), chains=False)) == 8


# ---- tables as they arrive


@pytest.mark.parametrize(
    "data",
    [
        "\ufeffid,image,q,a\r\n1,1.png,How many?,3\r\n".encode(),
        "id\timage\tq\ta\r\n1\t1.png\tHow many?\t3\r\n".encode("utf-16"),
        b"id;image;q;a\r\n1;1.png;How many?;3\r\n",
        b'id,image,q,a\n1,1.png,"How\nmany?",3\n',
        b"id,image,q,a\r1,1.png,How many?,3\r",
    ],
    ids=["mark", "utf-16", "semicolons", "two lines", "carriage returns"],
)
def test_tables_of_spreadsheets_are_read(folder: Path, data: bytes) -> None:
    Path("train.csv").write_bytes(data)
    describe("train.csv")
    (sample,) = load()
    assert (sample.answer, sample.question.replace("\n", " ")) == ("3", "How many?")


def test_marks_before_json_and_yaml_are_no_text(folder: Path) -> None:
    write({})
    for name in ("train.jsonl", "data.yaml"):
        Path(name).write_bytes(b"\xef\xbb\xbf" + Path(name).read_bytes())
    assert load()[0].answer == "3"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("id,image,q,a\n1,1.png,Größe?,3\n".encode("latin-1"), "not UTF-8 at byte 23; save it as"),
        (b"id,image,q,a\n1,1.png,How many, do you think?,3\n", "record 0 has more fields"),
        (b'id,image,q,a\n1,1.png,How many?,3\n2,1.png,"5 inch,3\n3,1.png,x,4\n', "record 1: unexp"),
    ],
)
def test_a_table_that_cannot_be_read_right_is_refused(
    folder: Path, data: bytes, words: str
) -> None:
    Path("train.csv").write_bytes(data)
    describe("train.csv")
    with pytest.raises(DataError, match=words):
        load()


@pytest.mark.parametrize(
    "choices",
    [{"A": "1", "B": "2"}, ["1"], ["", "2"], [None, "2"], [["1"], "2"], "['1', '2']", 7,
     [float("nan"), 1], list("abcdefghijklmnopqrstuvwxyz0")],
)  # fmt: skip
def test_choices_are_a_list_of_texts(folder: Path, choices: object) -> None:
    write({"a": "A", "c": ["1", 2]}, kind="letter", more=", choices: c")
    assert load()[0].choices == ("1", "2")
    write({}, {"a": "A", "c": choices}, {}, kind="letter", more=", choices: c")
    Path("train.jsonl").write_text(Path("train.jsonl").read_text().splitlines()[1])
    with pytest.raises(DataError, match=r"record 0, column 'c': (no list|a choice)"):
        load()


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("train.csv", "id,image,q,q,a\n1,1.png,x,y,3\n", "two columns are named 'q'"),
        ("train.jsonl", '{"id": 1}\n\n{"id": 2, "a": 3, "a": 4}\n', "line 3: the key 'a'"),
        ("train.jsonl", '{"id": 1}\n{"id": 2,\n', "line 2: "),
        ("train.json", '[{"id": 2, "a": 3, "a": 4}]', "the key 'a' occurs twice"),
        ("train.csv", "id,image,q,a\n1,1.png,x\0y,3\n", "record 0, column 'q': a NUL"),
    ],
)
def test_nothing_is_taken_from_two(folder: Path, file: str, text: str, says: str) -> None:
    Path(file).write_text(text)
    describe(file)
    with pytest.raises(DataError, match=says):
        load()


@pytest.mark.parametrize("column", ["q", "a", "image", "id"])
@pytest.mark.parametrize(("value", "says"), [("NaN", "empty"), ("1e400", "infinite|neither")])
def test_what_is_no_number_is_no_text(folder: Path, column: str, value: str, says: str) -> None:
    """pandas writes NaN for a missing field."""
    row = {"id": '"1"', "image": '"1.png"', "q": '"x"', "a": "3", column: value}
    Path("train.jsonl").write_text("{" + ", ".join(f'"{k}": {v}' for k, v in row.items()) + "}")
    describe(kind="text")
    with pytest.raises(DataError, match=rf"record 0, column '{column}': .*(?:{says})"):
        load()


def test_a_chain_that_is_missing_is_none(folder: Path) -> None:
    Path("train.jsonl").write_text('{"id": "1", "image": "1.png", "q": "x", "a": 3, "c": NaN}')
    describe(more=", cot: c")
    assert load()[0].cot is None


@pytest.mark.parametrize("name", ["a" * 5000, "a\0.png", "\ud800.png"])
def test_what_can_be_no_path_is_named(folder: Path, name: str) -> None:
    write({"image": name})
    with pytest.raises(DataError, match=r"record 0, column 'image': .* is no path"):
        load()


@pytest.mark.parametrize("file", ["train.jsonl", "train.json"])
def test_bottomless_nesting_is_refused(folder: Path, file: str) -> None:
    Path(file).write_text("[" * 100_000)
    describe(file)
    with pytest.raises(DataError, match="cannot be read"):
        load()


def test_a_prompt_of_its_own_shows_the_choices(folder: Path) -> None:
    """As the instruction would; and not twice, in the teacher's prompt neither."""
    options = {"kind": "letter", "more": ", choices: c"}
    write({"a": "B", "c": ["5 cm", "6 cm"]}, **options)
    with Path("data.yaml").open("a") as stream:
        stream.write("prompt: 'Look. {question} Use tags.'\n")
    (sample,) = load()
    asked = "Look. How many?\nA. 5 cm\nB. 6 cm\n Use tags."
    assert build_messages(sample)[0]["content"][1]["text"] == asked
    assert str(teacher_messages(sample)).count("6 cm") == 1


def test_choices_that_bring_their_letters_are_named_without(folder: Path) -> None:
    options = {"kind": "letter", "more": ", choices: c"}
    write({"a": "B", "c": ["A. 5 cm", "B. 6 cm"]}, **options)
    (sample,) = load()
    score = get_scorer("ekipl/auto")
    given = ["B", "B. 6 cm", "(B) 6 cm", "6 cm", "B. 5 cm"]
    texts = [f"<think>x</think><answer>{answer}</answer>" for answer in given]
    assert [score(sample, Action(t, "t", "t")).success for t in texts] == [True] * 4 + [False]


def test_a_description_in_another_encoding_is_refused(folder: Path) -> None:
    Path("data.yaml").write_bytes("name: grün".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"data\.yaml is not text in UTF-8 \(byte 8 is not\)"):
        load()


def test_fields_of_any_length_are_read(folder: Path) -> None:
    Path("train.csv").write_text(f"id,image,q,a\n1,1.png,{'long ' * 40_000}?,3\n")
    describe("train.csv")
    assert len(load()[0].question) == 200_001


def test_a_saved_data_set_is_read_and_its_parent_is_named(folder: Path) -> None:
    features = Features({
        "id": Value("string"), "image": ListFeature(ImageFeature()), "q": Value("string"),
        "a": Value("int64"),
    })  # fmt: skip
    rows = {"id": ["x"], "image": [["1.png", "1.png"]], "q": ["How many?"], "a": [3]}
    saved = DatasetDict({"first": Dataset.from_dict(rows, features=features)})
    saved.save_to_disk("saved")
    describe("saved/first")
    (sample,) = load()
    assert [image.size for image in sample.images] == [(60, 60)] * 2 and sample.answer == "3"
    describe("saved")
    with pytest.raises(DataError, match="holds first; name one of these folders"):
        load()
    Path("empty").mkdir()
    describe("empty")
    with pytest.raises(DataError, match="empty cannot be read"):
        load()


def test_a_hub_set_that_cannot_be_reached_is_one_sentence(folder: Path) -> None:
    describe("train")
    with Path("data.yaml").open("a") as file:
        file.write("hub: nobody-at-all/no-such-set\n")
    with pytest.raises(DataError, match="'nobody-at-all/no-such-set' cannot be loaded") as caught:
        load()
    assert "\n" not in str(caught.value)


def test_lists_of_images_in_parquet_are_read(folder: Path) -> None:
    images = [{"bytes": Path("1.png").read_bytes(), "path": None}] * 2
    row = {"id": "x", "image": images, "q": "<image> and <image>?", "a": 3}
    pq.write_table(pa.Table.from_pylist([row]), "train.parquet")
    describe("train.parquet")
    assert len(build_messages(load()[0])[0]["content"]) == 4


@pytest.mark.parametrize("saved", [False, True])
def test_numbers_of_32_bits_are_those_that_were_written(folder: Path, saved: bool) -> None:
    """0.1 read as 0.10000000149011612 would be a truth that no answer meets."""
    columns = {"id": ["x", "y"], "image": ["1.png"] * 2, "q": ["Which?"] * 2}
    table = pa.table(columns | {
        "a": pa.array([0.1, 2.5], pa.float32()), "d": pa.array([1.0, 3.0]),
        "options": pa.array([[0.1, 0.7]] * 2, pa.list_(pa.float32())),
    })  # fmt: skip
    if saved:
        Dataset(table).save_to_disk("saved")
    else:
        pq.write_table(table, "train.parquet")
    describe("saved" if saved else "train.parquet", more=", difficulty: d, choices: options")
    samples = load()
    assert [(sample.answer, sample.difficulty) for sample in samples] == [("0.1", 1), ("2.5", 3)]
    assert samples[0].choices == ("0.1", "0.7")
    assert get_scorer("ekipl/auto")(
        samples[0], Action("<think>x</think><answer>0.1</answer>", "a", "b")
    ).success


# ---- a limit


def test_a_limit_draws_from_every_family(folder: Path) -> None:
    rows = [{"f": "rare" if at >= 90 else "common" if at >= 30 else "first"} for at in range(100)]
    write(*rows, more=", family: f")
    some = load(limit=15)
    assert Counter(s.family for s in some) == {"first": 5, "common": 5, "rare": 5}
    assert load(limit=40)[:15] == some and load(limit=15) == some
    assert load(limit=25, start=15) == load(limit=40)[15:]
    assert load(limit=15, seed=1) != some
    assert Counter(s.family for s in load(limit=60)) == {"first": 25, "common": 25, "rare": 10}
    assert [s.id for s in load()] == [f"own/t/train/r{at}" for at in range(100)]
    assert len({s.id for s in load(limit=1000)}) == 100


def test_long_checks_say_how_far_they_are(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ekipl_lab.commands.data.check.EVERY_SECONDS", -1.0)
    write({}, {"a": 4})
    main(["data", "check", "data.yaml"])
    assert capsys.readouterr().err == "1 records looked at\n2 records looked at\n"


# ---- what a truth, a choice and a prompt may not hold


@pytest.mark.parametrize(
    ("row", "part"),
    [({"q": "Which <|mine|>?"}, "question"), ({"c": ["x", "<|mine|>"]}, "choices"),
     ({"r": "So <|mine|>."}, "chain of thought")],
)  # fmt: skip
def test_a_special_token_is_refused_wherever_it_stands(
    folder: Path, row: dict[str, object], part: str
) -> None:
    model, processor = build_tiny_policy("nano", 0)
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["<|mine|>"]})
    plain = {"a": "A", "c": ["x", "y"], "r": "<think>So.</think><answer>A</answer>"}
    write(plain, {**plain, **row}, kind="letter", more=", choices: c, cot: r")
    sound, broken = load()
    policy = as_policy(model, processor)
    check_prompts_fit(policy, [sound], 1, None)
    with pytest.raises(DataError, match=rf"The {part} of sample 'own/t/train/r1' holds '<|mine|>'"):
        check_prompts_fit(policy, [sound, broken], 1, None)


def test_a_special_token_in_a_truth_is_refused_by_record(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write({"a": "red"}, {"a": "red<|im_end|>"}, {"a": "<|image_pad|>"}, kind="text")
    code, out = check(capsys)
    assert code == 1 and "The answer of sample 'own/t/train/r2' holds '<|image_pad|>'" in out


LETTERS = {"a": "B", "q": "Which one? A. 30 B. 60"}


@pytest.mark.parametrize(
    ("rows", "prompt"),
    [([LETTERS], ""), ([LETTERS | {"q": "Is it (a) a cat or (b) a dog?"}], ""),
     ([LETTERS | {"q": "Which of the points A, B and C is highest?"}], ""),
     ([LETTERS | {"q": "Which?"}], "{question} Answer by the letter in the picture: A or B.")],
)  # fmt: skip
def test_letters_that_the_prompt_names_need_no_choices(
    folder: Path, rows: list[dict[str, object]], prompt: str
) -> None:
    write(*rows, kind="letter")
    with Path("data.yaml").open("a") as stream:
        stream.write(f"prompt: '{prompt}'\n" if prompt else "")
    assert [sample.answer for sample in load()] == ["B"]


@pytest.mark.parametrize("question", ["Which?", "Which bird? Brown or black.", "Was it 5B or 6C?x"])
def test_a_letter_that_stands_for_nothing_is_refused_by_record(folder: Path, question: str) -> None:
    write(LETTERS, LETTERS | {"q": question}, kind="letter")
    with pytest.raises(
        DataError, match=r"record 1: the answer is the letter 'B', and there are no"
    ):
        load()


@pytest.mark.parametrize("choices", [["x", "y", "x"], ["x", " x"], ["A. x", "B. x"], ["x", 5, "5"]])
def test_a_choice_that_stands_twice_is_refused_by_record(folder: Path, choices: list) -> None:
    more = {"kind": "letter", "more": ", choices: c"}
    write({"a": "A", "c": ["x", "X"]}, {"a": "A", "c": choices}, **more)
    with pytest.raises(DataError, match=r"record 1: the choice .* stands twice"):
        load()


def test_marks_of_prompt_and_question_are_counted_together(folder: Path) -> None:
    write({}, {"q": "<image> How many?"})
    with Path("data.yaml").open("a") as stream:
        stream.write("prompt: '<image> {question}'\n")
    with pytest.raises(DataError, match="record 1, its prompt: 2 <image> for 1 images"):
        load()


@pytest.mark.parametrize(
    "name", ["qestion", "Question", "choices", "image", " question ", "question!r"]
)
def test_an_unknown_placeholder_of_a_prompt_is_refused(folder: Path, name: str) -> None:
    write({})
    known = Path("data.yaml").read_text()
    Path("data.yaml").write_text(known + f"prompt: 'Look. {{question}} {{{name}}}'\n")
    with pytest.raises(
        ConfigError, match=f"placeholder in data.yaml: prompt '{{{name}}}'.*question"
    ):
        load()
    Path("data.yaml").write_text(known + "prompt: '{question} Use \\boxed{answer}, {\"a\": 1}.'\n")
    assert "\\boxed{answer}" in load()[0].question


def test_a_truth_that_is_no_mathematics_is_named_by_the_check(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise("2.png", 60, 60, seed=1)
    write({"a": "2t"}, {"a": "red", "q": "x"}, {"a": "5 h 4 min", "q": "y"}, kind="math")
    code, out = check(capsys)
    assert code == 1 and "2 problems" in out
    assert "own/t/train/r1: its ground truth 'red' is not a mathematical" in out
    assert "own/t/train/r2: its ground truth '5 h 4 min' is not" in out
