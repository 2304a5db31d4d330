"""The paper's claims, and what reviewers ask, beside what the registered studies measured.

    python -m perf.claims

Writes the tables of docs/experiments.md from the records in results/studies alone; run it after
`ekipl compare`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from ekipl_lab.files import put_between, write_text
from ekipl_lab.statistics import paired_t
from ekipl_lab.studies.config import Study, is_study, load_study
from ekipl_lab.studies.equal_cost import AXES, curve_of, reaches
from ekipl_lab.studies.page_figures import start_of
from ekipl_lab.studies.plan import study_folder
from ekipl_lab.studies.record import CellRecord, read_records_of
from ekipl_lab.studies.registered import Tested, registered_contrasts
from ekipl_lab.studies.sources import BINS, read_sources
from ekipl_lab.tables import percent, points
from ekipl_lab.types import POLICY

ROOT = Path(__file__).resolve().parent.parent
STUDIES, DOC = ROOT / "configs/studies", ROOT / "docs/experiments.md"

#: Studies of the paper's claims, and the arm of GRPO that the rule is held against in each.
SHOWN = {
    "counting_confirm": "grpo_more",
    "counting_again": "grpo",
    "counting_warm": "sft_then_grpo",
    "geometry_confirm": "grpo",
}

#: What the paper claims of its rule -> the registered contrasts of these studies.
PAPER: dict[str, dict[str, tuple[int, ...]]] = {
    "more accurate than GRPO": {
        "counting_confirm": (3,), "counting_again": (9,), "geometry_confirm": (9,),
    },
    "a wider reasoning boundary": {
        "counting_confirm": (4, 5), "counting_again": (10, 11), "geometry_confirm": (10, 11),
    },
    "better out of domain": {"counting_again": (12,), "geometry_confirm": (12,)},
    "better than GRPO after a supervised warm start (with twice its teacher actions)": {
        "counting_confirm": (1, 10), "counting_warm": (1, 2),
    },
    "better out of domain after that warm start": {
        "counting_confirm": (11,), "counting_warm": (3,),
    },
}  # fmt: skip

LARGE = "its figures at 2B and 7B (`configs/qwen2_5_vl_7b_8gpus.yaml` takes eight GPUs)"

_FIRST, _LAST = slice(0, BINS // 4), slice(-(BINS // 4), None)

#: Claim or question -> the registered contrasts that answer it: study, numbers.
CLAIMS: dict[str, dict[str, tuple[int, ...]]] = {
    "The paper: more accurate than GRPO": {"counting_confirm": (3,)},
    "The paper: a wider reasoning boundary than GRPO's": {"counting_confirm": (4, 5)},
    "Reviewer: does it keep what was solved?": {"counting_confirm": (6,)},
    "Reviewer: is it better than supervised steps on the same teacher actions?": {
        "counting_confirm": (7,)
    },
    "Reviewer: is it better than those steps, then GRPO?": {"counting_confirm": (2,)},
    "The paper: after a supervised warm start": {"counting_confirm": (1, 10)},
    "The paper: better out of domain, after that warm start": {"counting_confirm": (11,)},
    "GRPO after supervised steps against GRPO alone": {"counting_confirm": (8, 9, 12)},
    "Reviewer: is it better than more supervised steps?": {"counting_recipe": (1, 2, 3, 4, 5)},
    "Reviewer: is reinforcement worth anything after enough of them?": {
        "counting_after": (1, 2, 3, 4, 5, 6, 7)
    },
    "The paper's rule at its best rate, on fresh seeds and items": {
        "counting_again": (9, 10, 11, 12, 13, 14)
    },
    "The recipe on fresh seeds and items": {"counting_again": (1, 2, 3, 4, 5, 6, 7, 8)},
    "The paper: after a warm start, both stages at their best rates": {"counting_warm": (1, 2, 3)},
    "Reviewer: and then, is it better than more supervised steps?": {"counting_warm": (4, 5)},
    "The recipe against the rule after a warm start": {"counting_warm": (6, 7, 8, 9)},
    "The paper's rule on geometry": {"geometry_confirm": (9, 10, 11, 12, 13, 14)},
    "The recipe on geometry": {"geometry_confirm": (1, 2, 3, 4, 5, 6, 7, 8)},
    "GRPO on geometry": {"geometry_confirm": (15,)},
    "Several passes over the same teacher actions": {
        "counting_repeat": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    },
    "The same, and the average with the start: the recipe": {
        "counting_repeat": (12, 13, 14, 15, 16, 17, 18, 19, 20)
    },
}


@cache
def measured(name: str) -> tuple[Study, Sequence[CellRecord], Sequence[Tested]]:
    """A study, its records and its registered contrasts."""
    study = load_study(STUDIES / f"{name}.yaml")
    records = read_records_of(study_folder(study))
    return study, records, registered_contrasts(study, records)


def claims() -> str:
    """A row for each contrast of each claim, as Markdown."""
    lines = ["| claim or question | study | contrast | difference, points | seeds | verdict |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for claim, studies in CLAIMS.items():
        for study, numbers in studies.items():
            lines += [_row(claim, study, number) for number in numbers]
    return "\n" + "\n".join(lines) + "\n"


def _row(claim: str, study: str, number: int) -> str:
    one = measured(study)[2][number - 1]
    wanted, found = one.wanted, one.found
    group = "" if wanted.group == "all" else f", {wanted.group}"
    what = f"{number}: {wanted.arm} {wanted.expected} {wanted.against}, {wanted.metric}"
    told = "–"
    if found is not None and found.over_seeds is not None:
        span = found.over_seeds
        told = f"{points(found.difference)} ({points(span.low)} to {points(span.high)})"
    seeds = str(len(found.seeds)) if found else "0"
    cells = (claim, f"`{study}`", f"`{what}` on {wanted.set}{group}", told, seeds, one.verdict)
    return "| " + " | ".join(cells) + " |"


def paper() -> str:
    """What the paper claims, by study: held, not held, not testable here, with what says so."""
    lines = ["| the paper claims | " + " | ".join(f"`{name}`" for name in SHOWN) + " |",
             "|---" * (len(SHOWN) + 1) + "|"]  # fmt: skip
    for claim, numbers in PAPER.items():
        told = [_all(name, numbers[name]) if name in numbers else "–" for name in SHOWN]
        lines.append(f"| {claim} | " + " | ".join(told) + " |")
    read_off = {
        "faster: GRPO's last accuracy in fewer steps": _faster,
        "the teachers' share of kept actions falls as the policy learns": _sources,
    }
    for claim, tell in read_off.items():
        lines.append(f"| {claim} | " + " | ".join(tell(name) for name in SHOWN) + " |")
    lines.append(f"| {LARGE} | " + " | ".join(["not testable here"] * len(SHOWN)) + " |")
    return "\n" + "\n".join(lines) + "\n"


def _all(name: str, numbers: Sequence[int]) -> str:
    """Held where every contrast did; else not, or in part; by which."""
    verdicts = [measured(name)[2][number - 1].verdict for number in numbers]
    if any("not measured" in verdict or "open" in verdict for verdict in verdicts):
        return "open"
    held = [verdict == "held" for verdict in verdicts]
    said = "held" if all(held) else "held in part" if any(held) else "not held"
    return f"{said} ({', '.join(str(number) for number in numbers)})"


def _faster(name: str) -> str:
    """Where the rule's curve is at GRPO's last value, and where GRPO's own curve first is.

    Of the seeds at which GRPO gains at all. Held where the rule gets there at each of them, and at
    less cost than GRPO itself (t over seeds).
    """
    study, records, _ = measured(name)
    if "paper" not in study.arms:
        return "–"
    against = SHOWN[name]
    axis, metric = "policy_completions", "eval/test/accuracy_greedy"
    begin = start_of(study, records, study.registered[0].task, "test")
    if not begin:
        return "open"
    (start,) = begin
    curves = {
        (one.arm, one.seed): curve_of(one, axis, metric, start)
        for one in records
        if one.arm in ("paper", against)
    }
    seeds = [s for s in study.seeds if {("paper", s), (against, s)} <= curves.keys()]
    seeds = [s for s in seeds if curves[against, s][-1][1] > start]
    if len(seeds) < 2:
        return "open"
    level = {seed: curves[against, seed][-1][1] for seed in seeds}
    ours = [reaches(curves["paper", seed], level[seed]) for seed in seeds]
    theirs = [reaches(curves[against, seed], level[seed]) or 0.0 for seed in seeds]
    there = [cost for cost in ours if cost is not None]
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=True) if one is not None]
    less = len(pairs) > 1 and paired_t([one - other for one, other in pairs]).high < 0
    said = "held" if less and len(there) == len(seeds) else "not held"
    where = f", at a median of {statistics.median(there):,.0f} {AXES[axis][0]}" if there else ""
    return (
        f"{said}: {len(there)} of {len(seeds)} seeds at which GRPO gains get there{where}; "
        f"GRPO itself first at {statistics.median(theirs):,.0f}"
    )


def _sources(name: str) -> str:
    """The teachers' share of kept actions, last less first quarter of the steps, over the seeds."""
    study, records, _ = measured(name)
    known = read_sources(study_folder(study), records)
    said, falls = [], []
    for arm in [arm for arm in ("paper", "sft_then_paper") if arm in study.arms]:
        names = [one.raw["cell"] for one in records if one.arm == arm]
        shares = [[1 - own for _, own in known[cell][POLICY]] for cell in names if cell in known]
        if len(shares) < 2:
            continue
        first, last = (
            [statistics.mean(one[part]) for one in shares] for part in (_FIRST, _LAST)
        )  # fmt: skip
        span = paired_t([after - before for before, after in zip(first, last, strict=True)])
        falls.append(span.high < 0)
        said.append(
            f"`{arm}` {percent(statistics.mean(first))} to {percent(statistics.mean(last))} % "
            f"({points(span.low)} to {points(span.high)} points, {len(shares)} of {len(names)} "
            "seeds)"
        )
    if not said:
        return "open"
    verdict = "held" if all(falls) else "held in part" if any(falls) else "not held"
    return f"{verdict}: first to last quarter of the steps {', '.join(said)}"


def arms(name: str) -> str:
    """The last policies of a study's arms, means over its seeds, percent; and what they cost."""
    study, records, _ = measured(name)
    solved, rare = study.strata["solved"], study.strata["rare"]
    columns = (
        ("greedy", "test", (), "accuracy_greedy"), ("pass@1", "test", (), "pass_at_1"),
        ("pass@8", "test", (), "pass_at_8"),
        ("solved families, greedy", "test", solved, "accuracy_greedy"),
        ("rare family, pass@8", "test", rare, "pass_at_8"),
        ("out of domain: greedy", "test_ood", (), "accuracy_greedy"),
        ("pass@8", "test_ood", (), "pass_at_8"),
    )  # fmt: skip
    titles = [title for title, *_ in columns]
    lines = ["| arm | seeds | " + " | ".join(titles) + " | CPU seconds |",
             "|---|" + "--:|" * (len(columns) + 2)]  # fmt: skip
    for arm in study.arms:
        own = [one.raw for one in records if one.arm == arm]
        if not own:
            continue
        cells = [
            percent(statistics.mean(
                one["final"][which][family][metric] for one in own for family in (group or ("all",))
            ))
            for _, which, group, metric in columns
        ]  # fmt: skip
        spent = statistics.mean(one["cost"]["cpu_seconds"] for one in own)
        lines.append(f"| `{arm}` | {len(own)} | " + " | ".join(cells) + f" | {spent:.0f} |")
    return "\n" + "\n".join(lines) + "\n"


def by_seed(study_name: str) -> str:
    """The arms of a study on validation, seeds side by side, by greedy accuracy; their cost."""
    study, records, _ = measured(study_name)
    (name,) = {name for one in records for name in one.raw["final"]}
    solved, rare = study.strata["solved"], study.strata["rare"]
    columns = (
        ("greedy", (), "accuracy_greedy"), ("pass@1", (), "pass_at_1"),
        ("pass@8", (), "pass_at_8"), ("solved family, greedy", solved, "accuracy_greedy"),
        ("rare family, pass@8", rare, "pass_at_8"),
        ("sound chains, greedy", (), "chain_sound_greedy"),
    )  # fmt: skip
    rows = []
    for arm in study.arms:
        own = sorted((one for one in records if one.arm == arm), key=lambda one: one.seed)
        if not own:
            continue
        finals = [one.raw["final"][name] for one in own]
        cells = [
            ", ".join(percent(final[(group or ("all",))[0]][metric]) for final in finals)
            for _, group, metric in columns
        ]
        spent = ", ".join(f"{one.raw['cost']['cpu_seconds']:.0f}" for one in own)
        greedy = statistics.mean(final["all"]["accuracy_greedy"] for final in finals)
        rows.append((-greedy, f"| `{arm}` | " + " | ".join([*cells, spent]) + " |"))
    titles = " | ".join(title for title, *_ in columns)
    lines = [f"| arm | {titles} | CPU seconds |", "|---|" + "--:|" * (len(columns) + 1)]
    return "\n" + "\n".join([*lines, *(row for _, row in sorted(rows))]) + "\n"


def compute() -> str:
    """CPU hours of every study whose records are here, training and measuring apart."""
    lines = ["| study | cells | training | measuring |", "|---|--:|--:|--:|"]
    total = [0.0, 0.0]
    for path in sorted(STUDIES.glob("*.yaml")):
        if not is_study(path) or not study_folder(load_study(path)).is_dir():
            continue
        _, records, _ = measured(path.stem)
        hours = [
            sum(one.raw["cost"]["cpu_seconds"] for one in records) / 3600,
            sum(one.raw["parts"].get("evaluation", {}).get("seconds", 0) for one in records) / 3600,
        ]
        total = [one + more for one, more in zip(total, hours, strict=True)]
        lines.append(f"| `{path.stem}` | {len(records)} | {hours[0]:.2f} | {hours[1]:.2f} |")
    lines.append(f"| all | | {total[0]:.1f} | {total[1]:.1f} |")
    return "\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Write the tables."""
    page = DOC.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        page = put_between(page, *marks(name), table())
    write_text(DOC, page)


def marks(name: str) -> tuple[str, str]:
    """Between which a table stands."""
    return f"<!-- {name}: generated, do not edit -->", f"<!-- {name}: end -->"


#: Every table of the page by the name in its marks.
TABLES: dict[str, Callable[[], str]] = {
    "claims": claims,
    "paper": paper,
    "counting_again": lambda: arms("counting_again"),
    "counting_warm": lambda: arms("counting_warm"),
    "counting_repeat": lambda: arms("counting_repeat"),
    "geometry_confirm": lambda: arms("geometry_confirm"),
    "counting_field_tuned": lambda: by_seed("counting_field_tuned"),
    "counting_parts": lambda: by_seed("counting_parts"),
    "compute": compute,
}


if __name__ == "__main__":
    main()
