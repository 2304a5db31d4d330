"""One heat map per policy state and teacher: does the expected update point uphill?"""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ekipl_lab.biaslab.report import Results
from ekipl_lab.biaslab.study import SELECTIONS, TEACHERS, WEIGHTS, Condition, Estimator, success
from ekipl_lab.biaslab.toy import STATES

#: Orange downhill, white across, blue uphill: apart for every kind of colour vision.
COLOURS = [[0.0, "#D55E00"], [0.5, "#FFFFFF"], [1.0, "#0072B2"]]
COLOUR_AXIS = {"colorscale": COLOURS, "cmin": -1, "cmax": 1, "colorbar": {"title": "cosine"}}


def cosine_figure(results: Results, reward: str) -> go.Figure:
    """Cosine with the exact gradient as colour, scale as text; ratio 1, the kept group's A."""
    titles = [
        f"policy right {success(state):.1%}, teacher {teacher:.0%}"
        for teacher in TEACHERS
        for state in STATES
    ]
    figure = make_subplots(
        rows=len(TEACHERS),
        cols=len(STATES),
        subplot_titles=titles,
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.02,
        vertical_spacing=0.06,
    )
    for row, teacher in enumerate(TEACHERS, start=1):
        for column, state in enumerate(STATES, start=1):
            shown = panel(results, Condition(reward, state, teacher))
            figure.add_trace(shown, row=row, col=column)
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(tickangle=-40)
    figure.update_layout(
        title=f"Expected update against the exact gradient (reward: {reward}); colour: cosine, "
        "number: scale",
        coloraxis=COLOUR_AXIS,
        width=1250,
        height=1000,
        margin={"l": 150, "b": 150},
        template="plotly_white",
        font={"size": 12},
    )
    return figure


def panel(results: Results, condition: Condition) -> go.Heatmap:
    """Selections x weightings in one condition; colour by the layout's ``coloraxis``."""
    found = [
        [
            results.find(condition, Estimator(rule.label, "policy_ratio" if own else weight.label))
            for weight in WEIGHTS
        ]
        for rule in SELECTIONS
        for own in [rule.rule == "policy_only"]
    ]
    return go.Heatmap(
        x=[weight.label for weight in WEIGHTS],
        y=[rule.label for rule in SELECTIONS],
        z=[[m.cosine for m in row] for row in found],
        text=[[f"{m.scale:.2g}" for m in row] for row in found],
        texttemplate="%{text}",
        hovertemplate="%{y}, %{x}<br>cosine %{z:.3f}, scale %{text}<extra></extra>",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )
