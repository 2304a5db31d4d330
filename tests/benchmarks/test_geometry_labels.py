"""Labels of geometry figures stand free: on no line, inside the border, each in its sector."""

import numpy as np
import pytest

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.mini.geometry import render
from ekipl_lab.benchmarks.mini.geometry.figure import UNITS, figure_from_json, written
from ekipl_lab.benchmarks.mini.geometry.strokes import HALO, label

SIZE = 448


def figures(split, count=120, seed=5):
    for sample in load_samples("mini", task="geometry", split=split, limit=count, seed=seed):
        yield sample.id, figure_from_json(sample.metadata["scene"])


def boxes(figure):
    """Each label's outline as (mask, left, top) in pixels."""
    height = round(figure.height * SIZE / (UNITS * 10))
    for item in figure.labels:
        mask = np.asarray(label(written(item.text, figure.degrees), height, HALO)) > 0
        left = round(item.x * SIZE / (UNITS * 10) - mask.shape[1] / 2)
        top = round(item.y * SIZE / (UNITS * 10) - mask.shape[0] / 2)
        yield mask, left, top


@pytest.mark.parametrize("split", ["train", "validation", "test_ood"])
def test_no_label_lies_on_a_line_or_sticks_out(split):
    for name, figure in figures(split):
        lines = np.asarray(render._lines(figure, SIZE)) > 0
        for mask, left, top in boxes(figure):
            assert left >= 0 and top >= 0, name
            part = lines[top : top + mask.shape[0], left : left + mask.shape[1]]
            assert part.shape == mask.shape, name
            assert not (part & mask).any(), name


@pytest.mark.parametrize("split", ["train", "test_ood"])
def test_every_angle_of_a_line_has_its_label_in_its_own_sector(split):
    """Around a vertex, labels and rays alternate."""
    for name, figure in figures(split, count=200):
        if figure.kind not in ("line", "point"):
            continue
        (x, y), *_ = figure.thick[0]
        rays = sorted(np.arctan2(line[-1][1] - y, line[-1][0] - x) for line in figure.thick)
        angles = [np.arctan2(item.y - y, item.x - x) for item in figure.labels]
        sectors = [int(np.searchsorted(rays, angle)) % len(rays) for angle in angles]
        assert len(set(sectors)) == len(sectors), name
