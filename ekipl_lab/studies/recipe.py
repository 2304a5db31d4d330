"""A recipe: the stages of a preset from any config of `ekipl train`, one after the other.

    run_recipe(plan_recipe("sft_then_paper", Path("configs/demo_ekipl.yaml")))

The stages are those of a study's arm (`presets`). Each is an ordinary run that continues where it
was interrupted, named ``<config>-<preset>.<number>`` (no number where it is the only one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.studies.config import as_overrides
from ekipl_lab.studies.presets import PRESETS, Stage, Supervise, Train
from ekipl_lab.training.config.action_sft import ActionSFT, check_none_idle
from ekipl_lab.training.config.overrides import apply_override
from ekipl_lab.training.config.run_config import RunConfig, parse_config
from ekipl_lab.training.run import TrainResult, train
from ekipl_lab.training.sft.stage import Supervised, supervise
from ekipl_lab.validation import complaint, load_yaml

#: What `ekipl train` runs for teachers where the config says nothing of how they are used; measured
#: in docs/experiments.md. ``--recipe paper`` puts them into the group instead.
DEFAULT = "sft_averaged"

#: (number of a stage from 1, settings that differ) -> its whole config.
Make = Callable[[int, Mapping[str, Any]], RunConfig]


@dataclass(frozen=True, slots=True)
class Step:
    """One stage: a run of the trainer, or with ``sft`` supervised steps.

    ``config`` is the whole config; of a later stage, but for policy.path, which is what the
    stage before leaves.
    """

    config: RunConfig
    sft: ActionSFT | None = None

    def start_from(self, policy: Path) -> Step:
        """The same from the policy in that folder."""
        settings = self.config.policy.model_copy(update={"path": str(policy), "build": None})
        return Step(self.config.model_copy(update={"policy": settings}), self.sft)


def as_steps(
    stages: Sequence[Stage],
    make: Make,
    sft: Mapping[str, Any],
    own_sft: Mapping[str, Any],
    who: str,
) -> tuple[Step, ...]:
    """The stages as whole configs. ``own_sft`` goes before what a preset says, ``sft`` behind.

    ConfigError for a setting that a stage needs, or ``own_sft`` without supervised steps.
    """
    steps = []
    for number, stage in enumerate(stages, 1):
        config = make(number, stage.set if isinstance(stage, Train) else {})
        if isinstance(stage, Supervise):
            settings = _sft_settings({**sft, **stage.set, **own_sft}, who)
            check_none_idle(settings, own_sft)
            if settings.learn == "actions" and not config.teachers:
                raise ConfigError(f"{who} learns actions of teachers, and none is named.")
            steps.append(Step(config, settings))
            continue
        for key in stage.needs:
            if reduce(getattr, key.split("."), config) is None:
                raise ConfigError(f"{who} needs `set: {{{key}: ...}}`.")
        steps.append(Step(config))
    if own_sft and all(step.sft is None for step in steps):
        raise ConfigError(f"{who} has `sft`, and its preset no such stage.")
    return tuple(steps)


def _sft_settings(given: Mapping[str, Any], who: str) -> ActionSFT:
    """ConfigError for an unknown key or a wrong value."""
    try:
        return ActionSFT.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown_name(f"key in `sft` of {who}", place, ActionSFT.model_fields) from error
        raise ConfigError(f"{who}: {complaint(first, f'sft.{place}')}.") from error


def refuse_idle_rule(settings: Iterable[str], what: str, why: str) -> None:
    """ConfigError for a setting of reinforcement where none follows."""
    for key in settings:
        if key.startswith("ekipl.") or key in ("ekipl", *_OF_REINFORCEMENT):
            raise ConfigError(f"{what} {key}, which changes nothing: {why}; leave it out.")


#: Of the trainer alone, which supervised steps never read.
_OF_REINFORCEMENT = ("grpo.learning_rate", "grpo.beta", "grpo.loss_type")


def recipe_of(config: RunConfig) -> str | None:
    """The recipe that `ekipl train` runs where no flag names one; None: the trainer alone.

    The file's own; else `DEFAULT` where there are teachers and nothing is said under ``ekipl``.
    """
    open_rule = bool(config.teachers) and "ekipl" not in config.model_fields_set
    return config.recipe if config.recipe is not None else DEFAULT if open_rule else None


def plan_recipe(preset: str | None, path: Path, overrides: Sequence[str] = ()) -> tuple[Step, ...]:
    """The stages of ``preset`` from the config in ``path``, with the settings of its ``sft:``.

    Without a preset those of `recipe_of`; none where that is the trainer alone.
    """
    raw = load_yaml(path) if path.is_file() else None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must be a file with settings (key: value), as in configs/.")
    for override in overrides:
        apply_override(raw, override)
    base = parse_config({"name": path.stem, **raw})
    chosen = recipe_of(base) if preset is None else preset
    if chosen is None:
        return ()
    if chosen not in PRESETS:
        raise unknown_name("recipe", chosen, PRESETS)
    stages = PRESETS[chosen](base)
    sft = {} if base.sft is None else base.sft.model_dump(exclude_unset=True)
    if preset is not None and not any(isinstance(stage, Supervise) for stage in stages):
        sft = {}  # of another recipe, that of the file
    _check_said(chosen, stages, base, raw, overrides, flag=preset is not None)
    name = base.name if preset is None else f"{base.name}-{preset}"
    for key in ("recipe", "sft"):
        raw.pop(key, None)

    def make(number: int, settings: Mapping[str, Any]) -> RunConfig:
        own = deepcopy(raw)
        numbered = f"{name}.{number}" if len(stages) > 1 else name
        for override in as_overrides({**settings, "name": numbered}):
            apply_override(own, override)
        return parse_config(own)

    if not stages:
        raise ConfigError(f"Recipe {chosen!r} trains nothing; `ekipl eval` measures a policy.")
    return as_steps(stages, make, {}, sft, f"Recipe {chosen!r}")


def _check_said(
    chosen: str,
    stages: Sequence[Stage],
    base: RunConfig,
    raw: Mapping[str, Any],
    overrides: Sequence[str],
    *,
    flag: bool,
) -> None:
    """ConfigError for what was said beside the recipe and does not reach it.

    What a file says is beside a recipe that it names itself; a flag's goes before the file, and
    only the same command's overrides are beside that.
    """
    given = [one.partition("=")[0].strip() for one in overrides]
    said: dict[str, Any] = {} if flag else dict(raw)
    for override in overrides if flag else ():
        apply_override(said, override)
    own = [] if flag else [f"ekipl.{key}" for key in sorted(base.ekipl.model_fields_set)]
    trains = [stage for stage in stages if isinstance(stage, Train)]
    recipe = f"recipe {chosen!r}"
    if stages and not trains:
        refuse_idle_rule([*own, *given], "The config sets", f"{recipe} has supervised steps alone")
    if flag and len(trains) == len(stages):
        for key in given:
            if key.partition(".")[0] == "sft":
                raise ConfigError(f"{key} changes nothing: {recipe} has no supervised steps.")
    for stage in trains:
        for key, value in stage.set.items():
            told: Any = said
            for part in key.split("."):
                told = told.get(part) if isinstance(told, dict) else None
            if key.startswith("ekipl.") and told is not None and told != value:
                raise ConfigError(
                    f"{recipe[0].upper()}{recipe[1:]} sets {key} to {value!r}, and the config says "
                    f"{told!r}; leave that out, or run without a recipe."
                )


def run_recipe(
    steps: Sequence[Step],
    on_event: Callable[[str, Mapping[str, Any]], None] | None = None,
    *,
    fresh: bool = False,
) -> list[TrainResult | Supervised]:
    """Run the stages, or go on with them; how each ended.

    ``on_event`` gets the stage's name and the event. A stage that is stopped ends the recipe, and
    the same call continues.
    """
    ended, policy = list[TrainResult | Supervised](), None
    for planned in steps:
        step = planned if policy is None else planned.start_from(policy)

        def show(event: Mapping[str, Any], name: str = step.config.name) -> None:
            if on_event is not None:
                on_event(name, event)

        if step.sft is None:
            trained = train(step.config, on_event=show, fresh=fresh)
            policy = trained.policy
            ended.append(trained)
        else:
            taught = supervise(step.config, step.sft, on_event=show, fresh=fresh, measure=True)
            policy = taught.policy if taught.status == "finished" else None
            ended.append(taught)
        if policy is None:
            raise KeyboardInterrupt
    return ended
