"""How TRL is told to generate: its generation settings, and how long a completion may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trl import GRPOConfig

from ekipl_lab.policies.context import context_length


def token_limit(model: Any, args: GRPOConfig) -> int | None:
    """Tokens that prompt and completion may have together; None if nothing says how many."""
    engine = args.vllm_max_model_length if args.use_vllm else None
    return min((n for n in (context_length(model), engine) if n is not None), default=None)


def generation_kwargs(args: GRPOConfig, suppressed: Sequence[int]) -> dict[str, Any]:
    """The generation settings of ``args`` and, with them, tokens that are never sampled.

    Keys of ``logit_bias`` are integers: vLLM's SamplingParams compares them with the vocabulary's
    size, and on the way to a server JSON makes strings of them, which the server turns back.
    """
    settings = dict(args.generation_kwargs or {})
    if args.use_vllm:
        given = {int(token): float(bias) for token, bias in settings.get("logit_bias", {}).items()}
        settings["logit_bias"] = given | dict.fromkeys(suppressed, -100.0)
    else:
        settings["suppress_tokens"] = sorted({*settings.get("suppress_tokens", ()), *suppressed})
    return settings
