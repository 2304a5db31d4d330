"""Sample -> chat messages; the ground truth stays out of them."""

import re
from dataclasses import replace

import pytest
from PIL import Image

from ekipl_lab import prompts
from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.task import SampleKey
from ekipl_lab.benchmarks.mini.transformation.scene import Thing, direction, seen_from
from ekipl_lab.errors import DataError
from ekipl_lab.evaluation.cache import sample_digest
from ekipl_lab.teachers.adapters.chat import teacher_messages
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.run_data import load_evaluation_sets, load_training_samples
from ekipl_lab.types import Sample

IMAGE = Image.new("RGB", (8, 8))


def make_sample(**changes: object) -> Sample:
    sample = Sample(
        id="own/counting/test/1",
        task="counting",
        split="test",
        images=(IMAGE,),
        question="How many cubes are there?",
        answer="zebra-7",
        answer_type="number",
        cot="giraffe-8",
        metadata={"scene": "lion-9"},
    )
    return replace(sample, **changes)  # type: ignore[arg-type]


def test_images_come_first_one_entry_each() -> None:
    (message,) = prompts.build_messages(make_sample(images=(IMAGE, IMAGE)))
    assert message["role"] == "user"
    assert [part["type"] for part in message["content"]] == ["image", "image", "text"]


def test_images_stand_where_the_text_names_them() -> None:
    two = (IMAGE, Image.new("RGB", (9, 9)))
    text = "In <image> is a cube.\nAnd <image>?"
    given = prompts.content_of(make_sample(images=two), text)
    assert given == [
        {"type": "text", "text": "In "},
        {"type": "image"},
        {"type": "text", "text": " is a cube.\nAnd "},
        {"type": "image"},
        {"type": "text", "text": "?"},
    ]
    alone = prompts.content_of(make_sample(), "<image>What?")
    assert alone == [{"type": "image"}, {"type": "text", "text": "What?"}]
    with pytest.raises(DataError, match="names 1 images by <image>, and there are 2"):
        prompts.content_of(make_sample(images=two), "What is in <image>?")


def test_the_built_in_benchmark_asks_the_bare_question() -> None:
    sample = make_sample(id="mini/counting/test/s0/000001")
    assert prompts.prompt_text(sample) == "How many cubes are there?"


@pytest.mark.parametrize("answer_type", ["number", "numbers", "letter", "text", "calls", "math"])
def test_ground_truth_chain_and_metadata_never_enter_a_prompt(answer_type: str) -> None:
    sample = make_sample(answer_type=answer_type)
    text = prompts.prompt_text(sample)
    assert "How many cubes" in text and "<think>" in text and "<answer>" in text
    for secret in ("zebra", "giraffe", "lion"):
        assert secret not in text
    other = replace(sample, answer="other", cot=None, metadata={}, difficulty=3)
    assert prompts.build_messages(other) == prompts.build_messages(sample)


def test_transformation_prompt_lists_every_function_and_value() -> None:
    text = prompts.prompt_text(make_sample(answer_type="calls"))
    for word in ("change_position", "behind_right", "change_color", "purple", "cylinder", "1 to 4"):
        assert word in text


def test_choices_are_lettered_unless_the_question_shows_them() -> None:
    asked = make_sample(answer_type="letter", choices=("30", "60"))
    assert "How many cubes are there?\nA. 30\nB. 60" in prompts.prompt_text(asked)
    shown = replace(asked, question="Which? A. 30 B. 60")
    assert prompts.prompt_text(shown).count("60") == 1


@pytest.mark.parametrize(
    ("question", "choices"),
    [
        ("In the figure AB = 12 and CD = 34. Find x.", ("1", "2", "3", "4")),
        ("Is the notice on the door a yes or a no?", ("yes", "no")),
        ("What is the value of angle 120?", ("20", "12", "0", "2")),
        ("Which? A. 12 B. 24", ("1", "2")),
        ("Which? A. 1.5 B. 2.5", ("1", "2")),
        ("Which? A. 1/5 B. 2/5", ("1", "2")),
        ("Which? A. 1:30 B. 2:30", ("1", "2")),
        ("Which? B. yes A. no", ("yes", "no")),
        ("Figure A. yes is meant.", ("yes", "no")),
        ("Which? 1. yes 2. no", ("yes", "no")),
    ],
)
def test_choices_that_only_occur_in_the_question_are_listed(
    question: str, choices: tuple[str, ...]
) -> None:
    asked = make_sample(answer_type="letter", question=question, choices=choices)
    listed = "".join(
        f"\n{letter}. {choice}" for letter, choice in zip("ABCD", choices, strict=False)
    )
    assert f"{question}{listed}\n\n" in prompts.prompt_text(asked)


@pytest.mark.parametrize(
    "question",
    [
        "Which?\n(A) red cube\n(B) 2.5 cm",
        "Which? a) red cube b) 2.5 cm.",
        "Which?\n**A.** red\n cube\n**B.** 2.5 cm",
        "Which? A: red cube, B: 2.5 cm",
        "Which? [A] red cube [B] 2.5 cm",
    ],
)
def test_a_list_of_the_question_is_not_repeated(question: str) -> None:
    asked = make_sample(answer_type="letter", question=question, choices=("red cube", "2.5 cm"))
    assert f"{question}\n\n" in prompts.prompt_text(asked)
    lettered = replace(asked, choices=("A. red cube", "(B) 2.5 cm"))
    assert f"{question}\n\n" in prompts.prompt_text(lettered)
    bare = replace(lettered, question="Which?")
    assert "Which?\nA. red cube\nB. 2.5 cm\n\n" in prompts.prompt_text(bare)


def test_fingerprint_changes_with_the_wording(monkeypatch: pytest.MonkeyPatch) -> None:
    before = prompts.prompt_fingerprint()
    assert len(before) == 16 and before == prompts.prompt_fingerprint()
    monkeypatch.setitem(prompts.ANSWER_FORMS, "number", "Give one number.")
    assert prompts.prompt_fingerprint() != before


def mini_samples() -> list[Sample]:
    """One sample of every family of the built-in benchmark."""
    return [
        mini.build(SampleKey(task, "test", 0, family, 0), mini.image_size)
        for task, mini in MINI_TASKS.items()
        for family in mini.families
    ]


def form_of(task: str, family: str) -> str:
    return MINI_TASKS[task].families[family].answer_form


@pytest.mark.parametrize("sample", mini_samples(), ids=lambda sample: sample.id)
def test_a_model_that_was_not_trained_on_it_is_told_the_built_in_benchmark(sample: Sample) -> None:
    """What the pictures mean, and the form of every answer; else a right answer scores 0."""
    text = prompts.instructed_text(sample)
    assert MINI_TASKS[sample.task].rules in text and sample.question in text
    known = sample.answer_type != "text" or form_of(sample.task, sample.family)
    assert known and "The final answer" in text


EXAMPLES = {
    ("counting", "compare"): r"(equal|\w+|\w+ \w+) \d \d",
    ("counting", "at"): r"none|(large|small) \w+ \w+",
    ("counting", "where"): r"none|p\d+( p\d+)*",
    ("counting", "match_text"): r"(yes|no)( (yes|no))*",
    ("counting", "caption"): r"p\d+ \w+ \w+ \w+( , p\d+ \w+ \w+ \w+)*",
    ("geometry", "read"): r"(\d+|x)( (\d+|x))*",
    ("transformation", "find"): r"p\d+ p\d+",
    (
        "transformation",
        "caption",
    ): r"p\d+( \w+){4}( , p\d+( \w+){4})*( then p\d+( \w+){4}( , p\d+( \w+){4})*)?",
    ("transformation", "compare_text"): r"same|\w+ \w+( , \w+ \w+)*",
}


@pytest.mark.parametrize(("key", "pattern"), EXAMPLES.items(), ids=lambda value: str(value))
def test_the_example_in_a_form_has_the_form_of_the_answers(
    key: tuple[str, str], pattern: str
) -> None:
    example = form_of(*key).split("such as: ")[1]
    assert re.match(rf"({pattern})[.;]", example), example
    task, family = key
    samples = load_samples("mini", task=task, split="validation", limit=40, families=[family])
    for sample in samples:
        assert re.fullmatch(pattern, sample.answer), sample.answer


def test_directions_of_the_built_in_pictures_are_as_told() -> None:
    rules = MINI_TASKS["transformation"].rules
    assert "behind is towards its top, front towards its bottom" in rules
    assert direction(6, 2) == "behind" and direction(6, 10) == "front"
    assert direction(6, 7) == "right" and direction(1, 3) is None
    assert "the left (right) edge of the first picture is at its bottom" in rules
    thing = Thing(5, "small", "red", "metal", "cube")  # at the left edge, in the second row
    assert seen_from("left", thing).cell == 14 and seen_from("right", thing).cell == 3


MINI = make_sample(id="mini/counting/test/s0/count_pair/000001", family="count_pair")


def test_a_stock_model_is_told_and_the_question_stays() -> None:
    told = prompts.instructed(MINI)
    assert told.question == MINI.question and prompts.prompt_text(MINI) == MINI.question
    assert prompts.prompt_text(told) == prompts.instructed_text(MINI)
    assert prompts.instructed_text(told) == prompts.instructed_text(MINI)
    assert prompts.instructed(told) is told and prompts.instructed(MINI, False) is MINI
    assert prompts.prompt_text(prompts.instructed(told, False)) == MINI.question


def test_no_teacher_is_told_twice() -> None:
    assert teacher_messages(prompts.instructed(MINI)) == teacher_messages(MINI)


def test_a_prompt_of_its_own_is_kept() -> None:
    own = make_sample(metadata={"bare_prompt": True}, question="Say a number in my tags.")
    assert prompts.prompt_text(prompts.instructed(own)) == "Say a number in my tags."


def test_a_run_tells_its_policy_in_training_and_evaluation() -> None:
    config = load_config("configs/demo_ekipl.yaml", ["data.instructed=true", "data.limit=6"])
    bare = load_config("configs/demo_ekipl.yaml", ["data.limit=6"])
    for chosen in (config, bare):
        samples = [*load_training_samples(chosen)]
        for found in load_evaluation_sets(chosen).values():
            samples += found[:6]
        for sample in samples:
            told = "shiny or matte" in prompts.prompt_text(sample)
            assert told == (chosen is config)
            assert sample.question in prompts.prompt_text(sample)


def test_actions_to_another_prompt_are_not_taken_from_a_cache() -> None:
    assert sample_digest(prompts.instructed(MINI)) != sample_digest(MINI)
