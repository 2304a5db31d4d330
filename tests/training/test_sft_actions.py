"""SFT on teacher actions: which are learned, in which order, with which weight."""

import pytest

from ekipl_lab.errors import ConfigError
from ekipl_lab.training.sft.data import Example, ShuffledExamples
from ekipl_lab.training.sft.solve_rate import solve_rate_weights
from ekipl_lab.types import Sample


def sample(name, images=0):
    return Sample(name, "t", "train", (None,) * images, "?", "1", "number")


def test_solve_rate_weights_by_hand():
    """p = 1/4 at a: two teacher actions share 3/4, one right rollout has 1/4; at b 0, at c 1."""
    a, b, c = map(sample, "abc")
    taught = [Example(a, "t1"), Example(a, "t2"), Example(b, "t3"), Example(c, "t4")]
    own = {
        "a": [(Example(a, "r1"), True), *[(Example(a, "w"), False)] * 3],
        "b": [(Example(b, "w"), False)] * 2,
        "c": [(Example(c, "r2"), True), (Example(c, "r3"), True)],
    }
    weighed = {e.completion: e.weight for e in solve_rate_weights(taught, own)}
    assert weighed == {"t1": 0.375, "t2": 0.375, "r1": 0.25, "t3": 1.0, "r2": 0.5, "r3": 0.5}


def test_a_rollout_that_could_not_be_scored_is_not_a_wrong_one():
    """p = 1/2 at a, of two that could be scored; at b nothing is known, so it is left out."""
    a, b = map(sample, "ab")
    own = {
        "a": [(Example(a, "r"), True), (Example(a, "w"), False), (Example(a, "n"), None)],
        "b": [(Example(b, "n"), None)],
    }
    found = solve_rate_weights([Example(a, "t1"), Example(b, "t2")], own)
    assert {e.completion: e.weight for e in found} == {"t1": 0.5, "r": 0.5}


def test_every_pass_shows_every_example_once_in_an_order_of_its_own():
    stream = ShuffledExamples([Example(sample("s"), str(i)) for i in range(6)], seed=3)
    shown = [e.completion for step in range(3) for e in stream.batch(step, 4)]
    first, second = shown[:6], shown[6:]
    assert sorted(first) == sorted(second) == list("012345") and first != second
    again = ShuffledExamples([Example(sample("s"), str(i)) for i in range(6)], seed=3)
    assert [e.completion for e in again.batch(2, 4)] == shown[8:]


def test_examples_of_several_numbers_of_images_are_refused():
    with pytest.raises(ConfigError, match="1 to 2 images"):
        ShuffledExamples([Example(sample("a", 1), ""), Example(sample("b", 2), "")], seed=0)
