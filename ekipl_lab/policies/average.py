"""Weights between those that training started from and those that it reached.

With theta_0 the weights of the start, theta_1 the learned ones and s the share of what was learned,

    theta = (1 - s) theta_0 + s theta_1                                  (for every tensor)

(weight-space ensembling, WiSE-FT, arXiv 2109.01903): what was learned, with less of what was lost
outside of the data that taught it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoConfig

from ekipl_lab.errors import ConfigError
from ekipl_lab.policies.load import DTYPES, load_policy
from ekipl_lab.policies.save import save_policy

Weights = Mapping[str, torch.Tensor]


def between(start: Weights, learned: Weights, share: float) -> dict[str, torch.Tensor]:
    """Each tensor between that of ``start`` and of ``learned``, computed in float32.

    Numbers that are no floating point are those of ``learned``. ConfigError where names or shapes
    differ.
    """
    other = {name for name in {*start, *learned} if _shape(start, name) != _shape(learned, name)}
    if other:
        raise ConfigError(
            f"The weights of two policies differ in {sorted(other)[0]!r} ({len(other)} tensors): "
            "only the same architecture can be averaged."
        )

    def one(name: str) -> torch.Tensor:
        a, b = start[name], learned[name]
        if not b.is_floating_point():
            return b
        return ((1 - share) * a.float() + share * b.float()).to(b.dtype)

    return {name: one(name) for name in learned}


def average_policies(start: str | Path, learned: str | Path, share: float, out: Path) -> Path:
    """Write the policy with the weights `between` two saved ones, in the precision of ``learned``.

    ``out`` may be ``learned``: the folder appears whole or not at all.
    """
    config = AutoConfig.from_pretrained(learned, trust_remote_code=False)
    own = {value: name for name, value in DTYPES.items()}.get(config.dtype, "float32")
    policy = load_policy(learned)
    first = load_policy(start).model.state_dict()
    policy.model.load_state_dict(between(first, policy.model.state_dict(), share))
    return save_policy(policy.model, policy.processor, out, dtype=own)


def _shape(weights: Weights, name: str) -> torch.Size | None:
    return weights[name].shape if name in weights else None
