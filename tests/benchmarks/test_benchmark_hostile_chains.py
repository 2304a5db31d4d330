"""The chain checkers read any text that a policy may write: a report, and never an exception."""

import random

import pytest

from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.chains import (
    CHAIN_STYLES,
    ChainReport,
    check_chain,
    completion,
    write_chain,
)
from ekipl_lab.benchmarks.mini.task import SampleKey

BITS = [
    ".", ",", "  ,  ,", ":", "=", "-", "before", "before .", "before :", "after : ,", "to", "equal",
    "more", "p", "p²", "²", "٣", "9" * 5000, "p" + "9" * 5000, "yes", "no", "none", "x", "is B",
    "root", "area", "", "same", "red :", "0 :",
]  # fmt: skip


def drafted(task: str, family: str, index: int = 0, split: str = "train"):
    return MINI_TASKS[task].draft(SampleKey(task, split, 0, family, index))


def report(sample, think: str, answer: str | None = None) -> ChainReport:
    return check_chain(sample, completion(think, sample.answer if answer is None else answer))


@pytest.mark.parametrize("task", MINI_TASKS)
def test_no_text_breaks_a_checker(task):
    rng = random.Random(7)
    words = sorted(
        {
            word
            for family in MINI_TASKS[task].families
            for style in CHAIN_STYLES
            for word in write_chain(
                drafted(task, family), style=style, fault="none", rng=random.Random(0)
            ).split()
        }
    )
    for family in MINI_TASKS[task].families:
        sample = drafted(task, family, rng.randrange(50))
        for style in CHAIN_STYLES:
            chain = write_chain(sample, style=style, fault="none", rng=rng).split()
            for _ in range(60):
                changed = list(chain)
                for _ in range(rng.randint(1, 3)):
                    place = rng.randrange(len(changed))
                    changed[place : place + rng.randint(0, 2)] = [rng.choice(BITS + words)]
                assert isinstance(check_chain(sample, " ".join(changed)), ChainReport)
        for bit in BITS:
            for answer in (sample.answer, bit):
                found = report(sample, f"{bit} .", answer)
                assert isinstance(found, ChainReport)


@pytest.mark.parametrize(
    ("task", "family", "index", "think"),
    [
        ("counting", "compare", 0, "2 - 1 = ."),
        ("transformation", "change_two", 1, "before ."),
        ("transformation", "change_two", 1, "before : ."),
        ("transformation", "change_two", 1, "it moved from before ."),
        ("counting", "where", 0, "p2 red yes ,  , p3 red no"),
    ],
)
def test_halves_of_sentences_are_not_sound(task, family, index, think):
    assert not report(drafted(task, family, index), think).sound


def test_equal_stands_alone():
    """A comparison that ends ``equal yellow`` says nothing that could be true."""
    for index in range(40):
        sample = drafted("counting", "compare", index)
        chain = write_chain(sample, style="walk", fault="none", rng=random.Random(0))
        if " more " not in chain:
            continue
        assert check_chain(sample, chain).sound
        assert not check_chain(sample, chain.replace(" more ", " equal ")).sound


def test_true_steps_lead_to_no_other_answer():
    sample = drafted("geometry", "area", 2)
    chain = write_chain(sample, style="walk", fault="none", rng=random.Random(0))
    think, _, _ = chain.removeprefix("<think>").partition("</think>")
    assert report(sample, think.strip()).sound
    right = sample.answer.split()
    for word in {w for w in think.split() if w.isdecimal()} - {right[0]}:
        assert not report(sample, think.strip(), f"{word} {right[1]}").sound
    read = drafted("geometry", "read")
    shuffled = " ".join(reversed(read.answer.split()))
    assert shuffled != read.answer
    assert not report(read, f"{shuffled.replace(' ', ' , ')} .", shuffled).sound


def test_the_end_of_a_long_number_is_no_number():
    """``1234567 is B`` says nothing of 234567."""
    found = report(drafted("geometry", "angle_choice"), "1234567 is B .")
    assert found.unread and not found.steps
