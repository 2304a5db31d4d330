"""What supervised steps need, loaded and checked before an MLflow run is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ekipl_lab.errors import ConfigError
from ekipl_lab.policies.context import check_prompts_fit, context_length
from ekipl_lab.policies.load import Policy
from ekipl_lab.policies.sharding import sharded_loading
from ekipl_lab.teachers.build import check_teachers
from ekipl_lab.training import checkpoint
from ekipl_lab.training.config.action_sft import ActionSFT
from ekipl_lab.training.config.check import check_run
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sizes import world_size
from ekipl_lab.training.inputs import input_tags
from ekipl_lab.training.ranks import on_main
from ekipl_lab.training.run_data import load_evaluation_sets, load_training_samples
from ekipl_lab.training.run_policy import load_run_policy, save_start
from ekipl_lab.training.run_teachers import teacher_context
from ekipl_lab.training.setup import checked_sets
from ekipl_lab.training.sft.actions import Taught, count_held_out, taught_examples
from ekipl_lab.training.sft.data import Example
from ekipl_lab.training.sft.own_loop import own_loop
from ekipl_lab.types import Sample, Scorer

Sets = Mapping[str, Sequence[Sample]]


@dataclass(frozen=True, slots=True)
class Data:
    """Prompts, the sets that are measured (none: nothing is), records that were left out."""

    samples: list[Sample]
    sets: dict[str, list[Sample]]
    left_out: list[str]

    @property
    def contexts(self) -> dict[str, Sequence[Sample]]:
        """Context, as MLflow has it, -> samples."""
        return {"training": self.samples, **self.sets}


@dataclass(frozen=True, slots=True)
class Prepared:
    """The policy, what it learns and what is held out, whether the own loop teaches it."""

    policy: Policy
    scorer: Scorer
    taught: Taught
    learned: Taught
    held_out: list[Example]
    own: bool


def can_measure() -> bool:
    """Whether one process holds the whole policy; others leave that to `ekipl eval`."""
    return world_size() == 1 and not sharded_loading()


def load_data(config: RunConfig, *, measure: bool) -> Data:
    """The data of supervised steps; DataError for what cannot be read."""
    left_out: list[str] = []
    samples = load_training_samples(config, left_out.append)
    wanted = measure and can_measure()
    sets = load_evaluation_sets(config, left_out.append) if wanted else {}
    return Data(samples, sets, left_out)


def prepare(
    config: RunConfig, settings: ActionSFT, data: Data, folder: Path, *, measure: bool
) -> Prepared:
    """Load the policy, collect what it learns; wrong use is found here, cheapest first."""
    if settings.average < 1 and sharded_loading():
        raise ConfigError(
            f"{config.name}: sft.average needs the whole weights in one place, and they are shared "
            "among GPUs; train with average 1, then average the policies."
        )
    scorer = check_run(config, folder).scorer
    if measure:
        checked_sets(config, data.samples, lambda text: None)
    if settings.learn == "actions":
        check_teachers(config.teachers, teacher_context(config, data.samples))
    count_held_out(settings.validation, len(data.samples))
    on_main(lambda: save_start(config, folder))
    policy = load_run_policy(config, folder)
    own = check_lesson(config, settings, data, policy)
    taught = _taught_once(config, settings, data.samples, policy, folder)
    learned, held_out = taught.split(settings.validation)
    return Prepared(policy, scorer, taught, learned, held_out, own)


def check_lesson(config: RunConfig, settings: ActionSFT, data: Data, policy: Policy) -> bool:
    """Whether the tiny policies' own loop teaches; ConfigError or DataError for what cannot be."""
    limit = int(config.grpo_settings["max_completion_length"])
    for samples in data.contexts.values():
        check_prompts_fit(policy, samples, limit, context_length(policy.model))
    return own_loop(config, settings, policy, [Example(sample, "") for sample in data.samples])


def _taught_once(
    config: RunConfig,
    settings: ActionSFT,
    samples: Sequence[Sample],
    policy: Policy,
    folder: Path,
) -> Taught:
    """What is learned: collected by rank 0, then read from the run's folder.

    A file of other settings or data, of a start that was killed before it was noted, is not read.
    """
    path = folder / "taught.json"

    def collect() -> dict[str, Any]:
        of = _digest(config, settings, samples)
        known = checkpoint.read_note(path)
        if known is None or known.pop("of", of) != of:
            if settings.weighting == "solve_rate":
                _ready_to_sample(config, policy)
            found = taught_examples(config, settings, samples, policy)
            said = [[e.sample.id, e.completion, e.weight] for e in found.examples]
            known = asdict(replace(found, examples=[])) | {"examples": said}
            checkpoint.write_note(path, known | {"of": of})
        return known

    known = on_main(collect)
    by_id = {sample.id: sample for sample in samples}
    examples = [Example(by_id[name], text, weight) for name, text, weight in known["examples"]]
    return Taught(**{**known, "examples": examples})


def _digest(config: RunConfig, settings: ActionSFT, samples: Sequence[Sample]) -> str:
    """Of all that decides what is learned."""
    said = config.model_dump(mode="json", include={"seed", "policy", "data", "reward", "teachers",
                                                   "ekipl", "grpo"})  # fmt: skip
    tags = input_tags(config, {"training": samples})
    whole = [said, settings.model_dump(mode="json"), tags]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


def _ready_to_sample(config: RunConfig, policy: Policy) -> None:
    """The policy where it samples fastest; ConfigError where its weights are elsewhere."""
    if sharded_loading():
        raise ConfigError(
            "sft.weighting solve_rate samples from the whole policy on one process, and its "
            "weights are shared among GPUs; run it on one GPU, or set weighting: none."
        )
    if torch.cuda.is_available() and config.policy.quantize == "none":
        policy.model.to("cuda")
