"""A policy small enough to list: three tokens, three places, 27 actions, 39 parameters.

An action is (style, chain, answer). Style 2 breaks the format, and then no answer can be read;
answer 0 is the right one; the reward never sees the chain. The policy is a table of logits, one row
per prefix:

    log pi(a) = sum_t log softmax(theta[prefix(a, t)])[a_t]

so that J(theta) = sum_a pi(a) R(a) and its gradient are sums over 27 actions, without sampling.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]

VOCAB, LENGTH = 3, 3
#: (27, 3) every action, in lexicographic order.
ACTIONS: Index = np.array(list(itertools.product(range(VOCAB), repeat=LENGTH)), dtype=np.int64)
#: (27, 3) the table's row that each token is drawn from: 0, 1 + a_0, 4 + 3 a_0 + a_1.
PREFIX: Index = np.stack(
    [0 * ACTIONS[:, 0], 1 + ACTIONS[:, 0], 4 + 3 * ACTIONS[:, 0] + ACTIONS[:, 1]], axis=1
)
ROWS = 1 + VOCAB + VOCAB**2

WELL_FORMED: NDArray[np.bool_] = ACTIONS[:, 0] != 2
#: An ill-formed action has no answer that could be right.
RIGHT: NDArray[np.bool_] = WELL_FORMED & (ACTIONS[:, 2] == 0)


@dataclass(frozen=True)
class Reward:
    """Accuracy, plus ``format_weight`` for a well-formed action.

    Actions fall into classes of equal outcome: wrong and right, or ill-formed, wrong and right.
    Selection and advantages see nothing else.
    """

    name: str
    format_weight: float

    @property
    def outcomes(self) -> tuple[tuple[float, float], ...]:
        """(accuracy, format) of each class; format is 0 where it earns nothing."""
        binary = ((0.0, 0.0), (1.0, 0.0))
        return ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0)) if self.format_weight else binary

    @property
    def class_of(self) -> Index:
        """(27,) the class of each action."""
        right = RIGHT.astype(np.int64)
        return right + WELL_FORMED if self.format_weight else right

    @property
    def totals(self) -> Array:
        """(27,) total reward of each action."""
        return RIGHT + self.format_weight * WELL_FORMED


REWARDS = {"binary": Reward("binary", 0.0), "with format": Reward("with format", 1.0)}


def table(style: list[float], chain: list[float], right: list[float]) -> Array:
    """(13, 3) token probabilities by prefix; ``right[c]`` is P(answer 0 | chain c)."""
    answers = [[p, (1 - p) / 2, (1 - p) / 2] for p in right]
    return np.array([style, *[chain] * VOCAB, *answers * VOCAB])


#: Policies before the update: right 0.3 %, 33 % and 93 % of the time.
STATES = {
    "start": table([0.6, 0.05, 0.35], [0.02, 0.49, 0.49], [0.2, 0.001, 0.001]),
    "middle": table([0.6, 0.2, 0.2], [0.3, 0.4, 0.3], [0.8, 0.25, 0.25]),
    "nearly solved": table([0.9, 0.08, 0.02], [0.9, 0.05, 0.05], [0.99, 0.6, 0.6]),
}


def teacher(accuracy: float) -> Array:
    """(13, 3) a teacher right with that probability, in a style the policy seldom uses.

    It is ill-formed 2 % of the time, so that it can give every action; one that is never wrong is
    never ill-formed either.
    """
    broken = 0.02 if accuracy < 1 else 0.0
    right = accuracy / (1 - broken)
    return table([0.05, 0.95 - broken, broken], [0.9, 0.05, 0.05], [right] * VOCAB)


def token_probs(probs: Array) -> Array:
    """(27, 3) probability of each token of each action, from a (13, 3) table."""
    return probs[PREFIX, ACTIONS]


def action_probs(probs: Array) -> Array:
    """(27,) probability of each action."""
    out: Array = token_probs(probs).prod(axis=1)
    return out


def token_scores(probs: Array) -> Array:
    """(27, 3, 39) gradient of log pi of each token with respect to the logits: e_a - softmax."""
    scores = np.zeros((len(ACTIONS), LENGTH, ROWS, VOCAB))
    for action, place in itertools.product(range(len(ACTIONS)), range(LENGTH)):
        row = PREFIX[action, place]
        scores[action, place, row] = -probs[row]
        scores[action, place, row, ACTIONS[action, place]] += 1
    return scores.reshape(len(ACTIONS), LENGTH, ROWS * VOCAB)


def expected_reward(probs: Array, reward: Reward) -> float:
    """J: the sum of pi(a) R(a) over all actions."""
    return float(action_probs(probs) @ reward.totals)


def exact_gradient(probs: Array, reward: Reward) -> Array:
    """(39,) gradient of J: the sum of pi(a) R(a) grad log pi(a)."""
    gradient: Array = (action_probs(probs) * reward.totals) @ token_scores(probs).sum(axis=1)
    return gradient


def moved(probs: Array, direction: Array, distance: float) -> Array:
    """The policy after its logits went ``distance`` (Euclidean) along ``direction`` (39,)."""
    step = distance * direction / np.linalg.norm(direction)
    logits = np.log(probs) + step.reshape(ROWS, VOCAB)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    out: Array = weights / weights.sum(axis=1, keepdims=True)
    return out
