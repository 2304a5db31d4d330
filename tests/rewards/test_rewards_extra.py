"""Components beside accuracy and format: DAPO's soft penalty by hand, and rewards of your own."""

import pytest

from ekipl_lab.errors import ConfigError
from ekipl_lab.rewards import get_scorer
from ekipl_lab.rewards.extra import overlong, with_extra
from ekipl_lab.types import Action, Sample

SAMPLE = Sample("s", "t", "train", (), "?", "3", "number")


def action(tokens, answer="3"):
    ids = None if tokens is None else (7,) * tokens
    return Action(f"<think>a</think><answer>{answer}</answer>", "policy", "m", token_ids=ids)


@pytest.mark.parametrize(
    ("tokens", "value"),
    [(1, 0.0), (12, 0.0), (13, -0.25), (14, -0.5), (16, -1.0), (40, -1.0), (None, None)],
)
def test_the_soft_penalty_by_hand(tokens, value):
    """Limit 16, buffer 4: (16 - 4 - n) / 4 from 12 tokens on."""
    assert overlong(16, 4)(SAMPLE, action(tokens)) == value


def test_without_extras_the_scorer_is_the_scorer():
    plain = get_scorer("ekipl/auto")
    assert with_extra(plain, {}) is plain
    with pytest.raises(ConfigError, match="names 'format'"):
        with_extra(plain, {"format": (lambda sample, action: 0.0, 1.0)})
    with pytest.raises(ConfigError, match=r"buffer is 99; it must be 1 to"):
        overlong(16, 99)
