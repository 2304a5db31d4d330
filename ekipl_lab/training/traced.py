"""What a finished run shows as traces in MLflow: some groups as trained on, some items measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ekipl_lab import records as group_records
from ekipl_lab.evaluation import read_records
from ekipl_lab.images import png_uri
from ekipl_lab.records import RecordedGroup
from ekipl_lab.tracking import RunLog, find_run
from ekipl_lab.tracking.traces import TracedAnswer, TracedPrompt, log_traces
from ekipl_lab.training.setup import RunSetup
from ekipl_lab.types import Action, EvalRecord, RewardBreakdown, Sample

#: Groups of the last step, and items of each evaluation set, that are shown.
SHOWN = 2
#: Tag of the run: the step whose prompts are shown.
TRACED_TAG = "ekipl.traced_step"
#: Pixels of the longer side of a picture: smaller ones are drawn larger, larger ones smaller.
_SIDE = 224


def log_some(setup: RunSetup, log: RunLog, step: int) -> None:
    """Log them once for a step."""
    if find_run(log.run_id).tags.get(TRACED_TAG) == str(step):
        return
    samples = {sample.id: sample for sample in setup.samples}
    folder = log.folder("groups")
    steps = group_records.list_steps(folder)
    prompts = [
        _group(group, samples[group.sample_id])
        for last in steps[-1:]
        for group in group_records.load_groups(folder, last, limit=SHOWN)
        if group.sample_id in samples
    ]
    for label, items in setup.sets.items():
        path = setup.run.folder / "evaluation" / label / f"step-{step:06d}.parquet"
        prompts += _items(label, step, items, path)
    log_traces(log, prompts)
    log.set_tags({TRACED_TAG: str(step)})


def _group(group: RecordedGroup, sample: Sample) -> TracedPrompt:
    held = dict(zip(group.kept, group.advantages, strict=True))
    answers = [
        _answer(action, reward, {"kept": index in held, "advantage": held.get(index)})
        for index, (action, reward) in enumerate(zip(group.candidates, group.rewards, strict=True))
    ]
    return _prompt(f"group, step {group.step}", sample, answers)


def _items(label: str, step: int, samples: Iterable[Sample], path: Path) -> list[TracedPrompt]:
    """The first items of a set, their greedy answer first; none where nothing was measured."""
    by_id: dict[str, list[EvalRecord]] = {}
    for record in sorted(read_records(path) if path.is_file() else [], key=lambda r: r.mode):
        by_id.setdefault(record.sample_id, []).append(record)
    known = [sample for sample in samples if sample.id in by_id][:SHOWN]
    return [
        _prompt(
            f"{label}, step {step}",
            sample,
            [
                _answer(action, reward, {"mode": record.mode})
                for record in by_id[sample.id]
                for action, reward in list(zip(record.actions, record.rewards, strict=True))[:3]
            ],
        )
        for sample in known
    ]


def _answer(action: Action, reward: RewardBreakdown, facts: Mapping[str, Any]) -> TracedAnswer:
    earned = {**reward.components, "total": reward.total}
    known = {name: value for name, value in facts.items() if value is not None}
    known |= {"answer": reward.extracted_answer or "none", "right": str(reward.success)}
    return TracedAnswer(action.source, action.completion, earned, known)


def _prompt(name: str, sample: Sample, answers: list[TracedAnswer]) -> TracedPrompt:
    pictures = [png_uri(_shown(image)) for image in sample.images]
    return TracedPrompt(name, sample.id, sample.question, sample.answer, pictures, answers)


def _shown(image: Image.Image) -> Image.Image:
    factor = _SIDE / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BICUBIC)
