"""The one table of training's metrics: name, meaning, and where each is drawn.

What a step logs (`groups.diagnostics`, the trainer) has its entry here, and figures take titles,
axes and grouping from it. Adding one: docs/extend/metric.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

Place = Literal["sources", "report", "live"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of training as it is logged.

    ``name`` may hold ``{own}`` (policy, kept, teacher/<id>), ``{source}`` (policy or a teacher's
    id) and ``{any}``. ``places``: ``sources`` is the page of figures of each run, ``report`` the
    report, ``live`` the progress line and a notebook's curves. ``form`` is how it is drawn: a line
    or a stacked area for each source, or an axis that the report draws accuracy against.
    """

    name: str
    meaning: str
    title: str = ""
    unit: str = ""
    form: Literal["lines", "shares", "axis", ""] = ""
    places: tuple[Place, ...] = ()
    report_title: str = ""

    def of(self, source: str) -> str:
        """The name it is logged under for policy, kept or a teacher's id."""
        own = source if source in ("policy", "kept") else f"teacher/{source}"
        return self.name.format(source=source, own=own, any="")


def _source(name: str, meaning: str, title: str, unit: str, *places: Place) -> Metric:
    """A line for each source on the page of figures."""
    return Metric(name, meaning, title, unit, "lines", ("sources", *places))


def _share(name: str, meaning: str, title: str, *places: Place) -> Metric:
    return Metric(f"share/{{source}}/{name}", meaning, title, "share", "shares", places)


def _spread(when: str, meaning: str, *places: Place) -> Metric:
    name, title = f"groups/zero_spread_{when}", "groups that teach nothing"
    return Metric(name, meaning, title, "share of groups", "", ("sources", "report", *places))


def _report(name: str, meaning: str, title: str = "", form: Literal["axis", ""] = "") -> Metric:
    """Read by the report; with a title it is a cost, with a form one to draw accuracy against."""
    return Metric(name, meaning, title, "", form, ("report",))


def _cost(axis: str, title: str, form: Literal["axis", ""] = "") -> Metric:
    return _report(f"cost/{axis}", f"{title}, so far", title, form)


_KEPT = "share of each source among the kept actions of a step"
_CANDIDATES = "share of each source among the candidates of a step"
_REWARD = "mean total reward of all candidates of each source, and of what was kept"
_BEFORE = "share of groups whose policy actions all have one reward"
_AFTER = "share of groups whose kept rewards are all equal: they have no advantage"
_REFUSED = "teacher actions that the policy could not have written, by reason"

#: Key -> metric. `_source` takes name, meaning, title, unit, and places beside the page of figures.
#: What supervised steps log in place of ``seconds/step``.
SUPERVISED_SECONDS = "cost/seconds"

METRICS: dict[str, Metric] = {
    "reward": _source("{own}/reward", _REWARD, "reward of candidates", "reward", "report", "live"),
    "accuracy": _source("{own}/accuracy", "candidates that are right", "right candidates", "share"),
    "share_candidates": _share("candidates", _CANDIDATES, "candidates by source", "sources"),
    "share_kept": replace(
        _share("kept", _KEPT, "kept actions by source", "sources", "report", "live"),
        report_title="who wrote what is trained on",
    ),
    "zero_spread_before": _spread("before", _BEFORE),
    "zero_spread": _spread("after", _AFTER, "live"),
    "zero_cause": _report("groups/zero_{any}", "share of groups without spread, by reason"),
    "advantage": _source(
        "advantage/{source}/abs_sum", "sum of |A| over kept actions", "advantage held", "sum of |A|"
    ),
    "gradient": _source(
        "gradient/{source}/norm",
        "gradient norm of a source's rows alone",
        "gradient by source",
        "norm",
    ),
    "weight": _source(
        "tokens/{source}/mean_weight", "mean weight of kept tokens", "weight of tokens", "weight"
    ),
    "max_weight": _source(
        "tokens/{source}/max_weight", "largest of a kept token", "largest weight", "weight"
    ),
    "effective": _source(
        "tokens/{source}/effective_share",
        "effective sample size of kept tokens, as a share",
        "effective sample size",
        "(sum w)² / (n sum w²)",
    ),
    "clipped": _source(
        "tokens/{source}/clipped",
        "kept tokens that the clip leaves without slope",
        "clipped tokens",
        "share",
    ),
    "logp": _source(
        "tokens/{source}/mean_logp", "mean log pi of kept tokens", "likelihood of tokens", "log pi"
    ),
    "kl": _source(
        "tokens/{source}/kl",
        "KL to the reference where beta is not 0",
        "KL to the reference",
        "per token",
    ),
    "length": _source(
        "length/{source}", "tokens of candidates, EOS included", "length", "mean tokens"
    ),
    "tokens": _source(
        "teacher/{source}/tokens", "tokens of all it gave", "tokens written by teachers", "per step"
    ),
    "usd": _source(
        "teacher/{source}/usd",
        "price of the actions used, cached or not",
        "price of the teacher actions used",
        "USD per step",
    ),
    "paid": _source(
        "teacher/{source}/cost_usd",
        "paid to a teacher's provider",
        "paid to teachers",
        "USD per step",
    ),
    "cached": _source(
        "teacher/{source}/cached",
        "actions that were not bought again",
        "answers from the cache",
        "share",
    ),
    "latency": _source(
        "teacher/{source}/latency", "mean seconds per action", "latency of teachers", "seconds"
    ),
    "actions": _report("teacher/{source}/actions", "actions that a teacher gave"),
    "refused": _report("teacher/{source}/refused/{any}", _REFUSED),
    "policy_completions": _cost("policy_completions", "policy completions sampled", "axis"),
    "policy_tokens": _cost("policy_tokens", "tokens generated by the policy", "axis"),
    "trained_tokens": _cost("trained_tokens", "tokens trained on"),
    "teacher_actions": _cost("teacher_actions", "teacher actions given", "axis"),
    "teacher_tokens": _cost("teacher_tokens", "tokens written by teachers"),
    "teacher_paid_usd": _cost("teacher_paid_usd", "money paid to teachers (USD)"),
    "teacher_usd": _cost("teacher_usd", "price of the teacher actions used, cached or not (USD)"),
    "seconds": _report(
        "seconds/step", "wall time of a step", "training time (s), evaluation left out", "axis"
    ),
    "supervised_seconds": _report(SUPERVISED_SECONDS, "wall time of supervised steps, so far"),
}


def drawn(place: Place, form: str) -> dict[str, Metric]:
    """The metrics that a place draws in a form, in the order of the table."""
    return {key: m for key, m in METRICS.items() if place in m.places and m.form == form}


def live_panels(teachers: Sequence[str] = ()) -> dict[str, list[str]]:
    """What progress and live curves follow: title of a panel -> the names it shows.

    Shares are those of the policy and of each teacher (their ids); other figures of sources those
    of the policy and of what is kept.
    """
    shown = [metric for metric in METRICS.values() if "live" in metric.places]
    beside = {"shares": teachers, "lines": ["kept"]}
    return {
        metric.title: [metric.of(source) for source in ("policy", *beside.get(metric.form, ()))]
        for metric in shown
    }


def overview(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Of what a step logged the few that tell most, under names that MLflow's charts begin with.

    MLflow sorts the sections of a run's charts by the part of a name before its last slash.
    """
    found = {}
    for pattern, title in _OVERVIEW:
        for name, value in metrics.items():
            match = re.fullmatch(pattern, name)
            if match and value is not None:
                found[f"Overview/{match.expand(title)}"] = value
    return found


#: Titles as short as a chart of three in a row shows them.
_OVERVIEW = (
    (r"eval/([^/]+)/accuracy_greedy", r"1 greedy \1"),
    (r"eval/([^/]+)/pass_at_1", r"2 sampled \1"),
    (r"policy/accuracy", "3 right in training"),
    (r"kept/reward", "4 reward of kept"),
    (r"groups/zero_spread_after", "5 taught nothing"),
)


def in_report(name: str) -> bool:
    """Whether the report reads the history of a logged metric; others stay in MLflow."""
    return any("report" in m.places and _pattern(m.name).fullmatch(name) for m in METRICS.values())


@lru_cache(maxsize=256)
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(name.format(own="(policy|kept|teacher/.+)", source=".+", any=r"\w+"))
