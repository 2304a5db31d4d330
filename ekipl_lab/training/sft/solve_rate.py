"""SFT weighted by the policy's solve rate (after RASFT, arXiv 2606.07006).

p(x) is the share of the policy's own ``rollouts`` of a prompt that succeed before training:

    L = sum over x of  (1 - p(x)) * mean over the teacher's actions of -log pi
                     +      p(x)  * mean over the policy's own right actions of -log pi

A prompt that the policy cannot solve follows the teacher, one that it solves keeps the policy's own
chains. Departures from RASFT: the weights are linear in p, p is measured once, and its clipped
inverse ratio of reference and policy is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ekipl_lab.training.sft.data import Example


def solve_rate_weights(
    taught: Sequence[Example], own: Mapping[str, Sequence[tuple[Example, bool | None]]]
) -> list[Example]:
    """The teacher's examples and the policy's right ones, weighted; those of weight 0 are left out.

    ``own``: sample id -> the policy's rollouts, and whether each is right; None could not be scored
    and counts neither way. A prompt without a rollout that could is left out.
    """
    by_sample: dict[str, list[Example]] = {}
    for example in taught:
        by_sample.setdefault(example.sample.id, []).append(example)
    found: list[Example] = []
    for name, theirs in by_sample.items():
        known = [(example, success) for example, success in own[name] if success is not None]
        if not known:
            continue
        right = [example for example, success in known if success]
        rate = len(right) / len(known)
        for examples, weight in ((theirs, 1.0 - rate), (right, rate)):
            if weight > 0:
                found += [_weighted(e, weight / len(examples)) for e in examples]
    return found


def _weighted(example: Example, weight: float) -> Example:
    return Example(example.sample, example.completion, weight)
