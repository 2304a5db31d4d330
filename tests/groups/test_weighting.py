"""Weights of teacher tokens: hand-computed values, and TRL's loss gives the same gradient."""

import math

import pytest
import torch

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.weighting import WEIGHTINGS, as_trl, get_weighting, objective

EPS = 0.2


def logs(*probabilities):
    return torch.tensor([list(probabilities)], dtype=torch.float64).log()


def weight_of(name, pi, old, q=None, **params):
    """Weights of one action with those token probabilities."""
    mask = torch.ones(1, len(pi), dtype=torch.float64)
    q_logp = None if q is None else logs(*q)
    return WEIGHTINGS[name](logs(*pi), logs(*old), q_logp, mask, **params)


def test_policy_ratio_is_one_at_one_update_per_generation():
    weight = weight_of("policy_ratio", [0.5, 0.1], [0.5, 0.1])
    assert weight.clipped
    assert weight.ratio.tolist() == [[1.0, 1.0]]
    assert weight_of("policy_ratio", [0.5], [0.25]).ratio.item() == pytest.approx(2.0)


def test_proposal_ratio_divides_by_the_teacher():
    weight = weight_of("proposal_ratio", [0.5, 0.1], [0.9, 0.9], q=[0.25, 0.2])
    assert weight.ratio.tolist() == [pytest.approx([2.0, 0.5])]


def test_proposal_ratio_sequence_is_the_truncated_product():
    # 0.5/0.25 * 0.1/0.2 = 1; the second product, 2 * 2 = 4, is cut to 3.
    first = weight_of("proposal_ratio_sequence", [0.5, 0.1], [1, 1], q=[0.25, 0.2])
    assert first.ratio.tolist() == [pytest.approx([1.0, 1.0])]
    second = weight_of("proposal_ratio_sequence", [0.5, 0.4], [1, 1], q=[0.25, 0.2], truncate=3.0)
    assert second.ratio.tolist() == [pytest.approx([3.0, 3.0])] and not second.clipped


def test_decoupled_clips_on_the_policy_and_scales_the_advantage():
    weight = weight_of("decoupled", [0.6, 0.6], [0.5, 0.5], q=[0.4, 0.1], truncate=2.0)
    assert weight.ratio.tolist() == [pytest.approx([1.2, 1.2])]
    assert weight.factor.tolist() == [pytest.approx([1.25, 2.0])] and weight.clipped


def test_shaped_is_luffys():
    weight = weight_of("shaped", [0.1, 0.9], [0.3, 0.3])
    assert weight.ratio.tolist() == [pytest.approx([0.5, 0.9])] and not weight.clipped


def test_mixture_ratio_by_hand():
    # pi = pi_old = 0.2: pi_w = 0.6, 2 * 0.2 / (0.2 + 0.6) = 0.5; factor sqrt(0.8).
    weight = weight_of("mixture_ratio", [0.2], [0.2])
    assert weight.ratio.item() == pytest.approx(0.5)
    assert weight.factor.item() == pytest.approx(math.sqrt(0.8)) and not weight.clipped
    # pi 0.36 after an update from pi_old 0.2: 0.72 / 0.8 = 0.9; factor sqrt(0.64).
    weight = weight_of("mixture_ratio", [0.36], [0.2])
    assert (weight.ratio.item(), weight.factor.item()) == pytest.approx((0.9, 0.8))


def test_objective_by_hand():
    advantages = torch.tensor([[2.0]], dtype=torch.float64)
    clipped = weight_of("policy_ratio", [0.5], [0.25])
    assert objective(clipped, advantages, EPS, EPS).item() == pytest.approx(1.2 * 2)
    assert objective(clipped, -advantages, EPS, EPS).item() == pytest.approx(-4.0)
    free = weight_of("shaped", [0.1], [0.1])
    assert objective(free, advantages, EPS, EPS).item() == pytest.approx(1.0)


@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
@pytest.mark.parametrize("updates", ["ratio 1", "after an update"])
def test_trls_loss_gives_the_gradient_of_the_objective(name, updates):
    """At pi = pi_old and away from it, for both signs of the advantage, padding left out."""
    generator = torch.Generator().manual_seed(7)
    shape = (6, 5)
    logp = -3 * torch.rand(shape, generator=generator, dtype=torch.float64)
    noise = 0.4 * torch.randn(shape, generator=generator, dtype=torch.float64)
    old = logp if updates == "ratio 1" else (logp + noise).clamp(max=-0.01)
    q_logp = -2 * torch.rand(shape, generator=generator, dtype=torch.float64)
    mask = (torch.arange(5)[None, :] < torch.tensor([5, 4, 3, 5, 1, 2])[:, None]).double()
    advantages = torch.tensor([[1.5], [-0.5], [0.7], [-1.0], [0.2], [2.0]], dtype=torch.float64)

    leaf = logp.clone().requires_grad_()
    weight = WEIGHTINGS[name](leaf, old, q_logp, mask)
    (-objective(weight, advantages, EPS, EPS) * mask).sum().backward()

    theirs = logp.clone().requires_grad_()
    scaled, denominator, total = as_trl(WEIGHTINGS[name], theirs, old, q_logp, mask, advantages)
    coef_1 = torch.exp(theirs - denominator)
    coef_2 = torch.clamp(coef_1, 1 - EPS, 1 + EPS)
    (-torch.min(coef_1 * scaled, coef_2 * scaled) * mask).sum().backward()

    torch.testing.assert_close(theirs.grad, leaf.grad, rtol=1e-9, atol=1e-12)
    assert leaf.grad.abs().sum() > 0 and torch.equal(total, (weight.ratio * weight.factor).detach())
    assert (leaf.grad[mask == 0] == 0).all()


@pytest.mark.parametrize("name", sorted(n for n, w in WEIGHTINGS.items() if w.needs_q))
def test_weights_that_need_q_refuse_without_it(name):
    with pytest.raises(ConfigError, match=f"'{name}' needs the teacher's own token probab"):
        weight_of(name, [0.5], [0.5])


def test_unknown_names():
    with pytest.raises(ConfigError, match="did you mean 'shaped'"):
        get_weighting("shape")
    with pytest.raises(ConfigError, match="did you mean 'gamma'"):
        get_weighting("shaped", {"gama": 0.1})
    assert get_weighting("shaped", {"gamma": 0.2}) is WEIGHTINGS["shaped"]


def test_a_long_action_has_a_finite_gradient_under_the_sequence_product():
    logp = torch.full((1, 1000), -0.1, requires_grad=True)
    q_logp, mask = torch.full((1, 1000), -0.2), torch.ones(1, 1000)
    weight = WEIGHTINGS["proposal_ratio_sequence"](logp, logp.detach(), q_logp, mask)
    objective(weight, torch.ones(1, 1), 0.2, 0.2).mean().backward()
    assert weight.ratio[0, 0].item() == pytest.approx(2.0)
    # Truncated, not silenced: the mean over 1000 tokens of 2 x d log pi.
    torch.testing.assert_close(logp.grad, torch.full((1, 1000), 2.0 / 1000))


def test_the_sequence_product_counts_an_action_once():
    """Where pi = q the product is 1, and the slope of every token that of a policy row."""
    for length in (1, 3, 7):
        logp = torch.full((1, length), -0.5, requires_grad=True)
        mask = torch.ones(1, length)
        slopes = []
        for name in ("policy_ratio", "proposal_ratio_sequence"):
            weight = WEIGHTINGS[name](logp, logp.detach(), logp.detach(), mask)
            value = objective(weight, torch.ones(1, 1), EPS, EPS).mean()
            slopes.append(torch.autograd.grad(value, logp)[0])
        assert torch.equal(*slopes) and slopes[0].sum().item() == pytest.approx(1.0)


def test_the_sequence_product_by_hand_past_the_truncation():
    # 0.5/0.25 * 0.4/0.2 = 4, cut to 3: both tokens weigh 3, and their slopes are 3, not 0 or 8.
    logp = logs(0.5, 0.4).requires_grad_()
    mask = torch.ones(1, 2, dtype=torch.float64)
    weight = WEIGHTINGS["proposal_ratio_sequence"](
        logp, logs(1, 1), logs(0.25, 0.2), mask, truncate=3.0
    )
    (slope,) = torch.autograd.grad(weight.ratio.sum(), logp)
    assert slope.tolist() == [pytest.approx([3.0, 3.0])]
