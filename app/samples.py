"""The sample of a recorded group, with its pictures where they are at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from app.words import said
from ekipl_lab.errors import DataError, EKIPLError
from ekipl_lab.notebook.face import rebuild_sample
from ekipl_lab.records import RecordedGroup
from ekipl_lab.types import Sample


def find_sample(config: Mapping[str, Any], record: RecordedGroup) -> Sample:
    """The recorded sample; without pictures where only its text was kept (`why_no_picture`).

    A sample of the built-in benchmark is drawn again; others are read from the run's data.
    """
    if not record.sample_id.startswith("mini/"):
        try:
            sample = trained_on(config).get(record.sample_id)
        except EKIPLError:
            sample = None
        if sample and (sample.question, sample.answer) == (record.question, record.answer):
            return sample
    return rebuild_sample(record, config.get("data", {}).get("image_size"))


def opened(sample: Sample) -> tuple[Sample, str]:
    """The sample to be shown, and "", or without pictures and why they cannot be read."""
    try:
        return replace(sample, images=tuple(sample.images)), ""
    except DataError as error:
        return replace(sample, images=()), f"No picture: {said(error)}"


def why_no_picture(config: Mapping[str, Any], sample: Sample) -> str:
    """Why a recorded sample is shown without pictures, in one sentence."""
    if sample.id.startswith("mini/"):
        return "No picture: the benchmark has changed since this was recorded."
    try:
        found = trained_on(config).get(sample.id)
    except EKIPLError as error:
        return f"No picture: the run's data are not at hand. {said(error)}"
    name = config.get("data", {}).get("benchmark", "the benchmark")
    what = "has another text for this sample now" if found else "no longer holds this sample"
    return f"No picture: {name} {what}, so the picture may be another one."


def trained_on(config: Mapping[str, Any]) -> dict[str, Sample]:
    """Id -> training sample of a run; raises where its data cannot be read."""
    from ekipl_lab.training.config.run_config import parse_config

    return _samples(parse_config(config).model_dump_json())


@lru_cache(maxsize=4)
def _samples(settings: str) -> dict[str, Sample]:
    """As `trained_on`, kept: data are read once. Pictures are opened when looked at."""
    from ekipl_lab.training.config.run_config import RunConfig
    from ekipl_lab.training.run_data import load_training_samples

    samples = load_training_samples(RunConfig.model_validate_json(settings))
    return {sample.id: sample for sample in samples}
