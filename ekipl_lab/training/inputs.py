"""What a run was begun with, as tags of its MLflow run: data, teachers' files, own code.

A run that goes on compares them. With other data it does not go on; with other code of the user's
own, or of the library, it does (a reward that failed is mended, and the run continues), says so,
and the tag ``ekipl.changed_code`` keeps it for the report.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks.image_files import picture_digests
from ekipl_lab.errors import ConfigError
from ekipl_lab.files import SUMS
from ekipl_lab.rewards.own import code_of
from ekipl_lab.teachers.adapters.local import LocalSpec
from ekipl_lab.teachers.adapters.python import PythonSpec
from ekipl_lab.teachers.adapters.replay import ReplaySpec
from ekipl_lab.teachers.build import EnsembleSpec
from ekipl_lab.teachers.spec import TeacherSpecBase
from ekipl_lab.tracking import RunLog, find_run
from ekipl_lab.tracking.provenance import git_tags
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.paths import policy_path
from ekipl_lab.types import Sample

#: What of a sample's metadata its score or its prompt depends on.
_JUDGED_BY = ("tolerance", "unit", "iou", "bare_prompt")
_REVISION = "ekipl.git_revision"
#: Tag: what code changed while the run was stopped, in words.
CHANGED_CODE = "ekipl.changed_code"

#: Tag: digest of the policy that a run starts from.
START_POLICY = "ekipl.start_policy"

Sets = Mapping[str, Sequence[Sample]]


def fingerprint(samples: Sequence[Sample]) -> str:
    """16 hex digits over ids, questions and answers, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(repr((sample.id, sample.question, sample.answer)).encode())
    return digest.hexdigest()[:16]


def shown_fingerprint(samples: Sequence[Sample]) -> str:
    """16 hex digits over all else that is shown, learned or judged by, files of pictures included.

    Pictures of the built-in benchmark are drawn from its ids.
    """
    digest = hashlib.sha256()
    for sample in samples:
        judged_by = [(name, sample.metadata.get(name)) for name in _JUDGED_BY]
        said = (sample.choices, sample.answer_type, sample.family, sample.cot, judged_by)
        digest.update(repr((said, picture_digests(sample))).encode())
    return digest.hexdigest()[:16]


def input_tags(config: RunConfig, sets: Sets) -> dict[str, str]:
    """The tags of what a run is begun with, but for those of `RunLog.log_dataset`.

    ``sets``: context, as `RunLog.log_dataset` has it, -> samples.
    """
    shown = {f"ekipl.shown.{name}": shown_fingerprint(samples) for name, samples in sets.items()}
    return shown | file_tags(config) | start_tag(config)


def start_tag(config: RunConfig) -> dict[str, str]:
    """The tag of the policy that a run starts from: the digest of its seal, where it has one."""
    seal = Path(policy_path(config.policy.path or "")) / SUMS
    if config.policy.path is None or not seal.is_file():
        return {}
    return {START_POLICY: hashlib.sha256(seal.read_bytes()).hexdigest()[:16]}


def file_tags(config: RunConfig) -> dict[str, str]:
    """The tags of the files that teachers repeat, and of the user's own code.

    ConfigError for a file that cannot be read.
    """
    try:
        return _teacher_files(config) | _own_code(config)
    except OSError as error:
        raise ConfigError(
            f"{error.filename}, of a teacher or reward, cannot be read ({error.strerror}); fix the "
            "path, or make the file first."
        ) from error


def log_inputs(log: RunLog, config: RunConfig, sets: Sets) -> None:
    """Note in MLflow what a run is begun with, once."""
    for context, samples in sets.items():
        split = config.data.split if context == "training" else context
        name = f"{config.data.benchmark}/{config.data.task}/{split}"
        log.log_dataset(name, fingerprint(samples), context)
    log.set_tags(input_tags(config, sets))


def log_left_out(log: RunLog, left_out: Sequence[str]) -> None:
    """Note the records that ``data.on_bad_record: skip`` left out, once."""
    if left_out:
        log.log_metrics({"data/left_out": float(len(left_out))}, 0)
        log.log_text("\n".join(left_out) + "\n", "left_out.txt")


def check_inputs(note: Mapping[str, Any] | None, config: RunConfig, sets: Sets) -> None:
    """ConfigError for a run that would go on with other data than it was begun with."""
    tags = find_run(note["run_id"]).tags if note is not None else {}
    now = {f"ekipl.data.{context}": fingerprint(samples) for context, samples in sets.items()}
    if note is not None:
        now |= input_tags(config, sets)
    _refuse_other(config, tags, now)


def _refuse_other(config: RunConfig, tags: Mapping[str, str], now: Mapping[str, str]) -> None:
    for tag, digest in now.items():
        if tag.startswith("ekipl.code.") or tags.get(tag, digest).rpartition(" ")[2] == digest:
            continue
        what = tag.removeprefix("ekipl.").replace("shown.", "pictures, choices or chains of ")
        if tag == START_POLICY:
            what = f"the policy it starts from, {config.policy.path},"
        raise ConfigError(
            f"Run {config.name!r} was begun with other data: {what.replace('.', ' ')} has changed "
            "since. Put it back, or give --fresh to start anew."
        )


def check_start(note: Mapping[str, Any] | None, config: RunConfig) -> None:
    """ConfigError for a finished run that started from another policy than lies there now."""
    tags = find_run(note["run_id"]).tags if note is not None else {}
    _refuse_other(config, tags, start_tag(config))


def code_changes(note: Mapping[str, Any] | None, config: RunConfig) -> list[str]:
    """What code is not that which the run was begun with, or went on with last."""
    tags = find_run(note["run_id"]).tags if note is not None else {}
    now = _own_code(config) | {_REVISION: git_tags().get(_REVISION, "")}
    return [
        f"{_code_name(tag)} ({before[:12]} to {digest[:12]})"
        for tag, digest in now.items()
        if digest and (before := tags.get(tag, digest)) != digest
    ]


def note_code_changes(
    log: RunLog, changes: Sequence[str], config: RunConfig, say: Callable[[str], None]
) -> None:
    """Keep in the run's tags what `code_changes` found before the run was opened, and say it."""
    if changes:
        before = find_run(log.run_id).tags.get(CHANGED_CODE)
        all_changes = "; ".join([*filter(None, [before]), *changes])
        log.set_tags({CHANGED_CODE: all_changes, **_own_code(config)})
        say(f"Other code than this run was last trained with: {'; '.join(changes)}. It goes on.")


def _code_name(tag: str) -> str:
    return "revision" if tag == _REVISION else tag.removeprefix("ekipl.code.").replace(".", " ")


def _teacher_files(config: RunConfig) -> dict[str, str]:
    """Tag -> digest of what each teacher repeats (a recording) or is (weights)."""
    kinds = [(ReplaySpec, "recording"), (LocalSpec, "weights")]
    return {
        f"ekipl.{kind}.{name}": digest[:16]
        for name, spec in _teachers(config)
        for model, kind in kinds
        if isinstance(spec, model) and (digest := spec.fingerprint())
    }


def _own_code(config: RunConfig) -> dict[str, str]:
    """Tag -> digest of each file of the user's own that rewards or teachers are taken from."""
    scorers = {"reward": config.reward.scorer}
    scorers |= {f"reward.{name}": one.scorer for name, one in config.reward.extra.items()}
    digests = {
        f"teacher.{name}": spec.fingerprint()[:16]
        for name, spec in _teachers(config)
        if isinstance(spec, PythonSpec)
    }
    digests |= {name: code for name, scorer in scorers.items() if (code := code_of(scorer))}
    return {f"ekipl.code.{name}": digest for name, digest in digests.items()}


def _teachers(config: RunConfig) -> Iterator[tuple[str, TeacherSpecBase]]:
    """Name and settings of every teacher, those within ensembles too."""
    for spec in config.teachers:
        if isinstance(spec, EnsembleSpec):
            yield from ((f"{spec.id}.{member.id}", member) for member in spec.members)
        else:
            yield spec.id, spec
