"""Actions and rewards as plain values and back: the one codec of records, evaluations and caches.

Rows hold what JSON and Parquet take alike; whoever writes one may add fields of its own beside
these, which reading passes over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from ekipl_lab.types import Action, RewardBreakdown, Usage

_ACTION = tuple(field.name for field in fields(Action))
_REWARD = tuple(field.name for field in fields(RewardBreakdown))


def action_row(action: Action) -> dict[str, Any]:
    """The fields of an Action; its usage as a dict."""
    row = {name: getattr(action, name) for name in _ACTION}
    return row | {"usage": None if action.usage is None else asdict(action.usage)}


def action_of(row: Mapping[str, Any]) -> Action:
    """The Action of such a row; KeyError or TypeError if it is not one."""
    values = {name: row[name] for name in _ACTION}
    for name in ("token_ids", "logprobs"):
        values[name] = None if row[name] is None else tuple(row[name])
    values["usage"] = None if row["usage"] is None else Usage(**row["usage"])
    return Action(**values)


def reward_row(reward: RewardBreakdown) -> dict[str, Any]:
    """The fields of a RewardBreakdown and its total."""
    row = {name: getattr(reward, name) for name in _REWARD}
    own = {"components": dict(reward.components), "weights": dict(reward.weights)}
    return row | own | {"total": reward.total}


def reward_of(row: Mapping[str, Any]) -> RewardBreakdown:
    """The RewardBreakdown of such a row; its total is computed again, not read."""
    values = {name: row[name] for name in _REWARD}
    own = {"components": dict(row["components"]), "weights": dict(row["weights"])}
    return RewardBreakdown(**values | own)
