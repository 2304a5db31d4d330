"""Single prompts as traces in MLflow: the picture, every answer, and what each earned."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ekipl_lab.secrets import refuse_secrets
from ekipl_lab.tracking import store
from ekipl_lab.tracking.runlog import RunLog


@dataclass(frozen=True, slots=True)
class TracedAnswer:
    """One answer to a prompt; ``reward`` are its components, ``facts`` such as kept, advantage."""

    source: str
    completion: str
    reward: Mapping[str, float | None]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TracedPrompt:
    """A prompt with all answers to it; ``images`` are data URIs, ``name`` the trace's."""

    name: str
    sample_id: str
    question: str
    answer: str
    images: Sequence[str]
    answers: Sequence[TracedAnswer]


def log_traces(run: RunLog, prompts: Sequence[TracedPrompt]) -> None:
    """Log them to the run's experiment, linked to the run: a span an answer, one for its reward."""
    refuse_secrets("a trace", repr(prompts))
    import mlflow

    before = {name: os.environ.get(name) for name in (_ASYNC, _IDS, _URI)}
    os.environ[_ASYNC] = "false"  # in this thread, so that the run does not end before them
    os.environ[_IDS] = "true"  # not from Python's random state: two runs of one seed had equal ids
    mlflow.set_tracking_uri(store.tracking_uri())  # it sets the variable too
    try:
        for prompt in prompts:
            _log(run, prompt)
    finally:
        mlflow.set_tracking_uri(None)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


_ASYNC, _URI = "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "MLFLOW_TRACKING_URI"
_IDS = "MLFLOW_TRACE_USE_ISOLATED_RANDOM_ID_GENERATOR"


def _log(run: RunLog, prompt: TracedPrompt) -> None:
    from mlflow import start_span_no_context

    pictures = [{"type": "image_url", "image_url": {"url": uri}} for uri in prompt.images]
    content = [*pictures, {"type": "text", "text": prompt.question}]
    root = start_span_no_context(
        prompt.name,
        span_type="CHAIN",
        inputs={"messages": [{"role": "user", "content": content}]},
        tags={"ekipl.sample": prompt.sample_id},
        metadata={"mlflow.sourceRun": run.run_id},
        experiment_id=run.experiment_id,
    )
    for number, one in enumerate(prompt.answers, 1):
        own = start_span_no_context(
            f"{one.source} {number}", span_type="LLM", parent_span=root, attributes=dict(one.facts)
        )
        reward = start_span_no_context("reward", span_type="EVALUATOR", parent_span=own)
        reward.end(outputs=dict(one.reward))
        own.end(outputs=one.completion)
    root.end(outputs={"true answer": prompt.answer})
