"""Bias lab: the estimators of the trainer against the exact gradient of a policy one can list.

``python -m ekipl_lab.biaslab --out results/bias_lab`` writes the table, its report and a figure.
In the order of use:

    toy       a tabular autoregressive policy, a verifiable reward, a teacher; the exact gradient
    groups    every group that selection can meet, through the trainer's own `build_group`
    rows      what one kept action adds to the update, through the trainer's own weightings
    measure   expected update, its bias, variance, effective sample size, groups without spread
    simulate  the same by drawing groups at random: checks the enumeration
    study     the grid, the anchors with known answers
    report    JSON and Markdown;  figure: plotly
"""
