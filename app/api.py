"""Endpoints for programs: the same functions that the page uses, as plain JSON.

client = gradio_client.Client("http://127.0.0.1:7860")
client.predict("", "start", "mini/counting/test/s0/count_pair/000000", 0, api_name="/live_group")
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio as gr

from app import items, live, runs, views
from app.group import describe_group, describe_sample
from ekipl_lab import benchmarks
from ekipl_lab.errors import EKIPLError


def list_runs() -> list[dict[str, Any]]:
    """Runs, latest first, each with its checkpoints and the steps that have records."""
    return [
        asdict(run)
        | {"checkpoints": runs.list_checkpoints(run.id), "steps": runs.list_steps(run.id)}
        for run in runs.list_runs()
    ]


def get_item(task: str, split: str, family: str, number: int) -> dict[str, Any]:
    """One benchmark item without its image."""
    return describe_sample(_checked(items.item_at, task, split, family, int(number)))


def live_group(run: str, checkpoint: str, item: str, draw: int) -> dict[str, Any]:
    """Sample the checkpoint, ask the teachers, select: the group as JSON."""
    sample = _checked(benchmarks.load_sample, item)
    made = _checked(live.live_group, run, checkpoint, sample, int(draw))
    return {**describe_group(made.group).to_json(), "note": made.note}


def recorded_group(run: str, step: int, group: int) -> dict[str, Any]:
    """A group that training recorded, as JSON."""
    found = _checked(runs.load_recorded, run, int(step), int(group))
    return describe_group(found).to_json()


def view(address: str) -> str:
    """HTML of what the page shows for an address (the part after ``?``)."""
    *_, whole = views.show(address)
    return whole


def add_endpoints() -> None:
    """Register the endpoints; call it inside ``gr.Blocks``."""
    for function in (list_runs, get_item, live_group, recorded_group, view):
        gr.api(function, api_name=function.__name__, concurrency_limit=1)


def _checked(function: Any, *arguments: Any) -> Any:
    """A user's mistake as a message of the API, anything else as it is."""
    try:
        return function(*arguments)
    except EKIPLError as error:
        raise gr.Error(str(error), print_exception=False) from error
