"""Chains as steps: false ones are marked where they stand; steps of several chains are aligned."""

from __future__ import annotations

import random

import pytest

from app import chains, html
from app.aligned import MAX_ALIGNED, align, differing
from app.chains import Step, pieces, read_steps
from app.columns import Column, column
from ekipl_lab import benchmarks
from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, write_chain
from ekipl_lab.parsing import parse_completion
from ekipl_lab.rewards import get_scorer
from ekipl_lab.types import Action, Sample

ITEM = "mini/counting/test/s0/count_pair/000000"


def steps(*texts: str) -> list[Step]:
    return [Step(text) for text in texts]


def read(sample: Sample, completion: str) -> tuple[Step, ...]:
    check = chains.check_steps(sample, completion)
    return read_steps(parse_completion(completion).think or "", check)


@pytest.mark.parametrize("task", ["counting", "geometry", "transformation"])
@pytest.mark.parametrize("style", CHAIN_STYLES)
def test_every_false_step_stands_in_its_sentence(task: str, style: str) -> None:
    for sample in benchmarks.load_samples("mini", task=task, split="test", limit=6):
        planted = write_chain(sample, style=style, fault="wrong_chain", rng=random.Random(3))
        check = chains.check_steps(sample, planted)
        assert check is not None and check.false_steps
        found = read(sample, planted)
        told = sum(len(step.false) + len(step.notes) for step in found)
        assert told == len(check.false_steps)
        for step in found:
            assert (step.verdict == "false") == bool(step.false or step.notes)
            for start, end in step.false:  # the words are those of a false step
                words = " ".join(word for word, _ in chains.tokens(step.text[start:end]))
                named = [" ".join(w for w, _ in chains.tokens(s)) for s in check.false_steps]
                assert any(name.endswith(words) for name in named)
        right = read(sample, write_chain(sample, style=style, rng=random.Random(3)))
        assert {step.verdict for step in right} == {"true"}


def test_a_planted_cell_is_marked_and_nothing_beside_it() -> None:
    sample = benchmarks.load_sample(ITEM)
    text = "<think> ball : p7 p14 , so 2 . blue : p7 , so 3 . what ? </think><answer>2 3</answer>"
    first, second, third = read(sample, text)
    parts = [(piece.text, piece.false) for piece in pieces(first)]
    assert parts == [("ball: ", False), ("p7", True), (" p14, so 2", False)]
    assert first.notes == ("ball list complete",)
    assert (second.verdict, third.verdict) == ("false", "unread")


def test_of_a_step_said_twice_the_second_is_the_false_one() -> None:
    sample = benchmarks.load_sample(ITEM)
    right = write_chain(sample, style="short", rng=random.Random(0))
    cell = next(word for word in right.split() if word.startswith("p"))
    doubled = right.replace(cell, f"{cell} {cell}", 1)
    step = next(s for s in read(sample, doubled) if s.false)
    assert step.text.index(cell) < step.false[0][0] == step.text.rindex(cell)


def test_steps_that_answer_each_other_share_a_row() -> None:
    one = steps("ball: p1, so 1", "blue: none, so 0")
    two = steps("ball: p2, so 1", "I think", "blue: none, so 0")
    rows = align([one, two, []])
    assert [[cell and cell.step.text for cell in row] for row in rows] == [
        ["ball: p1, so 1", "ball: p2, so 1", None],
        [None, "I think", None],
        ["blue: none, so 0", "blue: none, so 0", None],
    ]
    other = rows[0][1]
    assert other is not None and [other.step.text[a:b] for a, b in other.different] == ["p2"]
    assert rows[2][1] is not None and rows[2][1].different == ()
    assert align([]) == []


def test_alignment_loses_no_step_of_any_column() -> None:
    rng = random.Random(1)
    for _ in range(200):
        columns = [steps(*(rng.choice("abcde") for _ in range(rng.randrange(6)))) for _ in range(3)]
        rows = align(columns)
        for place, column_ in enumerate(columns):
            assert [row[place].step for row in rows if row[place] is not None] == column_
    long = steps(*map(str, range(MAX_ALIGNED + 1)))
    assert len(align([long, long[1:]])) == len(long)


def test_differing_words() -> None:
    text = "cube: p3, so 2"
    assert [text[a:b] for a, b in differing(text, "cube: p4, so 1")] == ["p3", "2"]
    assert differing(text, text.upper()) == ()


def test_hostile_columns_stay_text() -> None:
    sample = benchmarks.load_sample(ITEM)
    hostile = "<think><script>1</script> ${x} {{y}}</think><answer><b>7</b></answer>"
    action = Action(hostile, "policy", "<i>m</i>")
    reward = get_scorer("ekipl/auto")(sample, action)
    bad = column("<u>t</u>", "<s>n</s>", "#000", sample, [(action, reward)])
    page = html.render_columns([bad, Column("x", "", "#000", message="<em>m</em>")])
    assert not any(tag in page for tag in ("<script>", "<u>", "<s>", "<b>7", "<i>m", "<em>m"))
    assert "&lt;script&gt;1&lt;/script&gt;" in page and "{{y}}" in page


def test_a_column_folds_what_was_said_alike() -> None:
    sample = benchmarks.load_sample(ITEM)
    scorer = get_scorer("ekipl/auto")
    right = write_chain(sample, rng=random.Random(0))
    actions = [Action(text, "policy", "m") for text in ("no", right, right, "")]
    made = column("p", "", "#000", sample, [(a, scorer(sample, a)) for a in actions])
    assert [(said.raw, said.times) for said in made.said] == [(right, 2), ("no", 1), ("", 1)]
    assert (made.right, made.scored, made.first) == (2, 4, made.said[0])
    page = html.render_columns([made])
    assert "the chain above × 2" in page and "2 other chains" in page
    assert column("p", "", "#000", sample, []).message == "The source gave no action here."
