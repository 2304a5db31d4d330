"""Endpoints for programs: the same functions that the page uses, as plain JSON.

client = gradio_client.Client("http://127.0.0.1:7860")
client.predict("", "start", "mini/counting/test/s0/count_pair/000000", 0, api_name="/live_group")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Any

import gradio as gr

from app import items, judging, live, recorded_groups, runs, views, votes
from app.group import describe_group, describe_sample
from app.words import said
from ekipl_lab import benchmarks
from ekipl_lab.errors import ConfigError, EKIPLError

#: Longest text and largest number that an endpoint takes.
MAX_TEXT, MAX_NUMBER = 30_000, 10**9


def list_runs() -> list[dict[str, Any]]:
    """Runs, latest first, each with its checkpoints and the steps that have records."""
    return [
        asdict(run)
        | {
            "checkpoints": runs.list_checkpoints(run.id),
            "steps": recorded_groups.list_steps(run.id),
        }
        for run in runs.list_runs()
    ]


def get_item(task: str, split: str, family: str, number: int) -> dict[str, Any]:
    """One benchmark item without its image."""
    if task not in items.list_tasks() or split not in benchmarks.SPLITS:
        raise ConfigError(f"There is no task {task!r} with a split {split!r}.")
    return describe_sample(items.item_at(task, split, family, number))


def live_group(run: str, checkpoint: str, item: str, draw: int) -> dict[str, Any]:
    """Sample the checkpoint, ask the teachers, select: the group as JSON."""
    made = live.live_group(run, checkpoint, benchmarks.load_sample(item), draw)
    return {**describe_group(made.group).to_json(), "note": made.note}


def recorded_group(run: str, step: int, group: int) -> dict[str, Any]:
    """A group that training recorded, as JSON."""
    return describe_group(recorded_groups.load_recorded(run, step, group)).to_json()


def view(address: str) -> str:
    """HTML of what the page shows for an address (the part after ``?``)."""
    *_, whole = views.show(address)
    return whole


def judge_pairs(source_a: str, source_b: str, rater: str) -> list[dict[str, Any]]:
    """The pairs of two evaluations (``run/set/step``) in the order of a rater, sides unnamed."""
    return [
        {"sample_id": pair.sample_id, "left": pair.sides[0], "right": pair.sides[1]}
        for pair in judging.pairs(source_a, source_b, rater)
    ]


def judge_vote(
    source_a: str, source_b: str, rater: str, sample_id: str, side: str, reason: str
) -> dict[str, Any]:
    """Vote ``left``, ``right``, ``tie`` or ``both_wrong`` on a pair of ``judge_pairs``."""
    return asdict(judging.vote(source_a, source_b, rater, sample_id, side, reason))


def judge_votes() -> list[dict[str, Any]]:
    """Every vote that stands."""
    return [asdict(vote) for vote in votes.read()]


def add_endpoints() -> None:
    """Register the endpoints; call it inside ``gr.Blocks``."""
    for function in (
        list_runs, get_item, live_group, recorded_group, view, judge_pairs, judge_vote, judge_votes
    ):  # fmt: skip
        gr.api(_checked(function), api_name=function.__name__, concurrency_limit=1)


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint with its values checked; a user's mistake is a message, without a traceback."""
    kinds = {name: kind for name, kind in function.__annotations__.items() if name != "return"}

    @wraps(function)
    def answer(*values: Any) -> Any:
        try:
            pairs = zip(kinds.items(), values, strict=True)
            return function(*(_value(name, kind, value) for (name, kind), value in pairs))
        except EKIPLError as error:
            raise gr.Error(said(error), print_exception=False) from error

    return answer


def _value(name: str, kind: str, value: Any) -> Any:
    """A text without null characters, or a whole number from 0; ConfigError for anything else."""
    if kind == "str":
        if not isinstance(value, str) or len(value) > MAX_TEXT or "\0" in value:
            raise ConfigError(f"{name} must be a text of at most {MAX_TEXT} characters.")
        return value
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if not whole or not 0 <= value < MAX_NUMBER or int(value) != value:
        raise ConfigError(f"{name} must be a whole number from 0 to {MAX_NUMBER - 1}.")
    return int(value)
