"""The gradient that each kept action of a group gives, taken on a policy's own parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ekipl_lab.groups.weighting import get_weighting, objective
from ekipl_lab.policies import Policy, eos_token_ids
from ekipl_lab.policies.source import encode_prompts
from ekipl_lab.types import POLICY, Action, ActionGroup, Sample

if TYPE_CHECKING:
    import pandas as pd


def action_gradients(
    policy: Policy, group: ActionGroup, weighting: str = "policy_ratio"
) -> pd.DataFrame:
    """One row per kept action: how likely the policy finds it, and how it moves the parameters.

    The objective is that of TRL's per-sequence mean at the first update of a generation (pi =
    pi_old; clip 0.2 on both sides), (1/G) sum_i (1/T_i) sum_t min(...), whose gradient is the sum
    of the rows'. ``nll`` is -log pi per token; ``pull`` the norm of the row's gradient; ``along``
    its projection on the whole update, as a share of the update's length: these add up to 1, and
    an action below 0 pulls against the rest. Teacher rows are weighted by ``weighting``, which must
    not need the teacher's own probabilities.
    """
    import pandas as pd

    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    rows, gradients = [], []
    for index, advantage in zip(group.kept, group.advantages, strict=True):
        action = group.candidates[index]
        logp = action_logps(policy, group.sample, action)
        name = "policy_ratio" if action.source == POLICY else weighting
        mask = torch.ones_like(logp)
        weight = get_weighting(name)(logp, logp.detach(), None, mask)
        value = objective(weight, torch.full_like(logp, advantage), 0.2, 0.2).mean()
        parts = torch.autograd.grad(value / len(group.kept), parameters, allow_unused=True)
        pairs = zip(parameters, parts, strict=True)
        flat = [torch.zeros_like(p) if g is None else g for p, g in pairs]
        gradients.append(torch.cat([part.flatten() for part in flat]))
        rows.append(
            {
                "action": f"{index + 1} {action.source}",
                "right": group.rewards[index].success,
                "advantage": advantage,
                "tokens": logp.numel(),
                "nll": float(-logp.detach().mean()),
                "weight": float((weight.ratio * weight.factor).detach().mean()),
            }
        )
    update = torch.stack(gradients).sum(0)
    length = float(update.norm())
    for row, gradient in zip(rows, gradients, strict=True):
        row["pull"] = float(gradient.norm())
        row["along"] = float(gradient @ update) / length**2 if length else 0.0
    return pd.DataFrame(rows).set_index("action")


def action_logps(policy: Policy, sample: Sample, action: Action) -> torch.Tensor:
    """(1, T) log-probability of every token of the action and its end, differentiable."""
    tokenizer, device = policy.processor.tokenizer, policy.model.device
    ids = tokenizer(action.completion.removeprefix(policy.opens), add_special_tokens=False)
    ended = [*ids["input_ids"], eos_token_ids(policy)[0]]
    answer = torch.tensor([ended], device=device)
    inputs = encode_prompts(policy, [sample])
    prompt = inputs["input_ids"].shape[1]
    for name, filling in (("input_ids", answer), ("attention_mask", torch.ones_like(answer))):
        inputs[name] = torch.cat([inputs[name], filling.to(inputs[name].dtype)], 1)
    if "mm_token_type_ids" in inputs:
        types = inputs["mm_token_type_ids"]
        inputs["mm_token_type_ids"] = torch.cat([types, torch.zeros_like(answer)], 1)
    logits = policy.model(**inputs).logits[:, prompt - 1 : -1].float()
    found: torch.Tensor = logits.log_softmax(-1).gather(-1, answer[..., None])[..., 0]
    return found
