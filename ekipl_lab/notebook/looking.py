"""A run looked at from a cell: its settings, its sources, its figures, its group doctor.

Every function takes the id of a run, which may still be training, and gives a table or figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ekipl_lab.training.config.run_config import RunConfig
    from ekipl_lab.types import ActionSource


def settings(config: RunConfig) -> pd.DataFrame:
    """What tells a run apart from others, and what it asks for: one row each."""
    import pandas as pd

    from ekipl_lab.training.config.plan import plan_run
    from ekipl_lab.training.run import run_params

    plan = plan_run(config)
    asked = {
        "prompts a step": plan.sizes.prompts,
        "policy completions": plan.policy_completions,
        "teacher actions": sum(plan.teacher_actions.values()),
    }
    rows = {name: str(value) for name, value in (run_params(config) | asked).items()}
    return pd.DataFrame({"value": rows})


def figures(run: str) -> dict[str, Any]:
    """Name -> plotly figure of what each source did over the steps so far (`plots.sources`)."""
    from ekipl_lab import tracking
    from ekipl_lab.plots.sources import source_figures

    return source_figures(tracking.metric_history(run))


def steps(run: str) -> list[int]:
    """The training steps that MLflow has of a run, in the order in which they were logged."""
    from ekipl_lab import tracking

    return [step for step, _ in tracking.metric_history(run).get("policy/reward", [])]


def sources(run: str, steps: Sequence[int] | int | None = None) -> pd.DataFrame:
    """What each source gave in these steps (default: all): a row for each source.

    ``right`` and ``mean reward`` are of all its candidates; ``sum of |A|`` says how much of what
    was learned it had a hand in.
    """
    import pandas as pd

    from ekipl_lab import records, tracking

    folder = tracking.run_artifact(run, "groups")
    rows = pd.DataFrame(records.sum_by_source(folder, steps=steps))
    rows["reward"] = rows["mean_total"] * rows["candidates"]
    sums = rows.groupby("source")[["candidates", "kept", "successes", "reward", "abs_advantage"]]
    total = sums.sum(min_count=1)
    return pd.DataFrame(
        {
            "candidates": total["candidates"],
            "right": total["successes"] / total["candidates"],
            "mean reward": total["reward"] / total["candidates"],
            "kept": total["kept"],
            "share of kept": total["kept"] / total["kept"].sum(),
            "sum of |A|": total["abs_advantage"],
        }
    ).round(3)


def examine(run: str, last: int = 20) -> pd.DataFrame:
    """Why groups of the last steps taught nothing, and which setting to try (the group doctor).

    The first row says how many taught nothing at all.
    """
    import pandas as pd

    from ekipl_lab import records, tracking
    from ekipl_lab.groups import doctor

    folder = tracking.run_artifact(run, "groups")
    seen = records.list_steps(folder)[-last:]
    groups = [group for step in seen for group in records.load_groups(folder, step)]
    found = doctor.examine_recorded(groups)
    head = {"cause": "taught nothing", "groups": found.zero_advantage, "of": found.groups}
    rows = [
        {
            "cause": f"{one.source} {one.cause}".strip(),
            "groups": one.count,
            "of": one.out_of,
            "advice": one.advice,
            "try": "; ".join(one.settings),
        }
        for one in found.findings
    ]
    return pd.DataFrame([head, *rows]).fillna("")


def compare_histories(a: str, b: str) -> pd.DataFrame:
    """Two runs, metric by metric: points that both have, points that differ in value or place.

    Equal means to the last bit. Clock times and sizes of the process are left out; metrics are
    summed up by the first part of their name.
    """
    import pandas as pd

    from ekipl_lab import tracking

    first, second = tracking.metric_history(a), tracking.metric_history(b)
    rows = []
    for name in sorted(first.keys() | second.keys()):
        if any(word in name for word in ("second", "latency", "runtime", "memory")):
            continue
        one, other = set(first.get(name, [])), set(second.get(name, []))
        both, odd = one & other, one ^ other
        rows.append((name.split("/")[0], 1, len(both), len({step for step, _ in odd})))
    table = pd.DataFrame(rows, columns=["metrics of", "metrics", "equal points", "differ"])
    return table.groupby("metrics of").sum()


def spending(teacher: ActionSource) -> pd.Series:
    """What a teacher behind a gateway has been asked for so far, and what that cost.

    Raises ConfigError for a teacher that has no gateway.
    """
    import pandas as pd

    from ekipl_lab.errors import ConfigError

    stats = getattr(teacher, "stats", None)
    if stats is None:
        raise ConfigError(f"Teacher {teacher.id!r} has no gateway, and costs nothing.")
    counts = stats.totals()
    wanted = ("calls", "cache_hits", "prompt_tokens", "completion_tokens", "errors")
    found: dict[str, object] = {name: int(counts[name]) for name in wanted}
    return pd.Series({**found, "cost_usd": round(counts["cost_usd"], 6)}, dtype=object)
