"""The geometry task: hand-made figures, answers, chains, planted faults, readable labels."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from functools import cache

import numpy as np
import pytest

from ekipl_lab.benchmarks import load_sample, load_samples
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, check_chain, write_chain
from ekipl_lab.benchmarks.mini.geometry.figure import (
    Figure,
    Label,
    figure_from_json,
    figure_to_json,
    labels_apart,
    place_of,
)
from ekipl_lab.benchmarks.mini.geometry.plans import operate, plan_for, run
from ekipl_lab.benchmarks.mini.geometry.sampling import held_out, split_of
from ekipl_lab.benchmarks.mini.geometry.strokes import GLYPHS, label
from ekipl_lab.benchmarks.mini.geometry.task import answer_of, label_places, question_of
from ekipl_lab.benchmarks.mini.stream import study_families
from ekipl_lab.types import Sample

RNG = random.Random(0)
GROUND = tuple(f.name for f in MINI_TASKS["geometry"].families.values() if f.status == "ground")


def figure(kind: str, values: tuple[int, ...], asked: str, *labels: tuple[str, int, int]) -> Figure:
    return Figure(kind, values, asked, tuple(Label(*item) for item in labels), (), (), 120)


TRIANGLE = figure("triangle", (50, 60), "angle", ("50", 120, 700), ("60", 700, 700), ("x", 420, 90))
RIGHT = figure(
    "right_triangle", (6, 8), "hypotenuse", ("6", 100, 400), ("8", 420, 760), ("x", 500, 300)
)
LEG = figure("right_triangle", (10, 6), "leg", ("6", 100, 400), ("x", 420, 760), ("10", 500, 300))
BOX = figure("rectangle", (6, 4), "area", ("4", 100, 400), ("6", 420, 760))
TWICE = figure("triangle", (50, 60), "twice", ("50", 120, 700), ("60", 700, 700), ("x", 420, 90))
HALF = figure("line", (120,), "half", ("120", 100, 400), ("x", 700, 400))
LEG_AREA = figure(
    "right_triangle", (10, 6), "leg_area", ("6", 100, 400), ("x", 420, 760), ("10", 500, 300)
)
SIDES = figure("sides", (3, 4, 5), "area", ("3", 100, 400), ("4", 420, 760), ("5", 500, 300))


def made(drawn: Figure, answer_type: str = "number") -> Sample:
    metadata = {"benchmark": "mini", "scene": figure_to_json(drawn), "query": {"form": "figure"}}
    question, answer = question_of(drawn), answer_of(drawn)
    return Sample(
        "by/hand", "geometry", "test", (), question, answer, answer_type, metadata=metadata
    )


@pytest.mark.parametrize(
    ("drawn", "answer"),
    [
        (TRIANGLE, "70"),
        (figure("line", (120,), "angle"), "60"),
        (figure("line", (55, 40), "angle"), "85"),
        (figure("quadrilateral", (100, 90, 60), "angle"), "110"),
        (figure("point", (100, 150), "angle"), "110"),
        (RIGHT, "10"),
        (LEG, "8"),
        (figure("diagonal", (5, 12), "hypotenuse"), "13"),
        (TWICE, "140"),
        (HALF, "30"),
        (figure("quadrilateral", (100, 90, 60), "half"), "55"),
        (LEG_AREA, "8 24"),
        (figure("diagonal", (13, 5), "leg_area"), "12 60"),
        (BOX, "24 20"),
        (SIDES, "6 12"),
        (figure("parallelogram", (9, 6, 7), "area"), "54 32"),
    ],
)
def test_answers_by_hand(drawn: Figure, answer: str) -> None:
    assert answer_of(drawn) == answer


@pytest.mark.parametrize(
    ("drawn", "style", "think"),
    [
        (TRIANGLE, "short", "50 , 60 . 50 + 60 = 110 . 180 - 110 = 70 ."),
        (
            TRIANGLE,
            "facts",
            "bottom left 50 , top x , bottom right 60 . 50 + 60 = 110 . 180 - 110 = 70 .",
        ),
        (TRIANGLE, "walk", "50 , x , 60 . 50 + 60 = 110 . 180 - 110 = 70 . x is 70 ."),
        (
            TRIANGLE,
            "caption",
            "triangle : 50 , x , 60 . angles add to 180 . 50 + 60 = 110 . 180 - 110 = 70 .",
        ),
        (RIGHT, "short", "6 , 8 . 36 + 64 = 100 . root 100 = 10 ."),
        (
            LEG,
            "walk",
            "6 , x , 10 . 10 * 10 = 100 . 6 * 6 = 36 . 100 - 36 = 64 . root 64 = 8 . x is 8 .",
        ),
        (TWICE, "walk", "50 , x , 60 . 50 + 60 = 110 . 180 - 110 = 70 . x is 70 . 2 * 70 = 140 ."),
        (HALF, "short", "120 . 180 - 120 = 60 . 60 / 2 = 30 ."),
        (
            LEG_AREA,
            "walk",
            "6 , x , 10 . 10 * 10 = 100 . 6 * 6 = 36 . 100 - 36 = 64 . root 64 = 8 . x is 8 . "
            "6 * 8 = 48 . 48 / 2 = 24 .",
        ),
        (BOX, "short", "6 , 4 . 6 * 4 = 24 . 6 + 4 = 10 . 2 * 10 = 20 ."),
        (SIDES, "short", "3 , 4 , 5 . 3 * 4 = 12 . 12 / 2 = 6 . 3 + 4 = 7 . 7 + 5 = 12 ."),
    ],
)
def test_chains_by_hand(drawn: Figure, style: str, think: str) -> None:
    sample = made(drawn)
    text = write_chain(sample, style=style, rng=RNG)
    assert text == f"<think> {think} </think><answer>{sample.answer}</answer>"
    report = check_chain(sample, text)
    assert report.sound and report.answer_correct


@pytest.mark.parametrize(
    ("drawn", "think", "answer", "false"),
    [
        (
            TRIANGLE,
            "50 , 70 . 50 + 60 = 110 . 180 - 110 = 70 .",
            "70",
            ("70", "labels complete"),
        ),
        (TRIANGLE, "50 . 50 + 60 = 110 . 180 - 110 = 70 .", "70", ("labels complete",)),
        (
            TRIANGLE,
            "50 , 60 . 50 + 60 = 120 . 180 - 120 = 70 .",
            "70",
            ("50 + 60 = 120", "180 - 120 = 70"),
        ),
        # True arithmetic on a number that nobody gave.
        (
            TRIANGLE,
            "50 , 60 . 50 + 55 = 105 . 175 - 105 = 70 .",
            "70",
            ("50 + 55 = 105", "175 - 105 = 70"),
        ),
        (
            TRIANGLE,
            "top 50 , bottom right 60 . 50 + 60 = 110 . 180 - 110 = 70 .",
            "70",
            ("top 50",),
        ),
        (
            TRIANGLE,
            "this is a rectangle . 50 , 60 . 50 + 60 = 110 . 180 - 110 = 70 .",
            "70",
            ("rectangle",),
        ),
        (
            TRIANGLE,
            "50 , 60 . angles add to 360 . 50 + 60 = 110 . 180 - 110 = 70 .",
            "70",
            ("angles add to 360",),
        ),
        (
            TRIANGLE,
            "50 , 60 . 50 + 60 = 110 . 180 - 110 = 70 . x is 60 .",
            "70",
            ("x is 60",),
        ),
        (
            TWICE,
            "50 , 60 . 50 + 60 = 110 . 180 - 110 = 70 . x is 140 . 2 * 70 = 150 .",
            "150",
            ("x is 140", "2 * 70 = 150"),
        ),
        (
            HALF,
            "120 . 180 - 120 = 60 . squares of the legs add up .",
            "60",
            ("squares of legs add up",),
        ),
        (HALF, "120 . 180 - 120 = 60 . 61 / 2 = 30 .", "30", ("61 / 2 = 30",)),
        (
            LEG_AREA,
            "6 , 10 . area then perimeter . area 8 , perimeter 24 .",
            "8 24",
            ("area perimeter", "area 8 , perimeter 24"),
        ),
        (BOX, "6 , 4 . x is 24 .", "24 20", ("x is 24",)),
        (RIGHT, "6 , 8 . 36 + 64 = 100 . root 100 = 11 .", "11", ("root 100 = 11",)),
        (SIDES, "3 , 4 , 5 . 3 * 4 = 12 . 5 / 2 = 2 .", "6 12", ("5 / 2 = 2",)),
    ],
)
def test_planted_false_steps_are_found(
    drawn: Figure, think: str, answer: str, false: tuple[str, ...]
) -> None:
    report = check_chain(made(drawn), f"<think> {think} </think><answer>{answer}</answer>")
    assert report.false_steps == false
    assert report.unread == ()
    assert not report.sound


def test_an_answer_needs_its_steps() -> None:
    bare = check_chain(made(TRIANGLE), "<think> 50 , 60 . </think><answer>70</answer>")
    assert bare.answer_correct and not bare.answer_supported and not bare.sound
    other = check_chain(
        made(TRIANGLE),
        "<think> 50 , 60 . 50 + 60 = 110 . 180 - 110 = 70 . </think><answer>80</answer>",
    )
    assert other.false_steps == () and not other.answer_supported and not other.answer_correct
    early = check_chain(
        made(TWICE),
        "<think> 50 , 60 . 50 + 60 = 110 . 180 - 110 = 70 . </think><answer>70</answer>",
    )
    assert early.false_steps == () and early.answer_supported and not early.answer_correct
    odd = check_chain(made(TRIANGLE), "<think> because . </think><answer>70</answer>")
    assert odd.unread == ("because",)


@cache
def of_all_families(split: str) -> list[Sample]:
    families = [*study_families("geometry"), *GROUND, "angle_choice", "solve_text"]
    return load_samples("mini", task="geometry", split=split, limit=360, families=families)


@pytest.mark.parametrize("style", CHAIN_STYLES)
@pytest.mark.parametrize("split", ["train", "test_ood"])
def test_written_chains_are_what_they_claim(style: str, split: str) -> None:
    for sample in of_all_families(split):
        rng = random.Random(sample.id)
        right = check_chain(sample, write_chain(sample, style=style, rng=rng))
        assert right.sound and right.answer_correct
        wrong = check_chain(sample, write_chain(sample, style=style, fault="wrong_answer", rng=rng))
        assert not wrong.answer_correct and wrong.answer_supported and wrong.false_steps
        lucky = check_chain(sample, write_chain(sample, style=style, fault="wrong_chain", rng=rng))
        assert lucky.answer_correct and lucky.false_steps and not lucky.sound
        assert right.unread == wrong.unread == lucky.unread == ()


@pytest.mark.parametrize("style", CHAIN_STYLES)
def test_sub_skills_are_scored_by_their_answer(style: str) -> None:
    for sample in load_samples(
        "mini", task="geometry", split="train", limit=60, families=["read", "arith"]
    ):
        right = check_chain(sample, write_chain(sample, style=style, rng=RNG))
        assert right.answer_correct and right.answer_supported and not right.unread
        assert right.sound is (style == "walk")
        text = write_chain(sample, style=style, fault="wrong_answer", rng=RNG)
        wrong = check_chain(sample, text)
        assert not wrong.answer_correct and not wrong.sound and not wrong.unread
        assert bool(wrong.false_steps) is right.sound


def test_words_have_no_order_of_reading_and_no_places() -> None:
    (sample,) = load_samples(
        "mini", task="geometry", split="train", limit=1, families=["solve_text"]
    )
    given = sample.question.split(" : ")[1].split(".")[0]
    for style in ("walk", "facts"):
        think = write_chain(sample, style=style, rng=RNG).removeprefix("<think> ")
        assert think.startswith(f"{given} , x ." if "x" in sample.question else f"{given} .")


def test_plans_by_hand() -> None:
    assert run(plan_for("triangle", 2, "angle"), (50, 60)) == [
        (50, "+", 60, 110),
        (180, "-", 110, 70),
    ]
    assert run(plan_for("rectangle", 2, "area"), (6, 4), {0: 1})[0] == (6, "*", 4, 25)
    assert operate(7, "/", 2) == 3 and operate(64, "root", 64) == 8


def test_choices_hold_the_answer_once() -> None:
    letters = Counter()
    for sample in load_samples(
        "mini", task="geometry", split="test", limit=80, families=["angle_choice"]
    ):
        drawn = figure_from_json(sample.metadata["scene"])
        assert len(set(sample.choices)) == 4
        assert sample.choices["ABCD".index(sample.answer)] == answer_of(drawn)
        assert all(f"{c} {v}" in sample.question for c, v in zip("ABCD", sample.choices))  # noqa: B905
        letters[sample.answer] += 1
    assert set(letters) == set("ABCD")


def test_difficulty_one_is_easy_arithmetic() -> None:
    for sample in load_samples("mini", task="geometry", split="train", limit=60, difficulties=[1]):
        drawn = figure_from_json(sample.metadata["scene"])
        if drawn.asked == "angle":
            assert all(value % 10 == 0 for value in (*drawn.values, int(sample.answer)))
        elif drawn.asked == "area":
            assert max(drawn.values) <= 9
        else:
            assert max(drawn.values) <= 26


def test_families_of_the_ground_are_what_they_say() -> None:
    asked = {"angle_twice": {"twice"}, "angle_half": {"half"}, "pythagoras_area": {"leg_area"}}
    for split in ("train", "test_ood"):
        for sample in load_samples(
            "mini", task="geometry", split=split, limit=90, families=list(GROUND)
        ):
            drawn = figure_from_json(sample.metadata["scene"])
            assert drawn.asked in asked[sample.family]
            assert (
                split_of(drawn) == split if split == "test_ood" else split_of(drawn) != "test_ood"
            )
            if drawn.asked in ("twice", "half"):
                x = (360 if drawn.kind in ("quadrilateral", "point") else 180) - sum(drawn.values)
                assert int(sample.answer) == (2 * x if drawn.asked == "twice" else x / 2)
            else:
                leg, area = map(int, sample.answer.split())
                assert leg**2 + drawn.values[1] ** 2 == drawn.values[0] ** 2
                assert area * (1 if drawn.kind == "diagonal" else 2) == leg * drawn.values[1]


def test_out_of_domain_is_what_it_says() -> None:
    seen = Counter()
    for sample in load_samples("mini", task="geometry", split="test_ood", limit=120):
        drawn, shift = figure_from_json(sample.metadata["scene"]), sample.metadata["shift"]
        seen[shift] += 1
        if shift == "turned":
            assert drawn.turn >= 25
        elif shift == "figure":
            assert drawn.kind in ("quadrilateral", "point", "diagonal", "parallelogram")
        elif drawn.kind != "right_triangle":
            parts = (*drawn.values, int(sample.answer.split()[0]))
            assert any(held_out(value) for value in parts)
        assert split_of(drawn) == "test_ood"
    assert seen == {"turned": 40, "values": 40, "figure": 40}
    for sample in load_samples("mini", task="geometry", split="train", limit=120):
        drawn = figure_from_json(sample.metadata["scene"])
        assert drawn.turn == 0 and not drawn.mirror
        if drawn.asked == "angle":
            assert not any(held_out(value) for value in (*drawn.values, int(sample.answer)))


def test_labels_stay_inside_and_apart() -> None:
    for split in ("train", "test_ood"):
        for sample in load_samples("mini", task="geometry", split=split, limit=200):
            places = label_places(sample.metadata)
            assert all(0.05 < x < 0.95 and 0.05 < y < 0.95 for _, x, y in places)
            for number, (_, x, y) in enumerate(places):
                for _, other_x, other_y in places[number + 1 :]:
                    assert abs(x - other_x) > 0.14 or abs(y - other_y) > 0.13


def test_every_glyph_is_its_own() -> None:
    masks = {sign: np.asarray(label(sign, 10), dtype=int) for sign in "0123456789x"}
    assert set(masks) | {"°"} == set(GLYPHS)
    for one in masks:
        for other in masks:
            if one < other:
                assert np.abs(masks[one] - masks[other]).mean() > 15


def test_places_by_hand() -> None:
    assert place_of(Label("x", 420, 90)) == "top"
    assert place_of(Label("x", 100, 420)) == "middle left"
    assert place_of(Label("x", 420, 420)) == "middle"
    assert place_of(Label("x", 800, 700)) == "bottom right"


def spaced(x: int, y: int) -> Figure:
    """Labels 12 and x, with digits 6 units high; 12 is 9.5 units wide, its middle at (20, 40)."""
    labels = (Label("12", 200, 400), Label("x", x, y))
    return Figure("rectangle", (12,), "area", labels, (), (), 60)


@pytest.mark.parametrize(
    ("x", "y", "apart"),
    [
        (200, 479, False),  # 7.9 below: 1.9 between the digits
        (200, 480, True),
        (303, 400, True),  # widths 9.5 and 4: 10.3 - 6.75 = 3.55 between them
        (297, 400, False),  # 2.95 between them, in one row
        (297, 480, True),  # side by side too near, but one clearly above the other
        (102, 400, True),
        (103, 400, False),
    ],
)
def test_labels_apart_by_hand(x: int, y: int, apart: bool) -> None:
    assert labels_apart(spaced(x, y)) is apart


@pytest.mark.parametrize(
    "split",
    [
        "test",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("train", "validation", "test_ood")),
    ],
)
@pytest.mark.parametrize(
    "family", ["line", "angle_choice", "triangle", "pythagoras", "area", "pythagoras_area"]
)
def test_no_two_labels_touch(family: str, split: str) -> None:
    samples = load_samples("mini", task="geometry", split=split, limit=120, families=[family])
    for sample in samples:
        assert labels_apart(figure_from_json(sample.metadata["scene"])), sample.id


def test_json_round_trip() -> None:
    sample = load_sample("mini/geometry/test_ood/s0/area/000002")
    drawn = figure_from_json(sample.metadata["scene"])
    assert figure_to_json(drawn) == sample.metadata["scene"]


@pytest.mark.parametrize("family", [*study_families("geometry"), *GROUND])
def test_no_answer_is_common(family: str) -> None:
    samples = load_samples("mini", task="geometry", split="train", limit=600, families=[family])
    assert max(Counter(sample.answer for sample in samples).values()) / 600 <= 0.12


GOLDEN = {
    ("mini/geometry/test/s0/triangle/000000", 84): "8145829342e51333",
    ("mini/geometry/test/s0/area/000002", 448): "fdea8feba7a63015",
    ("mini/geometry/test_ood/s0/line/000000", 112): "da1a9765ca989769",
}


@pytest.mark.parametrize(("key", "digest"), GOLDEN.items())
def test_golden_pixels(key: tuple[str, int], digest: str) -> None:
    image = load_sample(key[0], image_size=key[1]).images[0]
    assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == digest
