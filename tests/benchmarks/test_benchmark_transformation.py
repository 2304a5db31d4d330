"""The transformation task: hand-made pairs, calls, views, chains, planted faults."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import replace

import pytest

from ekipl_lab.benchmarks import load_sample, load_samples
from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, check_chain, write_chain
from ekipl_lab.benchmarks.mini.stream import study_families
from ekipl_lab.benchmarks.mini.transformation.scene import (
    VALUES,
    Call,
    Pair,
    Thing,
    answer_text,
    applied,
    calls_of,
    direction,
    is_unambiguous,
    moved,
    pair_from_json,
    pair_labels,
    pair_to_json,
    seen_from,
    split_of,
    undone,
)
from ekipl_lab.benchmarks.mini.transformation.task import question_of
from ekipl_lab.types import Sample

RNG = random.Random(0)
RED = Thing(2, "small", "red", "rubber", "cube")
BLUE = Thing(7, "large", "blue", "glass", "sphere", dx=1, dy=-2)
PAIR = Pair((RED, BLUE), (RED, replace(BLUE, cell=8, color="green")))
ANSWER = "change_color(1, green), change_position(1, right)"


def made(pair: Pair = PAIR) -> Sample:
    metadata = {"benchmark": "mini", "scene": pair_to_json(pair), "query": {"form": "calls"}}
    answer = answer_text(calls_of(pair))
    return Sample(
        "by/hand",
        "transformation",
        "test",
        (),
        question_of(pair),
        answer,
        "calls",
        metadata=metadata,
    )


def test_question_and_answer_by_hand() -> None:
    assert made().question == ("0 small red rubber cube, 1 large blue glass sphere. What changed?")
    assert made().answer == ANSWER
    assert "Second picture from the left." in question_of(replace(PAIR, view="left"))


def test_moves_by_hand() -> None:
    assert moved(7, "right") == 8 and moved(7, "front") == 11 and moved(7, "behind_left") == 2
    assert moved(8, "right") is None and moved(1, "behind") is None
    assert direction(7, 7) == "" and direction(7, 12) == "front_right"
    assert direction(7, 9) is None and direction(4, 5) is None


def test_calls_apply_and_are_found_again() -> None:
    calls = [Call(1, "position", "right"), Call(1, "color", "green")]
    assert applied(PAIR.before, calls) == PAIR.after
    assert calls_of(PAIR) == (calls[1], calls[0])
    assert applied((replace(RED, cell=8), BLUE), [Call(1, "position", "right")]) is None
    assert applied((RED, replace(BLUE, cell=8)), [Call(1, "position", "right")]) is None


def test_changes_are_taken_back_by_hand() -> None:
    calls = {Call(1, "position", "front_right"), Call(0, "size", "large"), Call(1, "color", "red")}
    back = {Call(1, "position", "behind_left"), Call(0, "size", "small"), Call(1, "color", "blue")}
    assert undone(PAIR.before, calls) == back
    assert applied(PAIR.after, sorted(undone(PAIR.before, calls_of(PAIR)))) == PAIR.before


def test_an_undo_is_answered_by_what_takes_the_change_back() -> None:
    pair = Pair((RED, BLUE), (RED, replace(BLUE, color="green")))
    sample = replace(
        made(pair),
        answer="change_color(1, blue)",
        metadata={"benchmark": "mini", "scene": pair_to_json(pair), "query": {"form": "undo"}},
    )
    text = "<think> 0 p2 p2 same . 1 p7 p7 color {} . </think><answer>change_color(1, {})</answer>"
    right = check_chain(sample, text.format("green", "blue"))
    assert right.sound and right.answer_correct
    forward = check_chain(sample, text.format("green", "green"))
    assert not forward.answer_correct and not forward.answer_supported and not forward.false_steps
    lucky = check_chain(sample, text.format("red", "blue"))
    assert lucky.answer_correct and lucky.false_steps and not lucky.sound


def test_views_by_hand() -> None:
    # p2 is at the back, second from the left. From the left the left edge is in front and the
    # back is at the left: it stands at the left, third from behind.
    assert seen_from("left", RED).cell == 9
    assert seen_from("right", RED).cell == 8
    assert seen_from("same", RED) is RED
    turned = seen_from("left", BLUE)
    assert (turned.dx, turned.dy) == (-2, -1)
    for cell in range(1, 17):
        thing = replace(RED, cell=cell, dx=1, dy=2)
        assert seen_from("right", seen_from("left", thing)) == thing


def test_ambiguous_pairs_are_told() -> None:
    near = replace(RED, cell=6)
    other = replace(RED, cell=7, color="blue")
    # Two things exchange colors: that they exchanged places is as short an account.
    swapped = (replace(near, color="blue"), replace(other, color="red"))
    assert not is_unambiguous((near, other), swapped)
    assert is_unambiguous(PAIR.before, PAIR.after)


@pytest.mark.parametrize(
    ("style", "think"),
    [
        ("short", "0 p2 p2 same . 1 p7 p8 color green , right ."),
        (
            "facts",
            "0 : p2 small red rubber cube to p2 small red rubber cube , same . "
            "1 : p7 large blue glass sphere to p8 large green glass sphere , color green , right .",
        ),
        (
            "walk",
            "0 p2 p2 equal small small equal red red equal rubber rubber equal cube cube equal . "
            "1 p7 p8 right large large equal blue green color glass glass equal "
            "sphere sphere equal .",
        ),
        (
            "caption",
            "before : p2 small red rubber cube , p7 large blue glass sphere . "
            "after : p2 small red rubber cube , p8 large green glass sphere . "
            "1 : color green , right .",
        ),
    ],
)
def test_chains_by_hand(style: str, think: str) -> None:
    text = write_chain(made(), style=style, rng=RNG)
    assert text == f"<think> {think} </think><answer>{ANSWER}</answer>"
    report = check_chain(made(), text)
    assert report.sound and report.answer_correct


@pytest.mark.parametrize(
    ("think", "false"),
    [
        ("0 p3 p2 same . 1 p7 p8 color green , right .", ("before 0 p3",)),
        ("0 p2 p2 same . 1 p7 p4 color green , right .", ("after 1 p4",)),
        ("0 p2 p2 front . 1 p7 p8 color green , right .", ("0 front",)),
        ("0 p2 p2 same . 1 p7 p8 color green .", ("changes complete",)),
        ("0 : same . 1 : same .", ("1 same", "changes complete")),
        ("0 same . 1 color red to green , right .", ("1 color red green",)),
        (
            "0 p2 small red metal cube p2 same . 1 p7 p8 color green , right .",
            ("before 0 p2 small red metal cube",),
        ),
        (
            "before : p2 0 . after : p2 0 , p8 1 . 1 : color green , right .",
            ("before complete",),
        ),
        (
            "before : p2 1 , p7 1 . after : p2 0 , p8 1 . 1 : color green , right .",
            ("before p2 1",),
        ),
        ("0 p3 p2 equal small small equal . 1 p7 p8 right blue green color .", ("before 0 p3",)),
        ("0 p2 p2 equal . 1 p7 p4 right blue green color .", ("after 1 p4",)),
        (
            "0 p2 p2 equal small large size . 1 p7 p8 right blue green color .",
            ("0 small large size",),
        ),
        (
            "0 p2 p2 equal small small equal . 1 p7 p8 equal blue green color .",
            ("1 p7 p8 equal", "changes complete"),
        ),
        (
            "0 p2 p2 equal red red equal . 1 p7 p8 right blue green equal .",
            ("1 blue green equal", "changes complete"),
        ),
    ],
)
def test_planted_false_steps_are_found(think: str, false: tuple[str, ...]) -> None:
    report = check_chain(made(), f"<think> {think} </think><answer>{ANSWER}</answer>")
    assert report.false_steps == false
    assert report.unread == ()
    assert not report.sound and report.answer_correct


def test_an_answer_needs_its_steps() -> None:
    text = "<think> 0 p2 p2 same . 1 p7 p8 color green , right . </think><answer>{}</answer>"
    swapped = "change_position(1, right), change_color(1, green)"
    assert check_chain(made(), text.format(swapped)).sound
    fewer = check_chain(made(), text.format("change_color(1, green)"))
    assert not fewer.answer_supported and not fewer.answer_correct
    noise = check_chain(made(), text.format(ANSWER + " maybe"))
    assert not noise.answer_supported and not noise.answer_correct
    odd = check_chain(made(), "<think> 7 same . hm . </think><answer>x</answer>")
    assert odd.unread == ("7 same", "hm")


@pytest.mark.parametrize("style", CHAIN_STYLES)
@pytest.mark.parametrize("split", ["train", "test_ood"])
def test_written_chains_are_what_they_claim(style: str, split: str) -> None:
    for sample in load_samples("mini", task="transformation", split=split, limit=160):
        rng = random.Random(sample.id)
        right = check_chain(sample, write_chain(sample, style=style, rng=rng))
        assert right.sound and right.answer_correct
        wrong = check_chain(sample, write_chain(sample, style=style, fault="wrong_answer", rng=rng))
        assert not wrong.answer_correct and wrong.answer_supported and wrong.false_steps
        lucky = check_chain(sample, write_chain(sample, style=style, fault="wrong_chain", rng=rng))
        assert lucky.answer_correct and lucky.false_steps and not lucky.sound
        assert right.unread == wrong.unread == lucky.unread == ()


def test_families_have_their_number_of_changes() -> None:
    wanted = {"change_look": {1}, "change_place": {1, 2}, "change_two": {2}, "change_many": {3, 4}}
    seen: dict[str, set[int]] = {}
    for sample in load_samples("mini", task="transformation", split="train", limit=200):
        pair = pair_from_json(sample.metadata["scene"])
        calls = calls_of(pair)
        seen.setdefault(sample.family, set()).add(len(calls))
        assert len(pair.before) == sample.difficulty + 1
        assert is_unambiguous(pair.before, pair.after)
        assert split_of(pair) == "train" and len(sample.images) == 2
        if sample.family == "change_place":
            assert {call.function for call in calls} == {"position"}
    assert seen == wanted


@pytest.mark.parametrize("split", ["train", "test_ood"])
@pytest.mark.parametrize(
    ("family", "wanted"),
    [("change_five", {5}), ("change_looks", {3, 4}), ("change_undo", {1})],
)
def test_families_of_the_ground_by_their_changes(family: str, wanted: set[int], split: str) -> None:
    assert family not in study_families("transformation")
    for sample in load_samples(
        "mini", task="transformation", split=split, limit=24, families=[family]
    ):
        pair = pair_from_json(sample.metadata["scene"])
        calls = calls_of(pair)
        assert len(calls) in wanted
        assert is_unambiguous(pair.before, pair.after)
        back = family == "change_undo"
        assert sample.answer == answer_text(undone(pair.before, calls) if back else calls)
        if family == "change_looks":
            assert "position" not in {call.function for call in calls}
        for style in CHAIN_STYLES:
            for fault in ("none", "wrong_answer", "wrong_chain"):
                text = write_chain(sample, style=style, fault=fault, rng=RNG)
                report = check_chain(sample, text)
                assert report.answer_correct is (fault != "wrong_answer")
                assert report.sound is (fault == "none") and report.unread == ()


def test_out_of_domain_turns_the_second_picture() -> None:
    views = Counter()
    for sample in load_samples("mini", task="transformation", split="test_ood", limit=40):
        pair = pair_from_json(sample.metadata["scene"])
        views[pair.view] += 1
        assert split_of(pair) == "test_ood"
        assert f"Second picture from the {pair.view}." in sample.question
    assert views == {"left": 20, "right": 20}


def test_labels_by_hand() -> None:
    labels = pair_labels(PAIR)
    assert labels.shape == (2, 16, 4)
    blue = [VALUES["size"].index("large"), VALUES["color"].index("blue")]
    assert labels[0, 6].tolist() == [*blue, VALUES["material"].index("glass"), 1]
    assert labels[1, 7, 1] == VALUES["color"].index("green")
    assert (labels[1, 6] == -1).all()


def test_sub_skills_by_hand() -> None:
    for family in ("caption", "find", "compare_text", "step_text"):
        for sample in load_samples(
            "mini", task="transformation", split="train", limit=15, families=[family]
        ):
            for style in CHAIN_STYLES:
                right = check_chain(sample, write_chain(sample, style=style, rng=RNG))
                assert right.answer_correct and right.answer_supported and not right.unread
                assert right.sound is (style in ("facts", "walk") and family != "caption")
                text = write_chain(sample, style=style, fault="wrong_answer", rng=RNG)
                wrong = check_chain(sample, text)
                assert not wrong.answer_correct and not wrong.sound
                assert bool(wrong.false_steps) is right.sound
            assert len(sample.images) == (0 if family.endswith("text") else 2)
    step = load_sample("mini/transformation/train/s0/step_text/000004")
    start, end = step.question.removesuffix("?").split(" to ")
    assert step.answer == (direction(int(start[1:]), int(end[1:])) or "same")


@pytest.mark.parametrize("family", study_families("transformation"))
def test_no_answer_is_common(family: str) -> None:
    samples = load_samples(
        "mini", task="transformation", split="train", limit=600, families=[family]
    )
    assert max(Counter(sample.answer for sample in samples).values()) / 600 <= 0.12


GOLDEN = {
    ("mini/transformation/test/s0/change_two/000000", 56): "52268140bd800f15",
    ("mini/transformation/test_ood/s0/change_many/000001", 448): "39c3faf02c8acfd0",
}


@pytest.mark.parametrize(("key", "digest"), GOLDEN.items())
def test_golden_pixels(key: tuple[str, int], digest: str) -> None:
    both = b"".join(image.tobytes() for image in load_sample(key[0], image_size=key[1]).images)
    assert hashlib.sha256(both).hexdigest()[:16] == digest
