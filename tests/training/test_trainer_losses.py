"""Every loss type of TRL: bit-identical without a kept teacher; with one, the gradient by hand.

"By hand" is a second implementation: log-probabilities by a plain forward pass of the batch, the
formulas of docs/method.md token by token, and each loss type's own mean.
"""

import math

import pytest
import torch
import trainer_toys as toys
from test_trainer_contract import LOSING, Plays, same_bits

from ekipl_lab.groups.options import SFTMixing, Teacher
from ekipl_lab.training.config.check import CHOICES
from ekipl_lab.training.config.combinations import RATIO_LOSSES

LOSSES = CHOICES["loss_type"]
SETTINGS = {"cispo": {"epsilon_high": 5.0}, "luspo": {"importance_sampling_level": "sequence"}}


def test_these_are_all_that_trl_knows():
    import inspect
    import re

    from trl import GRPOTrainer

    source = inspect.getsource(GRPOTrainer._compute_loss)
    branches = re.findall(r'self\.loss_type (?:==|in) (\[[^\]]*\]|"\w+")', source)
    assert {name for text in branches for name in re.findall(r'"(\w+)"', text)} == set(LOSSES)


@pytest.mark.parametrize(
    ("loss", "updates"),
    [
        *((loss, {"num_iterations": 2}) for loss in LOSSES),
        *((loss, {"steps_per_generation": 4}) for loss in ("dapo", "vespo")),
    ],
)
def test_every_loss_has_trls_bits_where_no_teacher_is_kept(tmp_path, loss, updates):
    changes = {"loss_type": loss, "max_steps": 4, **SETTINGS.get(loss, {}), **updates}
    theirs = toys.grpo_trainer(toys.config(tmp_path / "trl", **changes))
    theirs.train()
    ours = toys.ekipl_trainer(
        toys.config(tmp_path / "ours", **changes), teachers=[Teacher(Plays(LOSING))]
    )
    ours.train()
    names = ("loss", "grad_norm", "reward", "entropy")
    assert toys.history(ours, *names) == toys.history(theirs, *names)
    mine, reference = toys.weights(ours), toys.weights(theirs)
    assert all(torch.equal(mine[name], reference[name]) for name in mine)
    initial = dict(toys.nano()[0].named_parameters())
    assert not all(torch.equal(mine[name], initial[name]) for name in mine)


@pytest.mark.parametrize("scale", ["group", "none"])
def test_scale_rewards_is_trls(tmp_path, scale):
    changes = {"scale_rewards": scale, "max_steps": 2}
    theirs = toys.grpo_trainer(toys.config(tmp_path / "trl", **changes))
    theirs.train()
    ours = toys.ekipl_trainer(
        toys.config(tmp_path / "ours", **changes), teachers=[Teacher(Plays(LOSING))],
        scale_rewards=scale,
    )  # fmt: skip
    ours.train()
    same_bits(ours, theirs)


# ------------------------------------------------------------------- a kept teacher, by hand


class Batch:
    """One generation of a trainer, its model, and what the loss sees of it."""

    def __init__(self, folder, loss, moved, beta=0.0, **options):
        args = toys.config(
            folder, loss_type=loss, max_steps=1, per_device_train_batch_size=8, beta=beta,
            gradient_accumulation_steps=1, learning_rate=0.0, num_iterations=2 if moved else 1,
            **SETTINGS.get(loss, {}),
        )  # fmt: skip
        self.trainer = toys.ekipl_trainer(
            args, teachers=[toys.oracle()], selection="quota", params={"teacher_rows": 2},
            **options,
        )  # fmt: skip
        seen, score = [], self.trainer._generate_and_score_completions

        def watch(inputs):
            seen.append(score(inputs))
            return seen[-1]

        self.trainer._generate_and_score_completions = watch
        self.trainer.train()
        (self.inputs,) = seen
        self.model = self.trainer.model
        if moved:  # the second update of a generation: the policy is not what it was
            generator = torch.Generator().manual_seed(5)
            with torch.no_grad():
                for parameter in self.model.parameters():
                    noise = torch.randn(parameter.shape, generator=generator)
                    parameter.add_(0.05 * noise * parameter.abs().mean())
        self.teacher = self.inputs["action_source"] > 0
        assert self.teacher.sum() == 2 and len(self.teacher) == 8
        self.mask = self.inputs["completion_mask"].float()

    def logps(self):
        """log pi (B, T), differentiable: a plain forward pass."""
        prompt, completion = self.inputs["prompt_ids"], self.inputs["completion_ids"]
        masks = [self.inputs["prompt_mask"], self.inputs["completion_mask"]]
        extra = {
            name: self.inputs[name]
            for name in ("pixel_values", "image_grid_thw", "mm_token_type_ids")
            if self.inputs.get(name) is not None
        }
        logits = self.model(
            input_ids=torch.cat([prompt, completion], 1), attention_mask=torch.cat(masks, 1),
            **extra,
        ).logits[:, prompt.shape[1] - 1 : -1]  # fmt: skip
        return logits.log_softmax(-1).gather(-1, completion[..., None])[..., 0]

    def gradient(self, loss):
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    def ours(self):
        return self.trainer._compute_loss(self.model, dict(self.inputs))


def mean(values, mask, loss, room=12):
    """A loss type's own mean over rows and tokens, with one process and no accumulation."""
    if loss == "grpo":
        return ((values * mask).sum(1) / mask.sum(1)).mean()
    if loss == "dr_grpo":
        return (values * mask).sum() / (len(mask) * room)
    return (values * mask).sum() / mask.sum()


def surrogate(ratio, advantage):
    return torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)


def by_name(name, logp, old, advantage):
    """The objective of docs/method.md on a teacher's tokens."""
    pi, pi_old = logp.exp(), old.exp()
    if name == "policy_ratio":
        return surrogate(pi / pi_old, advantage)
    if name == "shaped":
        return pi / (pi + 0.1) * advantage
    mixed = 2 * pi / (pi_old + (pi_old + 1) / 2)
    return mixed * (1 - pi.detach()).sqrt() * advantage


def close(ours, by_hand):
    assert by_hand.abs().sum() > 0
    assert torch.nn.functional.cosine_similarity(ours, by_hand, dim=0) > 1 - 1e-5
    assert ours.norm().item() == pytest.approx(by_hand.norm().item(), rel=1e-3)


@pytest.mark.parametrize("moved", [False, True], ids=["ratio 1", "second update"])
@pytest.mark.parametrize("weighting", ["policy_ratio", "shaped", "mixture_ratio"])
@pytest.mark.parametrize("loss", RATIO_LOSSES)
def test_weights_have_their_gradient_in_every_ratio_loss(tmp_path, loss, weighting, moved):
    schedules = {"teacher_weight": [(0, 0.5)]}
    batch = Batch(tmp_path, loss, moved, weighting=weighting, schedules=schedules)
    logp = batch.logps()
    old = batch.inputs["old_per_token_logps"] if moved else logp.detach()
    if moved:
        assert (torch.exp(logp - old) * batch.mask).std() > 0.01
    advantage = batch.inputs["advantages"][:, None]
    values = torch.where(
        batch.teacher[:, None],
        by_name(weighting, logp, old, 0.5 * advantage),
        surrogate(torch.exp(logp - old), advantage),
    )
    by_hand = batch.gradient(mean(-values, batch.mask, loss))
    close(batch.gradient(batch.ours()), by_hand)


@pytest.mark.parametrize("moved", [False, True], ids=["ratio 1", "second update"])
@pytest.mark.parametrize("loss", LOSSES)
def test_policy_ratio_is_trls_own_loss_on_teacher_rows(tmp_path, loss, moved):
    """The paper's weight needs nothing of ours inside the loss: same value, same bits."""
    from trl import GRPOTrainer

    batch = Batch(tmp_path, loss, moved)
    ours = batch.ours()
    theirs = GRPOTrainer._compute_loss(batch.trainer, batch.model, dict(batch.inputs))
    assert torch.equal(ours, theirs) and ours.item() != 0.0
    assert torch.equal(batch.gradient(ours), batch.gradient(theirs))


@pytest.mark.parametrize("moved", [False, True], ids=["ratio 1", "second update"])
@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        *((loss, "chord_mu") for loss in RATIO_LOSSES),
        *((loss, "failed_groups") for loss in RATIO_LOSSES),
        ("grpo", "chord_phi"),
        ("grpo", "reinforced"),
    ],
)
def test_the_sft_term_has_its_gradient_in_every_ratio_loss(tmp_path, loss, kind, moved):
    mu = 0.3
    mixing = {
        "chord_mu": SFTMixing(type="chord_mu", mu=mu),
        "chord_phi": SFTMixing(type="chord_phi", mu=mu),
        "reinforced": SFTMixing(type="chord_mu", mu=mu, reinforce=True),
        "failed_groups": SFTMixing(type="failed_groups", mu=mu, min_successes=99),
    }[kind]
    batch = Batch(tmp_path, loss, moved, sft=mixing, baseline="policy")
    logp = batch.logps()
    old = batch.inputs["old_per_token_logps"] if moved else logp.detach()
    in_grpo = torch.tensor(batch.trainer._hooks.rows.advantages)[:, None]
    if kind != "reinforced":
        in_grpo = in_grpo * ~batch.teacher[:, None]
    rest, theirs = (0.0, mu) if kind == "failed_groups" else (1 - mu, mu)
    reinforced = rest * mean(-surrogate(torch.exp(logp - old), in_grpo), batch.mask, loss)
    phi = (logp.exp() * (1 - logp.exp())).detach() if kind == "chord_phi" else 1.0
    rows = batch.teacher
    imitated = theirs * mean((-phi * logp)[rows], batch.mask[rows], loss)
    close(batch.gradient(batch.ours()), batch.gradient(reinforced + imitated))


def test_the_sft_term_is_logged(tmp_path):
    trainer = toys.ekipl_trainer(
        toys.config(tmp_path, max_steps=2), teachers=[toys.oracle()], selection="quota",
        baseline="policy", sft=SFTMixing(type="chord_mu"),
        schedules={"sft.mu": [(0, 0.5), (1, 0.25)]},
    )  # fmt: skip
    trainer.train()
    logged = toys.history(trainer, "sft/mu", "sft/nll", "tokens/oracle/mean_logp")
    assert logged["sft/mu"] == [0.5, 0.25]
    assert logged["sft/nll"] == pytest.approx([-v for v in logged["tokens/oracle/mean_logp"]])
    assert all(math.isfinite(value) for value in logged["sft/nll"])
