"""On-policy distillation: the advantage by hand, and in the trainer."""

import pytest
import torch
from trainer_toys import config, ekipl_trainer, nano

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.distill import Distillation, distilled_advantages
from ekipl_lab.policies.save import save_policy


def test_the_advantage_by_hand():
    """q twice as likely as pi at the first token, half as likely at the second."""
    logp = torch.log(torch.tensor([[0.2, 0.4]]))
    teacher = torch.log(torch.tensor([[0.4, 0.2]]))
    own = Distillation(path="x", weight=0.5, reward=2.0)
    found = distilled_advantages(torch.tensor([1.0]), logp, teacher, own)
    half = 0.5 * torch.log(torch.tensor(2.0)).item()
    assert found[0].tolist() == pytest.approx([2.0 + half, 2.0 - half])


def test_a_policy_is_at_rest_where_it_is_its_own_teacher_and_moves_where_it_is_not(tmp_path):
    model, processor = nano()
    save_policy(model, processor, tmp_path / "same", dtype="float32")
    with torch.no_grad():
        model.lm_head.weight.mul_(1.5)
    save_policy(model, processor, tmp_path / "other", dtype="float32")
    largest = {}
    for name in ("same", "other"):
        trainer = ekipl_trainer(
            config(tmp_path / name / "run", max_steps=1),
            selection="policy_only",
            distill={"path": str(tmp_path / name)},
        )
        trainer.train()
        (entry,) = [e for e in trainer.state.log_history if "grad_norm" in e]
        largest[name] = float(entry["grad_norm"])
    assert largest["same"] < 1e-4
    assert largest["other"] > 0.01


def test_a_teacher_must_be_named():
    with pytest.raises(ConfigError, match=r"give ekipl.distill.path"):
        Distillation(weight=0.5)
