"""What is evaluated: one word names a checkpoint, an adapter, an MLflow model, a hub id, a teacher.

::

    assets/policies/counting       a folder of weights, or of a PEFT adapter (its base is loaded)
    mlflow:RUN  mlflow:RUN@120     a run's last checkpoint, or that of a step
    mlflow:RUN@best:METRIC         the checkpoint of a run with the highest value of a metric
    models:/m-0123                 a logged model by its MLflow id
    org/name  org/name@revision    a model of the hub, downloaded through huggingface_hub
    teacher:FILE.yaml#ID           a teacher of a run's config (or of a file with `teachers:`)

Weights are read from safetensors only, and no remote code is run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.errors import ConfigError, DataError, MissingData, unknown_name
from ekipl_lab.types import POLICY, ActionSource, Sample
from ekipl_lab.validation import load_yaml

if TYPE_CHECKING:
    from ekipl_lab.teachers.build import TeacherSpec
    from ekipl_lab.tracking import LoggedCheckpoint

MLFLOW, MODELS, TEACHER = "mlflow:", "models:/", "teacher:"
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
#: What is fetched of a model of the hub: weights, settings, vocabulary; never code or pickles.
HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A source with where it comes from.

    ``key`` is a hash of its weights or settings, which others of the same name may differ in, and
    the dtype unless that is float32; ``facts`` are JSON values for the record. A teacher may give
    fewer actions than asked, and answers with its own temperature.
    """

    kind: str
    name: str
    source: ActionSource
    key: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_teacher(self) -> bool:
        return self.kind == "teacher"


@dataclass(frozen=True, slots=True)
class Loading:
    """How weights are loaded; ``base`` replaces the base model that an adapter names.

    Without a ``device`` it is the GPU where there is one, as in training.
    """

    dtype: str = "float32"
    device: str | None = None
    base: str | None = None
    max_rows: int = 256


def open_model_source(
    text: str,
    samples: Sequence[Sample] = (),
    loading: Loading | None = None,
    *,
    scenes: bool = False,
) -> ModelSource:
    """The source that ``text`` names (see the module's docstring).

    ``samples`` are what random teachers guess from; ``scenes`` says that they are of the built-in
    benchmark, whose chains oracles can write. Raises ConfigError or DataError that says what is
    missing: a folder, run, step, metric, teacher, base model, or the network.
    """
    loading = loading or Loading()
    if text.startswith(TEACHER):
        return _teacher(text.removeprefix(TEACHER), samples, scenes)
    if text.startswith((MLFLOW, MODELS)):
        return _logged_model(text, loading)
    match = _HUB.fullmatch(text)
    local = Path(text).expanduser()
    if match and not local.exists() and not (local.parent.is_dir() and local.parent != Path()):
        folder, facts = _download(match["repo"], match["revision"])
        name = f"{match['repo']}@{str(facts['revision'])[:12]}"
        return _from_folder(folder, "hub", name, loading, facts)
    return _from_folder(local, "checkpoint", local.name, loading, {"path": text})


def _from_folder(
    folder: Path, kind: str, name: str, loading: Loading, facts: Mapping[str, Any]
) -> ModelSource:
    from ekipl_lab.policies import PolicySource, load_policy
    from ekipl_lab.policies.adapters import base_of, is_adapter_folder
    from ekipl_lab.policies.load import default_device
    from ekipl_lab.teachers.adapters.local import weights_fingerprint

    device = loading.device or default_device()
    policy = load_policy(str(folder), dtype=loading.dtype, device=device, base=loading.base)
    key = weights_fingerprint(str(folder))
    if is_adapter_folder(folder):
        base = str(base_of(folder, loading.base))
        kind = "adapter" if kind == "checkpoint" else kind
        facts = {**facts, "base": base}
        key += weights_fingerprint(base)
    source = PolicySource(replace(policy, id=name), id=POLICY, max_rows=loading.max_rows)
    rounded = "" if loading.dtype == "float32" else f"-{loading.dtype}"
    return ModelSource(kind, name, source, _short(key) + rounded, {**facts, "dtype": loading.dtype})


def _download(repo: str, revision: str | None) -> tuple[Path, dict[str, Any]]:
    """The local snapshot of a hub model; taken from the hub's cache where it is there."""
    from huggingface_hub import snapshot_download

    try:
        path = snapshot_download(repo, revision=revision, allow_patterns=list(HUB_FILES))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no answer"
        raise ConfigError(
            f"There is no folder {repo!r}, and no model of that name comes from the hub "
            f"({type(error).__name__}: {reason}); give the folder of a checkpoint or a hub id."
        ) from error
    return Path(path), {"repo": repo, "revision": Path(path).name}


def _logged_model(text: str, loading: Loading) -> ModelSource:
    """A checkpoint that a run logged, through ``ekipl_lab.tracking``."""
    from ekipl_lab import tracking

    if text.startswith(MODELS):
        found = tracking.find_checkpoint(text.removeprefix(MODELS))
    else:
        run_id, _, choice = text.removeprefix(MLFLOW).partition("@")
        found = _chosen(tracking.find_run(run_id).run_id, choice)
    run = tracking.find_run(found.run_id)
    facts = {
        "run": run.run_id,
        "run_name": run.name,
        "checkpoint": found.id,
        "step": found.step,
        "asked": text,
    }
    name = f"{run.name}-step-{found.step}"
    return _from_folder(found.folder(), "mlflow", name, loading, facts)


def trained_on(text: str, benchmark: str) -> Mapping[str, Any]:
    """The data settings of the run behind ``mlflow:`` or ``models:/``, and the bounds of its
    pictures (``min_pixels``, ``max_pixels``); none if unknown.

    Also none where it was trained on another benchmark. Raises what ``open_model_source`` raises.
    """
    from ekipl_lab import tracking

    if text.startswith(MODELS):
        run_id = tracking.find_checkpoint(text.removeprefix(MODELS)).run_id
    elif text.startswith(MLFLOW):
        run_id = text.removeprefix(MLFLOW).partition("@")[0]
    else:
        return {}
    try:
        config = tracking.read_config(tracking.find_run(run_id).run_id)
        data: Mapping[str, Any] = config["data"]
    except (MissingData, KeyError):
        return {}
    if not _same_data(str(data.get("benchmark")), benchmark):
        return {}
    policy = config.get("policy", {})
    return {**data, **{name: policy.get(name) for name in ("min_pixels", "max_pixels")}}


def _same_data(one: str, other: str) -> bool:
    """Whether two names of a benchmark mean the same: a file may be named from several places."""
    return one == other or (Path(one).exists() and Path(one).resolve() == Path(other).resolve())


def _chosen(run_id: str, choice: str) -> LoggedCheckpoint:
    """A checkpoint of a run: the last, that of a step, or the best by a metric."""
    from ekipl_lab import tracking

    rows = tracking.list_checkpoints(run_id)
    if not rows:
        raise DataError(f"Run {run_id} has no checkpoint; it may have ended before the first.")
    if not choice:
        return rows[-1]
    if choice.isdigit():
        by_step = {row.step: row for row in rows}
        if int(choice) in by_step:
            return by_step[int(choice)]
        steps = ", ".join(map(str, by_step))
        raise DataError(f"Run {run_id} has no checkpoint of step {choice}; there are {steps}.")
    if not choice.startswith("best:"):
        raise ConfigError(f"After @ comes a step or best:METRIC, not {choice!r}.")
    metric = choice.removeprefix("best:")
    if best := tracking.list_checkpoints(run_id, order_by=metric):
        return best[0]
    known = {name for row in rows for name in row.metrics}
    raise unknown_name(f"metric of the checkpoints of run {run_id}", metric, known)


def _teacher(text: str, samples: Sequence[Sample], scenes: bool) -> ModelSource:
    from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, write_chain
    from ekipl_lab.teachers.adapters.random import RandomSpec, pool_of
    from ekipl_lab.teachers.build import EnsembleSpec, build_teachers

    path, _, wanted = text.partition("#")
    spec = _spec(Path(path), wanted)
    (source,) = build_teachers(
        [spec],
        write_chain if scenes else None,
        styles=CHAIN_STYLES if scenes else (),
        pool=pool_of(samples),
    )
    settings = spec.model_dump(mode="json")
    facts = {"file": path, "spec": settings, "seed": spec.resolved_seed}
    key = repr(sorted(settings.items())) + spec.fingerprint()
    members = spec.members if isinstance(spec, EnsembleSpec) else (spec,)
    if any(isinstance(member, RandomSpec) and not member.answers for member in members):
        key += repr([(sample.task, sample.family, sample.answer) for sample in samples])
    return ModelSource("teacher", spec.id, source, _short(key), facts)


def _spec(path: Path, wanted: str) -> TeacherSpec:
    """The teacher named ``wanted`` (or the only one) of a YAML file."""
    from ekipl_lab.teachers.build import teacher_spec

    if not path.is_file():
        raise ConfigError(f"Teacher file {path} does not exist; give a run's config and #ID.")
    raw = load_yaml(path)
    listed = raw.get("teachers") if isinstance(raw, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ConfigError(f"{path} holds no list of `teachers:`.")
    specs = {spec.id: spec for spec in map(teacher_spec, listed)}
    if not wanted and len(specs) == 1:
        return next(iter(specs.values()))
    if wanted not in specs:
        raise unknown_name(f"teacher of {path}", wanted or "(none given)", specs)
    return specs[wanted]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
