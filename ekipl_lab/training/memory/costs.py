"""What a planned run takes beside memory: tokens, teacher calls and money, time."""

from __future__ import annotations

from collections.abc import Sequence

from ekipl_lab.groups.options import Teacher
from ekipl_lab.prompts import prompt_text
from ekipl_lab.teachers.ensemble import gateways
from ekipl_lab.teachers.gateway.limits import NANO
from ekipl_lab.teachers.gateway.pricing import tokens_at_most
from ekipl_lab.training.config.plan import Plan
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import planned_processes
from ekipl_lab.training.memory.prompts import PromptSizes
from ekipl_lab.types import Sample


def cost_lines(
    config: RunConfig,
    plan: Plan,
    sizes: PromptSizes,
    teachers: Sequence[Teacher],
    samples: Sequence[Sample],
) -> list[str]:
    """Tokens, teachers' calls and money at most, and a time from the stated throughput."""
    completion = int(config.grpo_settings["max_completion_length"])
    prompts = plan.generations * plan.sizes.prompts
    completions = plan.policy_completions + plan.evaluation_completions
    rounds = config.ekipl.refill.rounds
    lines = [
        f"tokens                  {prompts * sizes.mean:,.0f} of prompts, each once; at most "
        f"{completions * completion:,} of completions",
        *([f"refill                  at most {rounds} x as many again"] if rounds else []),
    ]
    for teacher in teachers:
        lines += teacher_lines(config, plan, teacher, samples, completion)
    return [*lines, _time(config, completions * completion)]


def teacher_lines(
    config: RunConfig, plan: Plan, teacher: Teacher, samples: Sequence[Sample], completion: int
) -> list[str]:
    """The most that a paid teacher costs: nothing is cached, every answer is as long as allowed."""
    lines = []
    asked = plan.generations * plan.sizes.prompts
    for gateway, each in gateways(teacher.source, teacher.actions):
        price = gateway.price
        prompt = max(
            tokens_at_most(prompt_text(sample), len(sample.images), price) for sample in samples
        )
        usd = asked * each * price.nano_usd(prompt, 0, completion) / NANO
        lines.append(
            f"teacher {gateway.id:15} {asked * each:,} calls at most, "
            f"{asked * each * (prompt + completion):,} tokens and {usd:,.2f} USD at most"
        )
    return lines


def _time(config: RunConfig, tokens: int) -> str:
    each, gpus = config.hardware.tokens_per_second, planned_processes(config)
    if each is None:
        return (
            "time                    not known; set hardware.tokens_per_second to what the first "
            "steps show"
        )
    hours = tokens / (each * gpus * 3600)
    return (
        f"time                    {hours:,.1f} hours at most, at {each:g} completion tokens a "
        f"second on each of {gpus} (hardware.tokens_per_second)"
    )
