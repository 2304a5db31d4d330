"""Evaluations compared in tables: by family, over seeds, and what their groups would teach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from ekipl_lab.notebook.face import Evaluation
    from ekipl_lab.types import ActionGroup, Sample


def by_group(a: Evaluation, b: Evaluation, by: str = "family") -> pd.DataFrame:
    """A minus B, paired by item, in every slice; p by McNemar (greedy) and adjusted by Holm."""
    import pandas as pd

    from ekipl_lab.evaluation import compare
    from ekipl_lab.statistics import holm

    rows = []
    for value in sorted({str(getattr(record, by)) for record in a.records}):
        pair = [[r for r in one.records if str(getattr(r, by)) == value] for one in (a, b)]
        found = compare(*pair)
        rows.append(
            {
                by: value,
                "items": found.n,
                "A": found.value_a,
                "B": found.value_b,
                "A - B": found.difference,
                "low": found.low,
                "high": found.high,
                "won": len(found.wins),
                "lost": len(found.losses),
                "p": found.p_value,
            }
        )
    table = pd.DataFrame(rows).set_index(by)
    if table["p"].notna().all():
        table["p, Holm"] = holm(list(table["p"]))
    return table.dropna(axis="columns", how="all").round(3)


def estimators(evaluation: Evaluation, ks: Sequence[int]) -> pd.DataFrame:
    """pass@k three ways: unbiased, whether one of the first k is right, and 1 - (1 - c/n)^k."""
    import pandas as pd

    from ekipl_lab.evaluation.metrics import success_counts
    from ekipl_lab.statistics import pass_at_k

    counts = [success_counts(record) for record in evaluation.records]
    first = [[bool(r.success) for r in record.rewards] for record in evaluation.records]
    rows = [
        {
            "k": k,
            "unbiased": sum(pass_at_k(n, c, k) for n, c in counts) / len(counts),
            "one of the first k": sum(any(drawn[:k]) for drawn in first) / len(first),
            "1 - (1 - c/n)^k": sum(1 - (1 - c / n) ** k for n, c in counts) / len(counts),
        }
        for k in ks
    ]
    return pd.DataFrame(rows).set_index("k").round(3)


def mixed_groups(samples: Sequence[Sample], evaluation: Evaluation) -> list[ActionGroup]:
    """The groups of a sampled evaluation in which some actions are right and some are not.

    Each is the group that GRPO would learn from; the most even ones come first.
    """
    from ekipl_lab.evaluation.metrics import success_counts
    from ekipl_lab.notebook.face import build_group

    found = []
    for sample, record in zip(samples, evaluation.records, strict=True):
        known, right = success_counts(record)
        if 0 < right < known:
            group = build_group(
                sample, record.actions, record.rewards, rule="policy_only", group_size=known
            )
            found.append((abs(2 * right - known), group))
    return [group for _, group in sorted(found, key=lambda pair: pair[0])]


def right_answers(evaluation: Evaluation, by: str = "family") -> pd.DataFrame:
    """How many items have 0, 1, 2, ... right answers among their samples, by a field."""
    import pandas as pd

    from ekipl_lab.evaluation.metrics import success_counts

    rows = pd.DataFrame(
        {by: getattr(record, by), "right": success_counts(record)[1]}
        for record in evaluation.records
    )
    most = max(len(record.rewards) for record in evaluation.records)
    table = pd.crosstab(rows[by], rows["right"])
    return table.reindex(columns=range(most + 1), fill_value=0)


def train_seeds(
    path: str,
    name: str,
    seeds: Sequence[int],
    samples: Sequence[Sample],
    overrides: Sequence[str] = (),
) -> dict[int, Evaluation]:
    """Train a config from each seed, and measure every last policy greedily: seed -> evaluation.

    A run ``<name>_s<seed>`` that has finished is not trained again.
    """
    from ekipl_lab.notebook.face import evaluate, load_config, load_policy
    from ekipl_lab.training.run import train

    found = {}
    for seed in seeds:
        config = load_config(path, [*overrides, f"seed={seed}", f"name={name}_s{seed}"])
        result = train(config)
        assert result.policy is not None  # `train` raises where a run is interrupted
        longest = int(config.grpo_settings["max_completion_length"])
        found[seed] = evaluate(load_policy(result.policy), samples, max_new_tokens=longest)
    return found


def compare_arms(
    a: Mapping[int, Evaluation],
    b: Mapping[int, Evaluation],
    metrics: Sequence[str] = ("accuracy_greedy",),
) -> pd.DataFrame:
    """A minus B over seeds: each seed's difference, then their mean with its t interval and p.

    ``p, Holm`` is adjusted over ``metrics``. p is empty where all seeds differ by the same.
    """
    import pandas as pd

    from ekipl_lab.evaluation import compare_seeds

    first, second = ({seed: one.records for seed, one in arm.items()} for arm in (a, b))
    rows = {}
    for found in compare_seeds(first, second, metrics):
        per_seed = {
            f"seed {seed}": difference
            for seed, difference in zip(found.seeds, found.differences, strict=True)
        }
        rows[found.metric] = {
            "A": found.value_a, "B": found.value_b, **per_seed, "A - B": found.difference,
            "from": found.low, "to": found.high, "p": found.p_value, "p, Holm": found.p_holm,
        }  # fmt: skip
    return pd.DataFrame(rows).astype(float).round(4).astype(object).where(lambda x: x.notna(), "")
