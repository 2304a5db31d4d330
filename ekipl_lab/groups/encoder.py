"""Teacher text as tokens of a policy, as a run of these options takes it: for trainer and app."""

from __future__ import annotations

from ekipl_lab.groups.options import EKIPLOptions
from ekipl_lab.groups.weighting import get_weighting
from ekipl_lab.policies.load import Policy
from ekipl_lab.policies.source import eos_token_ids, suppressed_token_ids
from ekipl_lab.teachers.encoding import ActionEncoder


def policy_encoder(policy: Policy, options: EKIPLOptions, max_tokens: int) -> ActionEncoder:
    """The encoder of teacher actions of at most ``max_tokens``, EOS included."""
    tokenizer = policy.processor.tokenizer
    return ActionEncoder(
        tokenizer,
        eos_id=tokenizer.eos_token_id,
        max_tokens=max_tokens,
        forbidden={*suppressed_token_ids(policy), *eos_token_ids(policy)},
        tokenizer_id=policy.tokenizer_id,
        opens=policy.opens,
        need_logprobs=get_weighting(options.weighting).needs_q,
    )
