"""What results stand beside: blind controls, teachers' ceiling, contamination, published rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from ekipl_lab import records as group_records
from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.reason_rft.layout import FILES
from ekipl_lab.benchmarks.reason_rft.published import PUBLISHED, TEST_SETS, averages
from ekipl_lab.errors import EKIPLError
from ekipl_lab.evaluation import summarize
from ekipl_lab.evaluation.contamination import MOST, Contamination, contamination
from ekipl_lab.evaluation.slices import changes_since
from ekipl_lab.report.gather import RunData, rebuild
from ekipl_lab.statistics import wilson
from ekipl_lab.tables import (
    DASH,
    Table,
    TableCell,
    limits,
    percent,
    points,
    row,
    share_cell,
)
from ekipl_lab.types import POLICY, Sample

#: Settings of the published evaluation, by name in an evaluation's ``generation``.
_PUBLISHED_GENERATION = {"temperature": 0.1, "top_p": 0.9, "top_k": 50, "max_new_tokens": 768}


def controls(runs: Sequence[RunData]) -> Table:
    """Accuracy without the right image, and the paired difference to the real one."""
    rows = []
    for run in runs:
        for name, blind in run.controls.items():
            seeing = [record for record in run.last() if record.mode == blind[0].mode]
            for change in changes_since(seeing, blind, ("task", "split")):
                one = change.comparison
                small = limits(one.low, one.high)
                if one.p_value is not None:
                    small += f"; p = {one.p_value:.2g}"
                where = " ".join(map(str, change.group.values()))
                values = (TableCell(percent(one.value_b)), TableCell(percent(one.value_a)))
                given = TableCell(points(one.difference), small)
                rows.append(row(run.label, where, name.replace("_", " "), *values, given))
    return Table(
        "Blind controls",
        ["arm", "set", "control", "blind", "seeing", "what the image gives"],
        rows,
        "The same questions without an image, or with another item's of the same family. What is "
        "right blind was guessed from the question.",
    )


def ceiling(runs: Sequence[RunData]) -> Table:
    """On training prompts: how often each source, and anyone, had a right action in the group."""
    rows: list[list[TableCell]] = []
    for run in runs:
        solved = _solved(run) if run.groups is not None and run.teachers else None
        if solved is None or solved.empty:
            continue
        rows.append(row(f"{run.label}: {len(solved):,} groups"))
        for name in solved:
            share = wilson(int(solved[name].sum()), len(solved))
            only = (solved[name] & ~solved[POLICY]).mean()
            rows.append(
                row(
                    name,
                    share_cell(share.value, share.low, share.high),
                    TableCell(DASH if name == "anyone" else percent(only)),
                )
            )
    return Table(
        "The teachers' ceiling",
        ["source", "groups with a right action", "and the policy had none"],
        rows,
        "Percent of the training groups, over the whole training. Where nobody had a right action "
        "the group could show none. For the ceiling on test items evaluate a teacher there "
        "(`ekipl eval teacher:CONFIG#ID`) and give its folder to `ekipl report`.",
    )


def _solved(run: RunData) -> Any:
    """A frame of the groups: whether the policy, each teacher, any of them, anyone was right."""
    names = ["step", "group", "source", "success"]
    actions = group_records.read_groups(run.groups or "", columns=names).to_pandas()
    right = actions["success"].eq(True)
    by_source = right.groupby([actions["step"], actions["group"], actions["source"]]).any()
    found = by_source.unstack(fill_value=False).reindex(
        columns=[POLICY, *run.teachers], fill_value=False
    )
    found["any teacher"] = found[run.teachers].any(axis=1)
    found["anyone"] = found["any teacher"] | found[POLICY]
    return found


def overlaps(runs: Sequence[RunData]) -> Table:
    """Have the samples that were trained on anything in common with the test samples?"""
    rows = []
    for run in runs:
        seen = run.about.get("contamination") if run.is_evaluation else _own_overlap(run)
        if seen is None:
            continue
        found = seen["overlap"]
        names = ("test", "ids", "items", "images", "near")
        counts = [DASH if found is None else f"{found[name]:,}" for name in names]
        rows.append(row(run.label, str(seen["train"]), *map(TableCell, counts)))
    return Table(
        "Contamination: training samples among the test samples",
        ["arm", "trained on", "test", "same id", "same item", "same image", "near image"],
        rows,
        "Counted over the test samples. Item: image and question; image: equal pixels. Near: a "
        "difference hash within 6 of 256 bits, a lead to look at, since rendered scenes share "
        f"their background. {DASH}: more than {MOST:,} samples; see `ekipl data check`.",
    )


def _own_overlap(run: RunData) -> dict[str, Any] | None:
    data = run.config.get("data")
    ids = sorted({record.sample_id for record in run.last()})
    if not data or not ids:
        return None
    settings = json.dumps(data, sort_keys=True)
    train, found = _overlap(settings, tuple(ids))
    if train is None:
        return None
    values = None if found is None else asdict(found)
    return {"train": f"{train:,} samples of {data.get('split', 'train')}", "overlap": values}


@lru_cache(maxsize=16)
def _overlap(settings: str, ids: tuple[str, ...]) -> tuple[int | None, Contamination | None]:
    """Number of training samples and the overlap; (None, None) where either cannot be rebuilt."""
    data = {"limit": 1000, "split": "train", **json.loads(settings)}
    known = ("task", "split", "limit", "families", "seed", "image_size", "start")
    options = {name: data[name] for name in known if name in data}
    test = [sample for i in ids if (sample := rebuild(i, data.get("image_size"))) is not None]
    if len(test) < len(ids):
        return None, None
    if options["limit"] > MOST:
        return int(options["limit"]), None
    try:
        train: list[Sample] = load_samples(data.get("benchmark", "mini"), **options)
    except (EKIPLError, TypeError):
        return None, None
    return len(train), contamination(train, test)


def published(runs: Sequence[RunData]) -> Table:
    """The published numbers of the published benchmark beside those measured on it."""
    mine = [(run, _scores(run)) for run in runs]
    mine = [(run, scores) for run, scores in mine if scores]
    columns = ["model", *TEST_SETS, "mean ID", "mean OOD"]
    title = "Published results on Reason-RFT-CoT"
    if not mine:
        return Table(title, columns, [])
    rows = [_score_row(f"{run.label} (measured here)", scores) for run, scores in mine]
    rows += [
        _score_row(one.model, {name: (value, "") for name, value in one.scores.items()})
        for one in PUBLISHED
    ]
    departures = [f"{run.label}: {text}" for run, _ in mine for text in _departures(run)]
    return Table(
        title,
        columns,
        rows,
        "Percent. Published rows: arXiv 2503.20752, by its evaluator; accuracy for counting and "
        "geometry, mean partial credit for transformation; Super-CLEVR is 0.75 and 0.25 of its two "
        "published parts. Measured rows: mean accuracy component, partial credit included. Means "
        "of both kinds of rows are computed here, by task first (a task's test sets are averaged "
        "before tasks are), in-domain and out-of-domain apart; the published averages mix "
        "conventions and are not repeated. "
        + ("Not comparable as it stands: " + "; ".join(departures) + "." if departures else ""),
    )


def _scores(run: RunData) -> dict[str, tuple[float, str]]:
    """Test set -> (percent, number of items), of the end, sampled actions before greedy ones."""
    ours = [record for record in run.last() if record.sample_id.startswith("reason_rft/")]
    mode = "sampled" if any(record.mode == "sampled" for record in ours) else "greedy"
    return {
        str(one.group["family"]): (100 * one.value, f"{one.n} items")
        for one in summarize(ours, by=("family",), ks=())
        if one.metric == f"partial_credit_{mode}" and one.group["family"] in TEST_SETS
    }


def _score_row(model: str, scores: Mapping[str, tuple[float, str]]) -> list[TableCell]:
    means = averages({name: value for name, (value, _) in scores.items()})
    sets = [
        TableCell(f"{scores[n][0]:.2f}", scores[n][1]) if n in scores else TableCell(DASH)
        for n in TEST_SETS
    ]
    ends = [
        TableCell(f"{means[s]:.2f}") if s in means else TableCell(DASH)
        for s in ("test", "test_ood")
    ]
    return row(model, *sets, *ends)


def _departures(run: RunData) -> list[str]:
    """In what a measurement differs from the published one."""
    found = []
    scorer = run.config.get("reward", {}).get("scorer", "ekipl/auto")
    if scorer != "reason_rft/eval":
        found.append(f"scored by {scorer}, not reason_rft/eval")
    generation = run.config.get("generation", {})
    if any(generation.get(name) != value for name, value in _PUBLISHED_GENERATION.items()):
        found.append("other generation settings (published: --preset reason_rft)")
    sizes = {file.family: file.published for file in FILES if file.split != "train"}
    short = [n for n, (_, items) in _scores(run).items() if items != f"{sizes[n]} items"]
    if short:
        found.append(f"not all published items of {', '.join(sorted(short))}")
    return found
