"""Grounding answers: boxes by intersection over union, points by place.

A box is ``[left, top, right, bottom]``, a point ``[x, y]``, in one frame for answer and truth
(docs/data.md: thousandths of the picture's width and height). Round brackets, and the fence and
bold of the plain form, are read too; anything beside the brackets is no answer. Partial credit is
below 1: a box gets its IoU until that reaches the truth's ``iou``, then 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from ekipl_lab.errors import RewardError
from ekipl_lab.rewards.matchers import RIGHT, Match, Truth
from ekipl_lab.rewards.plain import MAX_ANSWER_CHARS, plain

Box = tuple[float, float, float, float]
_NUMBER = r"\s*(-?\d{1,7}(?:\.\d{1,9})?)\s*"
_GROUP = re.compile(rf"[\[(]{_NUMBER}(?:,{_NUMBER})(?:,{_NUMBER},{_NUMBER})?[\])]", re.ASCII)


def read_groups(text: str) -> list[tuple[float, ...]] | None:
    """The bracketed groups of 2 or 4 numbers that a text consists of; None for any other text."""
    text = plain(text).strip().removesuffix(".")
    if len(text) > MAX_ANSWER_CHARS:
        return None
    inner = text[1:-1].strip() if re.match(r"\[\s*[\[(]", text) and text.endswith("]") else text
    if re.sub(r"[\s,;]", "", _GROUP.sub("", inner)):
        return None
    groups = [tuple(float(n) for n in g if n) for g in _GROUP.findall(inner)]
    return groups or None


def read_boxes(text: str) -> list[Box] | None:
    """Boxes with an area; None if a group is no box or anything else stands there."""
    groups = read_groups(text) or []
    boxes = [(g[0], g[1], g[2], g[3]) for g in groups if len(g) == 4]
    proper = all(left < right and top < bottom for left, top, right, bottom in boxes)
    return boxes if boxes and proper and len(boxes) == len(groups) else None


def iou(one: Box, other: Box) -> float:
    """Area of the intersection over area of the union, 0 to 1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


def match_boxes(answer: str, truth: Truth) -> Match:
    """1 if each true box has an answer of its own with enough IoU and none is too many.

    Else the mean IoU of the best one-to-one assignment, over max(number given, number true).
    """
    given, wanted = read_boxes(answer), _true_boxes(truth)
    if given is None:
        return Match(0.0, "not boxes [left, top, right, bottom]")
    table = _assigned(given, wanted, truth.iou)
    if len(given) == len(wanted) and min(table) >= truth.iou:
        return RIGHT
    value = sum(table) / max(len(given), len(wanted))
    return Match(min(value, math.nextafter(1.0, 0.0)), f"IoU {value:.2f}, {truth.iou:g} is enough")


def match_box(answer: str, truth: Truth) -> Match:
    """As `match_boxes`, for exactly one box."""
    if len(_true_boxes(truth)) != 1:
        raise RewardError(f"the ground truth {truth.text!r} is not one box")
    if len(read_boxes(answer) or ()) > 1:
        return Match(0.0, "several boxes for one")
    return match_boxes(answer, truth)


def match_point(answer: str, truth: Truth) -> Match:
    """1 within ``tolerance`` of the true point, or inside the true box; else 0."""
    wanted, given = read_groups(truth.text), read_groups(answer)
    if wanted is None or len(wanted) != 1:
        raise RewardError(f"the ground truth {truth.text!r} is neither one point nor one box")
    goal = wanted[0]
    if given == wanted:
        return RIGHT
    if given is None or len(given) != 1 or len(given[0]) != 2:
        return Match(0.0, "not one point [x, y]")
    x, y = given[0]
    if len(goal) == 4:
        inside = goal[0] <= x <= goal[2] and goal[1] <= y <= goal[3]
        return RIGHT if inside else Match(0.0, "outside the box")
    distance = math.hypot(x - goal[0], y - goal[1])
    near = distance <= float(truth.tolerance)
    return RIGHT if near else Match(0.0, f"{distance:.0f} away, {truth.tolerance} is allowed")


def _true_boxes(truth: Truth) -> list[Box]:
    boxes = read_boxes(truth.text)
    if boxes is None:
        raise RewardError(f"the ground truth {truth.text!r} is no [left, top, right, bottom]")
    return boxes


def _assigned(given: Sequence[Box], wanted: Sequence[Box], enough: float) -> list[float]:
    """IoU of each pair of the best assignment: most pairs with ``enough``, then most IoU."""
    from scipy.optimize import linear_sum_assignment

    table = np.array([[iou(one, other) for other in wanted] for one in given])
    rows, columns = linear_sum_assignment(
        table + (table >= enough) * (1 + min(table.shape)), maximize=True
    )
    return [float(value) for value in table[rows, columns]]
