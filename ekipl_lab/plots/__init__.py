"""Plotly figures from plain values: for the report, notebooks and the app alike."""
