"""Tables of what notebooks look at: actions with their scores and chains, attacks, plain tables."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.benchmarks.mini.chains import check_chain
from ekipl_lab.rewards import get_scorer
from ekipl_lab.rewards.audit import AuditRow
from ekipl_lab.tables import Table, text_of
from ekipl_lab.types import Action, Sample, Scorer

if TYPE_CHECKING:
    import pandas as pd


def score_table(
    sample: Sample, completions: Mapping[str, str], scorer: str | Scorer = "ekipl/auto"
) -> pd.DataFrame:
    """What named completions earn on a sample: each component, the total, the answer that was read.

    None stands where something could not be scored.
    """
    import pandas as pd

    judge = get_scorer(scorer) if isinstance(scorer, str) else scorer
    rows = []
    for name, text in completions.items():
        reward = judge(sample, Action(text, name, "by hand"))
        found = {"answer read": reward.extracted_answer, **reward.components}
        rows.append({"completion": name, **found, "total": reward.total, "success": reward.success})
    return pd.DataFrame(rows).set_index("completion")


def action_table(
    samples: Sequence[Sample],
    actions: Sequence[Sequence[Action]],
    scorer: str = "ekipl/auto",
) -> pd.DataFrame:
    """One row per action of every sample: source, text, reward, and its chain against the scene.

    ``actions`` holds a list for each sample of the built-in benchmark. ``sound``: every step is
    true and the answer follows from them.
    """
    import pandas as pd

    judge = get_scorer(scorer)
    rows = []
    for sample, proposed in zip(samples, actions, strict=True):
        for action in proposed:
            reward, chain = judge(sample, action), check_chain(sample, action.completion)
            rows.append(
                {
                    "source": action.source,
                    "completion": action.completion,
                    "reward": reward.total,
                    "right": reward.success,
                    "true steps": len(chain.true_steps),
                    "false steps": len(chain.false_steps),
                    "sound": chain.sound,
                }
            )
    return pd.DataFrame(rows)


def audit_frame(rows: Iterable[AuditRow]) -> pd.DataFrame:
    """Attack x scorer: how much more a scorer gave than was deserved; 0 where it was not gamed."""
    import pandas as pd

    cells = [
        {
            "attack": row.attack,
            "scorer": row.scorer,
            "too much": row.score - row.deserved if row.gamed else 0.0,
        }
        for row in rows
    ]
    table = pd.DataFrame(cells)
    return table.pivot_table(index="attack", columns="scorer", values="too much", sort=False)


def as_frame(table: Table) -> pd.DataFrame:
    """A table of the report or of a command as a DataFrame of its texts."""
    import pandas as pd

    rows = [[text_of(cell) for cell in row] for row in table.rows]
    return pd.DataFrame(rows, columns=table.columns)


def committed(path: str) -> Any:
    """The JSON of a committed record, such as ``results/blind.json``."""
    from ekipl_lab.tracking.store import project_root

    return json.loads((project_root() / Path(path)).read_text(encoding="utf-8"))


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What ``call`` returns, and the seconds that it took."""
    begin = time.monotonic()
    return call(), time.monotonic() - begin
