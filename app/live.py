"""A group made now: the chosen checkpoint samples, the run's teachers answer, its rule selects.

The way from completions to the group is the trainer's own, ``groups.collect.GroupCollector``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import runs
from app.state import START, checkpoint_name
from app.turns import Readers, Turns
from ekipl_lab import benchmarks, tracking
from ekipl_lab.errors import ConfigError
from ekipl_lab.prompts import instructed
from ekipl_lab.rewards import get_scorer
from ekipl_lab.types import Action, ActionGroup, GenerationParams, RewardBreakdown, Sample

if TYPE_CHECKING:
    from ekipl_lab.groups.options import EKIPLOptions, Teacher
    from ekipl_lab.policies import Policy
    from ekipl_lab.training.config.run_config import RunConfig

ROOT = Path(__file__).resolve().parent.parent
#: The setting that is shown where no run was chosen: the demo's.
DEMO_CONFIG = ROOT / "configs" / "demo_ekipl.yaml"
WAITING = "The policy and the teachers are being loaded; the first time takes some seconds."
#: One token at a time: torch's threads are few. All who sample at once go on in turn.
_TURNS = Turns()
#: Who only reads goes before the next token, which waits for them at most so many seconds.
READERS, PATIENCE = Readers(), 0.05


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything a live group needs; ``policy`` is a checkpoint folder, ``step`` of the run.

    ``instructed``: the prompt states the benchmark's conventions, and ``image_size`` is the side of
    its pictures, as in the run (None: the benchmark's own);
    ``spent`` on teachers until ``step``, as ``ekipl.run_budget`` counts it; ``seed`` is the run's.
    """

    policy: str
    name: str
    step: int
    spent: Mapping[str, float]
    seed: int
    group_size: int
    generation: GenerationParams
    teachers: tuple[Teacher, ...]
    scorer: Callable[..., RewardBreakdown]
    options: EKIPLOptions
    instructed: bool
    image_size: int | None

    def asked(self, sample: Sample) -> Sample:
        """The sample as the run asks it."""
        if sample.id.startswith("mini/"):
            sample = benchmarks.load_sample(sample.id, image_size=self.image_size)
        return instructed(sample, self.instructed)

    @property
    def doing(self) -> str:
        """What is about to happen, in one sentence."""
        asked = ", ".join(f"{t.source.id} ({t.actions})" for t in self.teachers)
        teachers = f"; teachers: {asked}" if asked else "; this run has no teachers"
        return f"Now {self.name} samples {self.group_size} actions{teachers}."


@dataclass(frozen=True, slots=True)
class LiveGroup:
    """The group and a remark: how it was sampled, which teacher actions were refused and why."""

    group: ActionGroup
    note: str


def live_group(
    run: str,
    checkpoint: str,
    sample: Sample,
    draw: int,
    on_texts: Callable[[Sequence[str]], None] | None = None,
) -> LiveGroup:
    """Sample, ask, score and select as the trainer does; the same ``draw`` gives the same group.

    ``on_texts`` is given the policy's completions so far after each token; what it raises ends it.
    Raises ConfigError for an unknown run or checkpoint, or where looking would cost money without
    a ceiling; TeacherError if a teacher fails.
    """
    from ekipl_lab.groups.collect import GroupCollector
    from ekipl_lab.groups.encoder import policy_encoder
    from ekipl_lab.groups.options import StepContext
    from ekipl_lab.groups.pool import Row

    setup = setup_of(run, checkpoint)
    sample = setup.asked(sample)
    with _TURNS:
        _require_ceiling(setup, sample, draw)
        policy = _load(setup.policy)
        actions = _sample(policy, setup, sample, draw, on_texts)
        collector = GroupCollector(
            [sample],
            setup.scorer,
            setup.teachers,
            setup.options,
            policy_encoder(policy, setup.options, setup.generation.max_new_tokens),
            group_size=setup.group_size,
            max_new_tokens=setup.generation.max_new_tokens,
            seed=setup.seed,
        )
        rows = [Row(0, action) for action in actions]
        context = StepContext(setup.step, draw, setup.spent)
        batch = collector.run(rows, rank=0, gather=list, context=context)
    pool = batch.pools[0]
    refused = [f"{reply.teacher}: {reply.refused}" for reply in pool.replies if reply.refused]
    refused += [f"{teacher}: not asked ({reason})" for teacher, reason in pool.not_asked]
    note = f"Sampled now from {setup.name}, draw {draw}."
    if refused:
        note += f" Refused: {', '.join(refused)}."
    return LiveGroup(batch.groups[0], note)


def sample_once(
    setup: Setup,
    sample: Sample,
    draw: int,
    *,
    greedy: bool,
    on_text: Callable[[str], None] | None = None,
) -> Action:
    """One action of the checkpoint: its most likely one, or one drawn; the same every time.

    ``on_text`` is given the completion so far after each token; what it raises ends the sampling.
    """
    from dataclasses import replace

    if greedy:
        setup = replace(setup, generation=replace(setup.generation, temperature=0.0))
    one = replace(setup, group_size=1)
    on_texts = None if on_text is None else lambda texts: on_text(texts[0])
    with _TURNS:
        asked = setup.asked(sample)
        return _sample(_load(setup.policy), one, asked, draw, on_texts)[0]


def ask_teacher(setup: Setup, teacher: Teacher, sample: Sample, draw: int) -> Sequence[Action]:
    """What one teacher of a setup says now; ConfigError where that costs money without a ceiling,
    TeacherError if it fails."""
    from dataclasses import replace

    sample = setup.asked(sample)
    _require_ceiling(replace(setup, teachers=(teacher,)), sample, draw)
    params = GenerationParams(max_new_tokens=setup.generation.max_new_tokens, seed=draw)
    with _TURNS:
        return teacher.source.propose([sample], teacher.actions, params)[0]


def _require_ceiling(setup: Setup, sample: Sample, draw: int) -> None:
    """A click does not spend what the config has set no limit to; what is cached is free."""
    from ekipl_lab.teachers.ensemble import gateways
    from ekipl_lab.teachers.gateway.estimate import estimate

    params = GenerationParams(max_new_tokens=setup.generation.max_new_tokens, seed=draw)
    for teacher in setup.teachers:
        for gateway, actions in gateways(teacher.source, teacher.actions):
            found = estimate(gateway, [sample], actions, params)
            if found.usd_at_most > 0 and gateway.spec.budget.usd is None:
                raise ConfigError(
                    f"Teacher {gateway.id!r} costs money, has no ceiling in this run's config "
                    "(`gateway: {budget: {usd: ..}}`), and has not answered this item before."
                )


def setup_of(run: str, checkpoint: str) -> Setup:
    """The setting of a run (its config), or the demo's without one, with a checkpoint to sample."""
    config, checkpoint = config_of(run), checkpoint_name(checkpoint)
    grpo = config.grpo_settings
    policy = _folder(config, run, checkpoint)  # refuses a run or checkpoint that does not exist
    step = 0 if checkpoint == START else int(checkpoint.removeprefix("step-"))
    return Setup(
        policy=policy,
        name=_name(checkpoint),
        step=step,
        spent=_spent(run, step, config.ekipl.run_budget),
        seed=config.seed,
        group_size=int(grpo["num_generations"]),
        generation=GenerationParams(
            temperature=float(grpo["temperature"]),
            top_p=float(grpo.get("top_p", 1.0)),
            top_k=int(grpo.get("top_k", 0)),
            max_new_tokens=int(grpo["max_completion_length"]),
        ),
        teachers=_teachers(config.model_dump_json()),
        scorer=get_scorer(config.reward.scorer, config.reward.weights),
        options=config.ekipl,
        instructed=config.data.instructed,
        image_size=config.data.image_size,
    )


def _spent(run: str, step: int, axes: Collection[str]) -> dict[str, float]:
    """What the run had spent on the axes of its budget when that step was done."""
    from ekipl_lab.groups.gates import BUDGETS

    costs = {f"cost/{BUDGETS[axis]}": BUDGETS[axis] for axis in axes}
    history = tracking.metric_history(run, list(costs)) if run and costs else {}
    return {
        costs[metric]: max((value for at, value in points if at <= step), default=0.0)
        for metric, points in history.items()
    }


def _name(checkpoint: str) -> str:
    return "the starting policy" if checkpoint == START else checkpoint.replace("-", " ")


def config_of(run: str) -> RunConfig:
    """The config that a run logged; the demo's for no run."""
    from ekipl_lab.training.config.run_config import load_config, parse_config

    if not run:
        return load_config(DEMO_CONFIG)
    runs.require_run(run)
    return parse_config(runs.config_of(run))


def data_of(run: str) -> Mapping[str, Any]:
    """The data settings of a run; the demo's where there is no such run."""
    import yaml

    if runs.is_known(run):
        return dict(runs.config_of(run).get("data", {}))
    data: Mapping[str, Any] = yaml.safe_load(DEMO_CONFIG.read_text(encoding="utf-8"))["data"]
    return data


def _folder(config: RunConfig, run: str, checkpoint: str) -> str:
    """Where the policy lies: a checkpoint of the run, or what its training started from."""
    from ekipl_lab.training.paths import policy_path

    if checkpoint != START:
        return str(runs.checkpoint_folder(run, checkpoint))
    if config.policy.path is None:
        return str(tracking.store_folder() / "work" / config.name / "start")
    return str(policy_path(config.policy.path))


@lru_cache(maxsize=16)
def _teachers(config_json: str) -> tuple[Teacher, ...]:
    """The teachers of a config, kept: recordings and local models are read once."""
    from ekipl_lab.training.config.run_config import RunConfig
    from ekipl_lab.training.run_data import load_training_samples
    from ekipl_lab.training.run_teachers import build_run_teachers

    config = RunConfig.model_validate_json(config_json)
    guesses = any(spec.type == "random" for spec in config.teachers)
    return tuple(build_run_teachers(config, load_training_samples(config) if guesses else []))


@lru_cache(maxsize=3)
def _load(folder: str) -> Policy:
    """A policy, kept in memory: clicking through items loads nothing again."""
    from ekipl_lab.policies import load_policy

    return load_policy(folder)


def _sample(
    policy: Policy,
    setup: Setup,
    sample: Sample,
    draw: int,
    on_texts: Callable[[Sequence[str]], None] | None,
) -> Sequence[Action]:
    """Whoever has the turn samples, and gives way after each token."""
    from dataclasses import replace

    from ekipl_lab.policies import PolicySource

    named = replace(policy, id=setup.name)
    source = PolicySource(named, logprobs=False)
    params = replace(setup.generation, seed=draw)

    def heard(texts: Sequence[str]) -> None:
        _TURNS.give_way()
        READERS.let_pass(PATIENCE)
        if on_texts is not None:
            on_texts(texts)

    return source.propose_streaming([sample], setup.group_size, params, on_texts=heard)[0]
