"""The counting task: hand-made scenes, answers, chains, planted faults, golden pixels."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import replace

import pytest

from ekipl_lab.benchmarks import load_sample, load_samples
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, check_chain, write_chain
from ekipl_lab.benchmarks.mini.counting import skills
from ekipl_lab.benchmarks.mini.counting.query import Query, answer_of, question_text
from ekipl_lab.benchmarks.mini.counting.scene import (
    HELD_OUT_PAIRS,
    Look,
    Scene,
    Thing,
    canonical,
    cell_labels,
    describe,
    scene_from_json,
    scene_to_json,
    split_of,
)
from ekipl_lab.benchmarks.mini.stream import study_families
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.types import Sample

SCENE = Scene(
    (
        Thing(2, Look("large", "red", "matte", "ball")),
        Thing(7, Look("small", "red", "shiny", "cube"), dx=1, dy=-2),
        Thing(9, Look("large", "blue", "matte", "ball")),
        Thing(16, Look("small", "green", "shiny", "cone")),
    )
)
PAIR = Query((("red",), ("ball",)))
REMOVE = Query((("small",), ("ball",)), (("red",),))
COMPARE = Query((("red",), ("cone",)), form="compare")
RNG = random.Random(0)


def made(query: Query, scene: Scene = SCENE) -> Sample:
    metadata = {"benchmark": "mini", "scene": scene_to_json(scene), "query": query.to_json()}
    return Sample(
        "by/hand",
        "counting",
        "test",
        (),
        question_text(query),
        answer_of(scene, query),
        "numbers",
        metadata=metadata,
    )


@pytest.mark.parametrize(
    ("query", "question", "answer"),
    [
        (PAIR, "How many red things and how many balls?", "2 2"),
        (REMOVE, "Remove red things. How many small things and how many balls?", "1 1"),
        (COMPARE, "More red things or cones? Say which, how many, how many more.", "red 2 1"),
        (
            Query((("ball",), ("small",)), form="compare"),
            "More balls or small things? Say which, how many, how many more.",
            "equal 2 0",
        ),
        (
            Query((("large", "ball"), ("red", "cube"))),
            "How many large balls and how many red cubes?",
            "2 1",
        ),
        (Query((("shiny",),)), "How many shiny things?", "2"),
        (
            Query((("red",), ("ball",), ("small",)), (("cone",), ("blue",))),
            "Remove cones and blue things. How many red things, how many balls, "
            "how many small things?",
            "2 1 1",
        ),
    ],
)
def test_questions_and_answers_by_hand(query: Query, question: str, answer: str) -> None:
    assert question_text(query) == question
    assert answer_of(SCENE, query) == answer


@pytest.mark.parametrize(
    ("query", "style", "think"),
    [
        (PAIR, "short", "red : p2 p7 , so 2 . ball : p2 p9 , so 2 ."),
        (
            PAIR,
            "facts",
            "red : p2 large red ball , p7 small red cube , so 2 . "
            "ball : p2 large red ball , p9 large blue ball , so 2 .",
        ),
        (
            PAIR,
            "walk",
            "p2 red ball yes yes , p7 red cube yes no , p9 blue ball no yes , "
            "p16 green cone no no . red 2 . ball 2 .",
        ),
        (
            PAIR,
            "caption",
            "p2 large red ball , p7 small red cube , p9 large blue ball , "
            "p16 small green cone . red 2 . ball 2 .",
        ),
        (REMOVE, "short", "remove red : p2 p7 . small : p16 , so 1 . ball : p9 , so 1 ."),
        (COMPARE, "short", "red : p2 p7 , so 2 . cone : p16 , so 1 . 2 - 1 = 1 , more red ."),
        (
            Query((("yellow",), ("shiny", "cube"))),
            "facts",
            "yellow : none , so 0 . shiny cube : p7 small red shiny cube , so 1 .",
        ),
    ],
)
def test_chains_by_hand(query: Query, style: str, think: str) -> None:
    sample = made(query)
    expected = f"<think> {think} </think><answer>{sample.answer}</answer>"
    assert write_chain(sample, style=style, rng=RNG) == expected
    report = check_chain(sample, expected)
    assert report.sound and report.answer_correct


def test_steps_are_counted() -> None:
    # Two items, a complete list and a number for each of two predicates.
    report = check_chain(made(PAIR), write_chain(made(PAIR), style="short", rng=RNG))
    assert report.steps == 8
    assert report.true_steps == (
        *("red p2", "red p7", "red list complete", "red 2"),
        *("ball p2", "ball p9", "ball list complete", "ball 2"),
    )


@pytest.mark.parametrize(
    ("think", "false"),
    [
        ("red : p2 p8 , so 2 . ball : p2 p9 , so 2 .", ("red p8", "red list complete")),
        ("red : p2 p7 p9 , so 3 . ball : p2 p9 , so 2 .", ("red p9", "red 3")),
        ("red : p2 , so 1 . ball : p2 p9 , so 2 .", ("red list complete", "red 1")),
        ("red : p2 p2 p7 , so 2 . ball : p2 p9 , so 2 .", ("red p2",)),
        (
            "red : p2 small red ball , p7 , so 2 . ball : p2 p9 , so 2 .",
            ("red p2 small red ball",),
        ),
        ("p2 red ball yes no , p7 red , p9 blue ball , p16 . red 2 . ball 2 .",
         ("p2 red ball yes no",)),
        ("red 2 . ball 3 .", ("ball 3",)),
        ("red : p2 p7 p99 , so 2 . ball : p2 p9 , so 2 .", ("red p99",)),
        ("remove red : p2 p7 . red 2 . ball 2 .", ("remove red was not asked for",)),
    ],
)  # fmt: skip
def test_planted_false_steps_are_found(think: str, false: tuple[str, ...]) -> None:
    report = check_chain(made(PAIR), f"<think> {think} </think><answer>2 2</answer>")
    assert report.false_steps == false
    assert report.unread == ()
    assert not report.sound
    assert report.answer_correct


@pytest.mark.parametrize(
    ("think", "false"),
    [
        ("3 - 1 = 2 , more red .", "3 - 1 = 2"),  # true arithmetic, but 3 is none of the counts
        ("2 - 1 = 2 .", "2 - 1 = 2"),
        ("2 - 1 = 1 , equal .", "equal"),
        ("2 - 1 = 1 , more cone .", "more cone"),
    ],
)
def test_false_comparisons_are_found(think: str, false: str) -> None:
    steps = f"red : p2 p7 , so 2 . cone : p16 , so 1 . {think}"
    report = check_chain(made(COMPARE), f"<think>{steps}</think><answer>red 2 1</answer>")
    assert report.false_steps == (false,)
    assert report.answer_supported


def test_an_answer_needs_its_steps() -> None:
    sample = made(PAIR)
    missing = check_chain(sample, "<think> red : p2 p7 , so 2 . </think><answer>2 2</answer>")
    assert not missing.answer_supported and missing.false_steps == ()
    other = check_chain(sample, "<think> red 2 . ball 2 . </think><answer>2 1</answer>")
    assert not other.answer_supported and not other.answer_correct
    empty = check_chain(sample, "<think> hm </think><answer>2 2</answer>")
    assert empty.unread == ("hm",) and not empty.sound and empty.steps == 0
    broken = check_chain(sample, "2 2")
    assert broken.answer is None and broken.unread == ("2 2",)


def all_counting(split: str, limit: int) -> list[Sample]:
    families = [*study_families("counting"), "count_one", "count_text"]
    return load_samples(
        "mini", task="counting", split=split, limit=limit * len(families), families=families
    )


@pytest.mark.parametrize("style", CHAIN_STYLES)
@pytest.mark.parametrize("split", ["train", "test_ood"])
def test_written_chains_are_what_they_claim(style: str, split: str) -> None:
    for sample in all_counting(split, 40):
        rng = random.Random(sample.id)
        right = check_chain(sample, write_chain(sample, style=style, rng=rng))
        assert right.sound and right.answer_correct
        wrong = check_chain(sample, write_chain(sample, style=style, fault="wrong_answer", rng=rng))
        assert not wrong.answer_correct and wrong.answer_supported and wrong.false_steps
        lucky = check_chain(sample, write_chain(sample, style=style, fault="wrong_chain", rng=rng))
        assert lucky.answer_correct and lucky.false_steps and not lucky.sound
        assert right.unread == wrong.unread == lucky.unread == ()


def test_wordings_vary_and_are_deterministic() -> None:
    texts = {write_chain(made(PAIR), style="wordy", rng=random.Random(n)) for n in range(40)}
    assert len(texts) > 10
    again = write_chain(made(PAIR), style="wordy", rng=random.Random(3))
    assert again == write_chain(made(PAIR), style="wordy", rng=random.Random(3))


def test_short_chains_are_short() -> None:
    lengths = []
    for sample in all_counting("train", 60):
        text = write_chain(sample, style="short", rng=RNG).replace("<", " <").replace(">", "> ")
        lengths.append(len(text.split()))
    assert sum(lengths) / len(lengths) < 30
    assert sorted(lengths)[int(0.95 * len(lengths))] <= 36


SKILLS = ("caption", "at", "material", "where", "match_text")


@pytest.mark.parametrize("style", CHAIN_STYLES)
def test_sub_skills_are_scored_by_their_answer(style: str) -> None:
    for family in SKILLS:
        for sample in load_samples(
            "mini", task="counting", split="train", limit=40, families=[family]
        ):
            right = check_chain(sample, write_chain(sample, style=style, rng=RNG))
            assert right.answer_correct and right.answer_supported and not right.unread
            assert right.sound is (style == "walk" and family != "caption")
            for fault in ("wrong_answer", "wrong_chain"):
                wrong = check_chain(sample, write_chain(sample, style=style, fault=fault, rng=RNG))
                assert not wrong.answer_correct and not wrong.sound and not wrong.unread
                assert bool(wrong.false_steps) is right.sound


SKILL_CHAINS = {
    "at": ("p7 small red cube .", "small red cube", True),
    "at, other cell": ("p2 small red cube .", "small red cube", False),
    "at, wrong word": ("p7 small red ball .", "small red ball", False),
    "material": ("p7 shiny .", "shiny", True),
    "where": ("p2 red yes , p7 red yes , p9 blue no , p16 green no .", "p2 p7", True),
    "where, wrong flag": ("p2 red yes , p7 red no , p9 blue no , p16 green no .", "p2", False),
    "where, one left out": ("p2 red yes , p7 red yes , p9 blue no .", "p2 p7", False),
    "where, one twice": (
        "p2 red yes , p2 red yes , p7 red yes , p9 blue no , p16 green no .",
        "p2 p7",
        False,
    ),
    "match_text": ("red yes , red yes , blue no , green no .", "yes yes no no", True),
    "match_text, wrong word": ("red yes , red yes , red yes , green no .", "yes yes yes no", False),
}


@pytest.mark.parametrize("name", SKILL_CHAINS)
def test_sub_skill_chains_by_hand(name: str) -> None:
    form = name.split(",")[0]
    think, answer, sound = SKILL_CHAINS[name]
    facts = {"form": form} | ({"cell": 7} if form in ("at", "material") else {"predicate": ["red"]})
    report = skills.check(SCENE, facts, think, answer)
    assert report.sound is sound and report.unread == ()
    assert skills.check(SCENE, facts, "as you like", answer).unread == ("as you like",)


def test_sub_skill_answers_by_hand() -> None:
    sample = load_sample("mini/counting/train/s0/match_text/000002")
    listed, value = sample.question.removesuffix("?").rsplit(": ", 1)
    flags = ["yes" if value in thing.split() else "no" for thing in listed.split(", ")]
    assert sample.answer == " ".join(flags)
    assert sample.images == ()
    text = load_sample("mini/counting/train/s0/caption/000002")
    assert text.answer == describe(scene_from_json(text.metadata["scene"]))


def test_scene_helpers_by_hand() -> None:
    assert describe(SCENE) == (
        "p2 large red ball , p7 small red cube , p9 large blue ball , p16 small green cone"
    )
    assert canonical(SCENE.things[:1]) == "counting|2 large red matte ball"
    assert scene_from_json(scene_to_json(SCENE)) == SCENE
    labels = cell_labels(SCENE)
    assert labels.shape == (16, 4)
    assert labels[1].tolist() == [1, 0, 0, 1]  # large, red, matte, ball
    assert labels[6].tolist() == [0, 0, 1, 0]  # small, red, shiny, cube
    assert (labels == -1).all(axis=1).sum() == 12


def test_out_of_domain_is_what_it_says() -> None:
    red_cone = Thing(1, Look("large", "red", "matte", "cone"))
    assert split_of((red_cone,)) == "test_ood"
    seven = tuple(Thing(cell, Look("large", "red", "matte", "ball")) for cell in range(1, 8))
    assert split_of(seven) == "test_ood"
    assert split_of(seven[:6]) in ("train", "validation", "test")
    for sample in all_counting("test_ood", 20):
        scene = scene_from_json(sample.metadata["scene"])
        pairs = any((t.look.colour, t.look.shape) in HELD_OUT_PAIRS for t in scene.things)
        assert pairs if sample.metadata["shift"] == "pairs" else len(scene.things) in (7, 8)
        assert scene.background in (4, 5, 6)
    for sample in all_counting("validation", 20):
        scene = scene_from_json(sample.metadata["scene"])
        assert split_of(scene.things) == "validation"
        assert not any((t.look.colour, t.look.shape) in HELD_OUT_PAIRS for t in scene.things)
        assert 1 <= len(scene.things) <= 6 and scene.background in (0, 1, 2, 3)


def test_removal_always_matters() -> None:
    for sample in load_samples(
        "mini", task="counting", split="test", limit=60, families=["remove", "remove_two"]
    ):
        scene = scene_from_json(sample.metadata["scene"])
        query = made(PAIR).metadata["query"] | sample.metadata["query"]
        blind = Query(tuple(tuple(p) for p in query["count"]))
        assert answer_of(scene, blind) != sample.answer


@pytest.mark.parametrize("family", study_families("counting"))
def test_no_answer_is_common(family: str) -> None:
    samples = load_samples(
        "mini", task="counting", split="train", limit=600, families=[family], start=1000
    )
    by_question = Counter(sample.answer for sample in samples)
    assert max(by_question.values()) / 600 <= 0.12


GOLDEN = {
    ("mini/counting/test/s0/count_material/000001", 56): "6c29147d0f8ab277",
    ("mini/counting/test/s0/count_material/000001", 448): "3e2197eb8126224b",
    ("mini/counting/test_ood/s0/remove/000003", 84): "83712574bc91f28a",
}


@pytest.mark.parametrize(("key", "digest"), GOLDEN.items())
def test_golden_pixels(key: tuple[str, int], digest: str) -> None:
    image = load_sample(key[0], image_size=key[1]).images[0]
    assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == digest


def test_golden_scene() -> None:
    sample = load_sample("mini/counting/test/s0/count_material/000001")
    assert (sample.question, sample.answer, sample.metadata["scene_hash"]) == (
        "How many purple things and how many matte things?",
        "5 5",
        "2c5bf5ea4630944fd62163f8a8b8e7de",
    )


def test_sizes_show_the_same_scene() -> None:
    small = load_sample("mini/counting/test/s0/count_pair/000005", image_size=56).images[0]
    large = load_sample("mini/counting/test/s0/count_pair/000005", image_size=448).images[0]
    shrunk = large.reduce(8).tobytes()
    differences = [abs(a - b) for a, b in zip(small.tobytes(), shrunk, strict=True)]
    assert sum(differences) / len(differences) < 3


def test_wrong_use_is_named() -> None:
    sample = made(PAIR)
    with pytest.raises(ConfigError, match="did you mean 'short'"):
        write_chain(sample, style="shrt", rng=RNG)
    with pytest.raises(ConfigError, match="chain fault"):
        write_chain(sample, fault="wrong", rng=RNG)
    with pytest.raises(DataError, match="by/hand"):
        check_chain(replace(sample, metadata={}), "x")


def test_families_state_their_use() -> None:
    families = MINI_TASKS["counting"].families
    assert families["count_one"].status == "guessable"
    assert not families["match_text"].images
    for name in study_families("counting"):
        sample = load_samples("mini", task="counting", split="train", limit=1, families=[name])[0]
        assert len(sample.answer.split()) >= 2
