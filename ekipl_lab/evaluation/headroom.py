"""Headroom gates: does the policy see, does it have every sub-skill, and what is left to learn?

    ekipl headroom                                  # the shipped warm starts, validation split
    ekipl headroom --seed 7 --tasks counting --policy mlruns/work/mine

A study needs a policy that sees (whole scenes described exactly, at least 90 %), that has each
sub-skill by itself (at least 90 %), and families in three strata by sampled success: 0 to 5 %, 5 to
50 %, above 50 %. One completion per item, so that Wilson's interval holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ekipl_lab.benchmarks import load_samples
from ekipl_lab.benchmarks.mini import MINI_TASKS
from ekipl_lab.benchmarks.mini.task import MINI_VERSION
from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.evaluation.run import Mode, evaluate
from ekipl_lab.evaluation.slices import STRATA, stratum_of
from ekipl_lab.files import write_text
from ekipl_lab.policies import Policy, PolicySource, load_policy
from ekipl_lab.rewards import get_scorer
from ekipl_lab.rewards.reason_rft import first_answer
from ekipl_lab.statistics import Interval, wilson
from ekipl_lab.types import Action, Sample

GATE = 0.90
_THING = re.compile(r"p(\d+)((?: \w+)+)")


def caption_accuracy(
    truths: Sequence[str], captions: Sequence[str], kinds: Sequence[str]
) -> dict[str, float]:
    """Shares of true things that a caption names at their cell, and with the right ``kinds``.

    A caption is ``p2 large red ball , p7 small blue cube``; `` then `` parts two pictures.
    ``extra``: things named where there is none, per true thing. Raises ConfigError where the truths
    name no thing at all.
    """
    right = dict.fromkeys(("cell", *kinds), 0)
    total = extra = 0
    for truth, caption in zip(truths, captions, strict=True):
        things, named = _things(truth), _things(caption)
        total += len(things)
        extra += len(named.keys() - things.keys())
        for place, words in things.items():
            said = named.get(place, ())
            right["cell"] += bool(said)
            for number, kind in enumerate(kinds):
                right[kind] += len(said) == len(kinds) and said[number] == words[number]
    if total == 0:
        raise ConfigError("The captions name no thing at all; perception cannot be measured.")
    return {kind: count / total for kind, count in right.items()} | {"extra": extra / total}


def _things(caption: str) -> dict[tuple[int, str], tuple[str, ...]]:
    """(picture, cell) -> words."""
    return {
        (picture, cell): tuple(words.split())
        for picture, part in enumerate(caption.split(" then "))
        for cell, words in _THING.findall(part)
    }


def label_accuracy(truths: Sequence[str], readings: Sequence[str]) -> dict[str, float]:
    """Share of labels read right at their place in the order of reading."""
    pairs = [
        (label, said[place] if place < len(said) else None)
        for truth, reading in zip(truths, readings, strict=True)
        for said in [reading.split()]
        for place, label in enumerate(truth.split())
    ]
    return {"label": sum(label == said for label, said in pairs) / len(pairs)}


def headroom(
    policy: Policy,
    *,
    task: str,
    split: str = "validation",
    seed: int = 0,
    items: int = 200,
    max_new_tokens: int = 112,
) -> dict[str, Any]:
    """Measure every sub-skill (greedy) and family (greedy and one draw at temperature 1).

    Returns JSON values: ``perception``, ``sub_skills``, ``families`` with Wilson intervals and
    strata, and ``gates``, each with its verdict.

    Raises ConfigError for an unknown task, or no items.
    """
    _check(task, items)
    size = int(policy.processor.image_processor.size["shortest_edge"] ** 0.5)
    scorer = get_scorer("ekipl/auto")

    def ask(family: str, mode: Mode) -> tuple[list[Sample], list[Action], Interval]:
        samples = load_samples(
            "mini", task=task, split=split, families=[family], limit=items, seed=seed,
            image_size=size,
        )  # fmt: skip
        records = evaluate(
            PolicySource(policy), samples, scorer, mode=mode, num_samples=1,
            max_new_tokens=max_new_tokens, seed=seed,
        )  # fmt: skip
        right = sum(record.rewards[0].success is True for record in records)
        return samples, [record.actions[0] for record in records], wilson(right, items)

    sub_skills, perception = {}, dict[str, float]()
    measured: dict[str, Any] = {}
    describes, kinds = MINI_TASKS[task].scene_family or ("", ())
    for name, family in MINI_TASKS[task].families.items():
        if family.status == "ground":
            continue
        samples, actions, greedy = ask(name, "greedy")
        if name == describes:
            shares = _perception(samples, actions, kinds)
            perception = shares | {"exact": greedy.value}
        if family.status == "sub_skill":
            sub_skills[name] = asdict(greedy)
            continue
        _, actions, sampled = ask(name, "sampled")
        measured[name] = {
            "status": family.status,
            "sampled": asdict(sampled),
            "greedy": asdict(greedy),
            "stratum": stratum_of(sampled.value),
            "mean_tokens": sum(len(a.token_ids or ()) for a in actions) / len(actions),
        }
    return {
        "policy": policy.id,
        "tokenizer": policy.tokenizer_id,
        "benchmark": f"mini/{task} version {MINI_VERSION}",
        "split": split,
        "seed": seed,
        "items": items,
        "perception": perception,
        "sub_skills": sub_skills,
        "families": measured,
        "gates": _gates(perception, sub_skills, measured),
    }


def _check(task: str, items: int) -> None:
    if task not in MINI_TASKS:
        raise unknown_name("task of benchmark 'mini'", task, MINI_TASKS)
    if items < 1:
        raise ConfigError(f"Gates need at least one item of each family, not {items}.")


def _perception(
    samples: Sequence[Sample], actions: Sequence[Action], kinds: Sequence[str]
) -> dict[str, float]:
    texts = [first_answer(action.completion) or "" for action in actions]
    truths = [sample.answer for sample in samples]
    return caption_accuracy(truths, texts, kinds) if kinds else label_accuracy(truths, texts)


def _gates(
    perception: dict[str, float], sub_skills: dict[str, Any], families: dict[str, Any]
) -> dict[str, bool]:
    strata = {row["stratum"] for row in families.values() if row["status"] == "study"}
    return {
        "perception": perception.get("exact", 0.0) >= GATE,
        "sub_skills": all(row["value"] >= GATE for row in sub_skills.values()),
        "strata": strata == {name for _, name in STRATA},
    }


def table(result: dict[str, Any]) -> str:
    """The result as lines for a terminal."""
    lines = [f"{result['policy']} on {result['benchmark']}, {result['split']}"]
    seen = ", ".join(f"{kind} {value:.3f}" for kind, value in result["perception"].items())
    lines.append(f"perception: {seen}")
    for name, row in result["sub_skills"].items():
        lines.append(f"  {name:<16} greedy {_span(row)}")
    lines.append("families:")
    for name, row in result["families"].items():
        sampled, greedy = _span(row["sampled"]), _span(row["greedy"])
        lines.append(
            f"  {name:<16} sampled {sampled}  greedy {greedy}  "
            f"{row['stratum']:<7} {row['mean_tokens']:.0f} tokens  {row['status']}"
        )
    verdicts = ", ".join(f"{k} {'holds' if v else 'FAILS'}" for k, v in result["gates"].items())
    return "\n".join([*lines, f"gates: {verdicts}"])


def _span(row: dict[str, Any]) -> str:
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def measure(
    policies: Mapping[str, Path],
    *,
    split: str = "validation",
    seed: int = 0,
    items: int = 200,
    out: Path | None = None,
) -> bool:
    """Measure a policy folder per task, print each table, write ``out``; whether all gates hold.

    A folder that is not there is said, and no gate of its task holds. Raises ConfigError for an
    unknown task, or no items, before anything is measured.
    """
    for task in policies:
        _check(task, items)
    results, missing = {}, False
    for task, folder in policies.items():
        if not folder.is_dir():
            print(f"{task}: there is no policy at {folder.as_posix()}; its gates fail.", flush=True)
            missing = True
            continue
        policy = load_policy(folder)
        results[task] = headroom(policy, task=task, split=split, seed=seed, items=items)
        print(table(results[task]), flush=True)
    if out is not None:
        write_text(out, json.dumps(results, indent=2) + "\n")
    held = all(held for result in results.values() for held in result["gates"].values())
    return held and not missing
