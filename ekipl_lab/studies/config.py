"""A study: arms x tasks x seeds over one base config, in one YAML file.

    name: counting_screen
    question: Does a teacher in the group help?
    base: configs/studies/counting.yaml       # a config of `ekipl train`: the paper's rule
    seeds: [0, 1, 2]
    tasks: {counting: {}}                     # name -> what differs from the base
    arms:
      grpo: {}                                # the preset of that name (`presets.PRESETS`)
      paper_kl: {preset: paper, set: {grpo.beta: 0.04}}
    baseline: grpo

``set`` holds dotted keys of the base config, as ``--set`` of `ekipl train` does.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.studies.presets import PRESETS
from ekipl_lab.training.config.action_sft import ActionSFT
from ekipl_lab.validation import Count, Section, Seed, complaint, load_yaml

#: A word of a cell's name, which is also that of folders and files.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$", max_length=60)]
Settings = dict[str, Any]


class Arm(Section):
    """A preset (the arm's own name by default) and what differs: of its runs, of its SFT."""

    preset: str | None = None
    set: Settings = Field(default_factory=dict)
    sft: Settings = Field(default_factory=dict)


class FinalMeasure(Section):
    """How the last policy of a cell is measured: samples an item, and the k of pass@k."""

    num_samples: Count = 64
    ks: tuple[Count, ...] = Field(default=(1, 2, 4, 8, 16, 32, 64), min_length=1)
    check_chains: bool = True

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if max(self.ks) > self.num_samples:
            raise ConfigError(
                f"final.ks has {max(self.ks)}, and final.num_samples is {self.num_samples}; "
                "draw as many samples."
            )
        return self


class Registered(Section):
    """A contrast named before the runs: what is expected of an arm against another."""

    task: Word
    arm: Word
    against: Word
    expected: Literal["above", "below"] = "above"
    metric: str = "accuracy_greedy"
    set: str = "test"
    group: str = "all"


class Study(Section):
    """See the module. ``strata``: name -> families, for tables; ``primary``: metrics in words.

    ``registered``: contrasts named before the runs; ``group`` is all, a stratum or a family. A
    stratum is named neither like a family nor ``all``.

    ``records``: a folder, seen from the project's; its ``<name>`` holds records and page.
    """

    name: Word
    question: str = ""
    base: Path
    seeds: tuple[Seed, ...] = Field(min_length=1)
    tasks: dict[Word, Settings] = Field(min_length=1)
    arms: dict[Word, Arm] = Field(min_length=1)
    baseline: str
    set: Settings = Field(default_factory=dict)
    sft: ActionSFT = ActionSFT()
    final: FinalMeasure = FinalMeasure()
    strata: dict[Word, tuple[str, ...]] = Field(default_factory=dict)
    registered: tuple[Registered, ...] = ()
    records: Path = Path("results/studies")
    primary: tuple[str, ...] = Field(
        default=("accuracy_greedy", "pass_at_1", "pass_at_8", "pass_at_64"), min_length=1
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.baseline not in self.arms:
            raise unknown_name("baseline", self.baseline, self.arms)
        for place, settings in (
            ("set", self.set),
            *((f"tasks.{name}", task) for name, task in self.tasks.items()),
            *((f"arms.{name}.set", arm.set) for name, arm in self.arms.items()),
        ):
            refuse_owned(place, settings)
            refuse_misplaced(place, settings)
        refuse_double("seeds", self.seeds)
        for name, arm in self.arms.items():
            if (arm.preset or name) not in PRESETS:
                raise unknown_name(f"preset of arm {name!r}", arm.preset or name, PRESETS)
        for one in self.registered:
            for key, name, known in (
                ("arm", one.arm, self.arms),
                ("against", one.against, self.arms),
                ("task", one.task, self.tasks),
                ("metric", one.metric, self.shown),
            ):
                if name not in known:
                    raise unknown_name(f"{key} of a registered contrast", name, known)
            if one.arm == one.against:
                raise ConfigError(f"A registered contrast has {one.arm!r} against itself.")
        refuse_double("registered", [str(one) for one in self.registered])
        families = [family for members in self.strata.values() for family in members]
        double = {family for family in families if families.count(family) > 1}
        if double:
            raise ConfigError(f"strata has {min(double)!r} twice; a family lies in one stratum.")
        check_strata(self.strata, families)
        self._check_primary()
        return self

    def _check_primary(self) -> None:
        """ConfigError for a primary metric that a record cannot give, or one named twice."""
        given = self.primary if "primary" in self.model_fields_set else self.shown
        measured = ["accuracy_greedy", *(f"pass_at_{k}" for k in self.final.ks)]
        for metric in given:
            if metric not in measured:
                raise unknown_name("primary metric", metric, measured)
        refuse_double("primary", given)

    @property
    def shown(self) -> list[str]:
        """The primary metrics that the final measurement gives."""
        ks = {f"pass_at_{k}" for k in self.final.ks}
        return [m for m in self.primary if not m.startswith("pass_at_") or m in ks]


def refuse_owned(place: str, settings: Iterable[str]) -> None:
    """ConfigError for a setting that each cell has its own of: all seeds would be one run."""
    for key, instead in (("seed", "`seeds` or --seeds"), ("name", "the study's `name`")):
        if key in settings:
            raise ConfigError(
                f"{place} sets {key!r}, which each cell has its own of; use {instead}."
            )


def refuse_misplaced(place: str, settings: Mapping[str, Any]) -> None:
    """ConfigError for what a study says elsewhere, and for a whole section, which would replace
    the base's."""
    for key, value in settings.items():
        word = key.partition(".")[0]
        if word in ("recipe", "sft"):
            instead = "a `preset`" if word == "recipe" else "`sft` of the arm or of the study"
            raise ConfigError(f"{place} sets {key!r}; a study says that by {instead}.")
        if isinstance(value, dict) and "." not in key:
            first = next(iter(value), "a")
            raise ConfigError(
                f"{place} sets all of {key!r}, and what the base says there would be lost; name "
                f"each setting with its dots, as `{key}.{first}: ...`."
            )


def refuse_double(place: str, values: Sequence[Any]) -> None:
    """ConfigError for a value that stands twice."""
    for number, value in enumerate(values):
        if value in values[:number]:
            raise ConfigError(f"{place} names {value} twice; name it once.")


def check_strata(strata: Mapping[str, Sequence[str]], families: Collection[str]) -> None:
    """ConfigError for a stratum without families, and for one named like a family, or ``all``."""
    for name, members in strata.items():
        if not members:
            raise ConfigError(f"strata.{name} has no families; name them, or leave it out.")
        if name == "all" or name in families:
            what = "the whole set" if name == "all" else "a family"
            raise ConfigError(f"strata.{name} is named like {what}; give it another name.")


#: Parts of a study with keys of their own.
SECTIONS: dict[str, type[Section]] = {
    "arms": Arm,
    "sft": ActionSFT,
    "final": FinalMeasure,
    "registered": Registered,
}


#: Keys by which a file is known as a study.
_OF_STUDIES = frozenset({"arms", "baseline", "base", "tasks"})


def is_study(path: Path) -> bool:
    """Whether a YAML file is a study: it has keys that no config of a run has."""
    raw = load_yaml(path) if path.is_file() else None
    return isinstance(raw, dict) and not raw.keys().isdisjoint(_OF_STUDIES)


def load_study(path: Path) -> Study:
    """Read a study; ConfigError names the file, the first wrong field and the nearest."""
    raw = load_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold settings (key: value), as configs/studies/ do.")
    arms = raw.get("arms")
    if isinstance(arms, dict):  # `grpo:` with nothing behind it is the plain preset
        raw = {**raw, "arms": {name: {} if arm is None else arm for name, arm in arms.items()}}
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            kind = f"key in {path}" + (f" at {place}" if "." in place else "")
            section = str(first["loc"][0]) if len(first["loc"]) > 1 else ""
            known = SECTIONS.get(section, Study).model_fields
            raise unknown_name(kind, str(first["loc"][-1]), known) from error
        raise ConfigError(f"{path}: {complaint(first, place)}.") from error


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """``a.b=value`` of each: JSON is YAML."""
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]
