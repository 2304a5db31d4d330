"""Comparisons of several runs: their cells, each a plain command."""
