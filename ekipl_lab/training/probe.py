"""One step of a run's worst case, measured instead of predicted: ``ekipl train --probe``.

The prompts with the most tokens, every completion as long as allowed, forward and backward as the
run does them. Teachers are not asked and nothing is logged, evaluated or kept. On one process.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from ekipl_lab.errors import ConfigError
from ekipl_lab.groups.options import EKIPLOptions
from ekipl_lab.policies.context import encoded_length
from ekipl_lab.policies.load import Policy
from ekipl_lab.training.config.check import check_run
from ekipl_lab.training.config.plan import plan_run
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import world_size
from ekipl_lab.training.memory.components import GIB
from ekipl_lab.training.memory.prompts import looked_at
from ekipl_lab.training.run_data import load_training_samples
from ekipl_lab.training.run_policy import load_run_policy, run_adapter
from ekipl_lab.training.trainer import EKIPLTrainer
from ekipl_lab.types import Sample


@dataclass(frozen=True, slots=True)
class Probe:
    """What a step took: seconds, the most memory at once, completion tokens; on a GPU or not."""

    seconds: float
    peak_bytes: int
    tokens: int
    prompt_tokens: int
    gpu: bool

    def line(self) -> str:
        """The measurement in one line."""
        where = "of the GPU" if self.gpu else "of this process"
        return (
            f"one step of the worst case: {self.seconds:.1f} s, {self.peak_bytes / GIB:.2f} GiB "
            f"{where} at most, {self.tokens} completion tokens "
            f"({self.tokens / self.seconds:.0f} a second), prompts of up to {self.prompt_tokens}"
        )


def probe(config: RunConfig) -> Probe:
    """Run the worst step of a config. Raises ConfigError as a run does, or on many processes."""
    if world_size() > 1:
        raise ConfigError("--probe measures one process; start it without a launcher.")
    grpo = dict(config.grpo)
    length = int(config.grpo_settings["max_completion_length"])
    grpo["generation_kwargs"] = (grpo.get("generation_kwargs") or {}) | {"min_new_tokens": length}
    alone = config.model_copy(
        update={"grpo": grpo | {"max_steps": 1}, "teachers": (), "ekipl": EKIPLOptions()}
    )
    with tempfile.TemporaryDirectory() as folder:
        run = check_run(alone, folder)
        samples = load_training_samples(alone)
        plan_run(alone, len(samples), run.sizes)
        policy = load_run_policy(alone, Path(folder))
        longest, tokens = longest_prompts(policy, samples, run.sizes.prompts)
        trainer = EKIPLTrainer(
            policy.model, args=run.args, samples=longest, processing_class=policy.processor,
            scorer=run.scorer, peft_config=run_adapter(alone, policy),
        )  # fmt: skip
        gpu = torch.cuda.is_available()
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_reserved() if gpu else peak_of_process()
    return Probe(seconds, peak, int(trainer.costs.policy_tokens), tokens, gpu)


def longest_prompts(policy: Policy, samples: list[Sample], count: int) -> tuple[list[Sample], int]:
    """The ``count`` longest prompts of those looked at, filled up from the others; most tokens."""
    candidates = looked_at(samples)
    lengths = {sample.id: encoded_length(policy, sample) for sample in candidates}
    chosen = sorted(candidates, key=lambda sample: -lengths[sample.id])[:count]
    taken = {sample.id for sample in chosen}
    others = [sample for sample in samples if sample.id not in taken]
    return (chosen + others)[:count], max(lengths.values())


def peak_of_process() -> int:
    """Bytes that this process held at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
