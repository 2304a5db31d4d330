"""A group by hand: pools of known outcome, every rule on one pool, what a teacher token weighs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go
import torch

from ekipl_lab.biaslab.figure import COLOUR_AXIS, COLOURS, panel
from ekipl_lab.biaslab.report import Results, from_json
from ekipl_lab.biaslab.study import TEACHERS, Condition, success
from ekipl_lab.biaslab.toy import STATES
from ekipl_lab.groups.advantages import BASELINES, SPREADS
from ekipl_lab.groups.build import build_group
from ekipl_lab.groups.weighting import WEIGHTINGS, get_weighting, objective
from ekipl_lab.tracking.store import project_root
from ekipl_lab.types import POLICY, Action, ActionGroup, RewardBreakdown, Sample


@dataclass(frozen=True)
class Pool:
    """The candidates of one prompt, the policy's first, and their rewards; G are kept."""

    sample: Sample
    actions: tuple[Action, ...]
    rewards: tuple[RewardBreakdown, ...]

    @property
    def labels(self) -> list[str]:
        """A name for each candidate: its place, its source, whether it is right."""
        marks = {True: "right", False: "wrong", None: "not scored"}
        pairs = zip(self.actions, self.rewards, strict=True)
        return [f"{i + 1} {a.source}, {marks[r.success]}" for i, (a, r) in enumerate(pairs)]

    def group(self, rule: str = "top_g", **options: Any) -> ActionGroup:
        """What training would make of it, by the trainer's own function."""
        size = sum(action.source == POLICY for action in self.actions)
        return build_group(
            self.sample, self.actions, self.rewards, rule=rule, group_size=size, **options
        )


@dataclass(frozen=True)
class Rule:
    """A selection rule and its parameters."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)


#: Every rule that a config can name, and the smallest fix of the paper's.
RULES: dict[str, Rule] = {
    "policy_only (GRPO)": Rule("policy_only"),
    "top_g (Vision-EKIPL)": Rule("top_g"),
    "top_g, keep_failures=1": Rule("top_g", {"keep_failures": 1}),
    "max_variance": Rule("max_variance"),
    "quota (LUFFY)": Rule("quota"),
    "on_failure": Rule("on_failure"),
}


def pool_of_outcomes(
    right: int, *, policy: int = 8, teacher: Sequence[bool] = (True, False)
) -> Pool:
    """``right`` of ``policy`` actions are right, the teacher's as given; all are well formed."""
    outcomes = [(POLICY, place < right) for place in range(policy)]
    outcomes += [("teacher", good) for good in teacher]
    weights = {"accuracy": 1.0, "format": 1.0}
    return Pool(
        Sample("by-hand", "toy", "train", (), "?", "0", "number"),
        tuple(Action("", source, "by hand") for source, _ in outcomes),
        tuple(
            RewardBreakdown({"accuracy": float(good), "format": 1.0}, weights, good)
            for _, good in outcomes
        ),
    )


def under_every_rule(pool: Pool) -> dict[str, ActionGroup]:
    """The group of each rule in ``RULES``."""
    return {label: pool.group(rule.name, **rule.params) for label, rule in RULES.items()}


def under_every_baseline(pool: Pool, rule: str = "top_g") -> dict[str, ActionGroup]:
    """The group of each baseline and spread, under one rule."""
    return {
        f"baseline {baseline}, spread {spread}": pool.group(
            rule, baseline=baseline, scale_rewards=spread
        )
        for baseline in BASELINES
        for spread in SPREADS
    }


def advantage_map(pool: Pool, groups: Mapping[str, ActionGroup], title: str) -> go.Figure:
    """Groups by candidates: colour and number are the advantage, blank is dropped."""
    values = [
        [found.get(i) for i in range(len(pool.actions))]
        for g in groups.values()
        for found in [{i: round(a, 3) for i, a in zip(g.kept, g.advantages, strict=True)}]
    ]
    heat = go.Heatmap(
        x=pool.labels,
        y=list(groups),
        z=values,
        text=[["" if value is None else f"{value:+.2f}" for value in row] for row in values],
        texttemplate="%{text}",
        hovertemplate="%{y}<br>%{x}: %{z:.3f}<extra></extra>",
        colorscale=COLOURS,
        zmin=-2.5,
        zmax=2.5,
        colorbar={"title": "advantage"},
        xgap=2,
        ygap=2,
    )
    height = 190 + 34 * len(groups)
    figure = go.Figure(heat, {"title": title, "height": height, "template": "plotly_white"})
    figure.update_layout(margin={"l": 10, "r": 10, "t": 60, "b": 10}, plot_bgcolor="#F1F3F4")
    figure.update_xaxes(automargin=True, tickangle=-40, showgrid=False)
    return figure.update_yaxes(automargin=True, autorange="reversed", showgrid=False)


def with_slider(figures: Mapping[str, go.Figure], label: str, start: str = "") -> go.Figure:
    """One figure whose slider shows the data of one of several; they share the layout.

    ``start`` names the one that is shown first, and in pictures; default: the first.
    """
    names = list(figures)
    first = names.index(start) if start else 0
    joined = go.Figure(layout=figures[names[first]].layout)
    owner = [name for name, figure in figures.items() for _ in figure.data]
    for figure in figures.values():
        joined.add_traces(figure.data)
    for trace, name in zip(joined.data, owner, strict=True):
        trace.visible = name == names[first]
    steps = [
        {"method": "restyle", "label": name, "args": [{"visible": [o == name for o in owner]}]}
        for name in names
    ]
    slider = {"active": first, "steps": steps, "currentvalue": {"prefix": f"{label}: "}}
    slider |= {"pad": {"t": 100}, "yanchor": "top", "y": 0, "transition": {"duration": 0}}
    below = 150  # pixels for the slider, below the labels of the axis
    joined.update_layout(sliders=[slider], height=(joined.layout.height or 360) + below)
    return joined


def token_slopes(pi: torch.Tensor, q: float, ratio: float) -> dict[str, list[float]]:
    """Weighting -> d objective / d log pi of one teacher token of advantage 1, for each ``pi``.

    ``q`` is the teacher's own probability of the token, ``ratio`` pi / pi_old; clip range 0.2.
    """
    found = {}
    for name in WEIGHTINGS:
        logp = pi.double().log()[:, None].requires_grad_()
        old = logp.detach() - math.log(ratio)
        teacher = torch.full_like(old, q).log()
        weight = get_weighting(name)(logp, old, teacher, torch.ones_like(old))
        total = objective(weight, torch.ones_like(old), 0.2, 0.2).sum()
        (slope,) = torch.autograd.grad(total, logp)
        found[name] = slope[:, 0].tolist()
    return found


def slope_figure(q: float, ratio: float) -> go.Figure:
    """The slopes of all weightings over pi; policy_ratio at ratio 1 is a flat 1."""
    pi = torch.logspace(-4, -0.01, 40)
    figure = go.Figure(layout={"template": "plotly_white", "height": 400})
    places = [round(x, 5) for x in pi.tolist()]
    for name, slopes in token_slopes(pi, q, ratio).items():
        figure.add_scatter(x=places, y=[round(y, 4) for y in slopes], name=name, mode="lines")
    figure.update_xaxes(type="log", title="pi, the policy's probability of the teacher's token")
    figure.update_yaxes(title="pull on log pi (advantage 1)", range=[-0.1, 3.1])
    return figure


def bias_figures(reward: str = "binary") -> dict[str, go.Figure]:
    """The committed bias lab, a figure per policy state and teacher (docs/bias_lab.md)."""
    path = project_root() / "results" / "bias_lab" / "table.json"
    results: Results = from_json(path.read_text(encoding="utf-8"))
    figures = {}
    for state in STATES:
        for accuracy in TEACHERS:
            figure = go.Figure(panel(results, Condition(reward, state, accuracy)))
            figure.update_layout(
                title="Colour: does the expected update point uphill? Number: how far",
                coloraxis=COLOUR_AXIS,
                template="plotly_white",
                height=480,
            )
            figure.update_yaxes(autorange="reversed", automargin=True)
            name = f"policy right {success(state):.1%}, teacher {accuracy:.0%}"
            figures[name] = figure.update_xaxes(tickangle=-30, automargin=True)
    return figures


def teacher_share(group: ActionGroup) -> float | None:
    """The teachers' part of all |advantage| of a group; None where nothing is learned."""
    pulls = [abs(advantage) for advantage in group.advantages]
    teachers = [group.candidates[i].source != POLICY for i in group.kept]
    whole = sum(pulls)
    part = sum(pull for pull, is_teacher in zip(pulls, teachers, strict=True) if is_teacher)
    return part / whole if whole else None
