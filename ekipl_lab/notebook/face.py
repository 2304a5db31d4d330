"""What ``import ekipl_lab as ek`` offers, in the form in which it is typed (docs/notebook_api.md).

Thin: each function fills in what a notebook need not say and calls the one of the library.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ekipl_lab.types import POLICY, Action, ActionGroup, ActionSource, RewardBreakdown, Sample

if TYPE_CHECKING:
    import pandas as pd

    from ekipl_lab.evaluation import Comparison
    from ekipl_lab.evaluation.run import Mode
    from ekipl_lab.records import RecordedGroup
    from ekipl_lab.training.config.run_config import RunConfig
    from ekipl_lab.types import EvalRecord

#: Side in pixels up to which a picture is shown enlarged.
SMALL = 100


def load_policy(
    source: str | Path,
    *,
    dtype: str = "float32",
    device: str | None = None,
    base: str | None = None,
) -> ActionSource:
    """A policy that proposes actions: ``load_policy("assets/policies/counting").propose(...)``.

    ``source`` is what `ekipl eval` takes: the folder of a checkpoint or adapter, ``mlflow:RUN``,
    ``mlflow:RUN@STEP``, a hub id. A folder may be named from the project's root. Without a
    ``device`` it is the GPU where there is one.
    """
    from ekipl_lab.evaluation.model_source import Loading, open_model_source
    from ekipl_lab.notebook.training import quiet

    quiet()
    loading = Loading(dtype=dtype, device=device, base=base)
    return open_model_source(str(_found(source)), loading=loading).source


def build_teacher(spec: Mapping[str, Any], samples: Sequence[Sample] = ()) -> ActionSource:
    """A teacher from its settings, those of a config's ``teachers:``; its id defaults to its type.

    ``samples`` are what a ``random`` teacher takes its answers from. An ``oracle`` needs the
    built-in benchmark.
    """
    from ekipl_lab.benchmarks.mini.chains import CHAIN_STYLES, write_chain
    from ekipl_lab.notebook.training import quiet
    from ekipl_lab.teachers.adapters.random import pool_of
    from ekipl_lab.teachers.build import build_teachers, teacher_spec

    quiet()
    checked = teacher_spec({"id": spec.get("type"), **spec})
    (teacher,) = build_teachers(
        [checked], write_chain, styles=CHAIN_STYLES, pool=pool_of(samples) if samples else None
    )
    return teacher


def score(
    sample: Sample,
    action: Action | str,
    scorer: str = "ekipl/auto",
    weights: Mapping[str, float] | None = None,
) -> RewardBreakdown:
    """What a completion earns on a sample, criterion by criterion; text counts as the policy's."""
    from ekipl_lab.rewards import get_scorer

    if isinstance(action, str):
        action = Action(action, POLICY, "text")
    return get_scorer(scorer, weights)(sample, action)


def build_group(
    sample: Sample,
    actions: Sequence[Action],
    rewards: Sequence[RewardBreakdown] | None = None,
    *,
    rule: str = "top_g",
    group_size: int | None = None,
    baseline: str = "kept",
    scale_rewards: str = "group",
    scorer: str = "ekipl/auto",
    **params: Any,
) -> ActionGroup:
    """The group that training would make of these actions, by the trainer's own function.

    ``actions`` lists the policy's first. Without ``rewards`` they are scored; ``group_size``
    defaults to the number of the policy's actions; ``params`` are the rule's own.
    """
    from ekipl_lab.groups import build

    if rewards is None:
        rewards = [score(sample, action, scorer) for action in actions]
    if group_size is None:
        group_size = sum(action.source == POLICY for action in actions)
    return build.build_group(
        sample,
        actions,
        rewards,
        rule=rule,
        group_size=group_size,
        baseline=baseline,
        scale_rewards=scale_rewards,
        **params,
    )


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The config of a run with ``a.b=c`` overrides; may be named from the project's root."""
    from ekipl_lab.training.config import run_config

    return run_config.load_config(_found(path), overrides)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a source did on some samples: a record for each, and tables of them."""

    records: tuple[EvalRecord, ...]

    @property
    def summary(self) -> pd.DataFrame:
        """Every metric with its interval: metric, value, low, high, n (items), method."""
        return self.by()

    def by(self, *slices: str) -> pd.DataFrame:
        """The summary of every slice, such as ``by("family")``."""
        import pandas as pd

        from ekipl_lab.evaluation import summarize

        columns = ("metric", "value", "low", "high", "n", "method")
        return pd.DataFrame(
            [
                {**row.group, **{name: getattr(row, name) for name in columns}}
                for row in summarize(self.records, by=slices)
            ]
        )


def evaluate(
    source: ActionSource,
    samples: Sequence[Sample],
    scorer: str = "ekipl/auto",
    *,
    mode: Mode = "greedy",
    num_samples: int = 32,
    temperature: float = 1.0,
    max_new_tokens: int = 64,
    seed: int = 0,
) -> Evaluation:
    """One greedy action per sample, or ``num_samples`` sampled ones for pass@k."""
    from ekipl_lab.evaluation import run
    from ekipl_lab.rewards import get_scorer

    records = run.evaluate(
        source,
        samples,
        get_scorer(scorer),
        mode=mode,
        num_samples=num_samples,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        seed=seed,
    )
    return Evaluation(tuple(records))


def compare(a: Evaluation, b: Evaluation) -> Comparison:
    """A minus B on the same samples, paired by sample: difference, interval, p, won and lost."""
    from ekipl_lab.evaluation import compare as compare_records

    return compare_records(a.records, b.records)


def runs(name: str | None = None, *, limit: int = 100) -> pd.DataFrame:
    """Runs of the store, latest first: id, name, status, start (UTC), method, task, seed, and the
    last measured accuracy of every evaluation set."""
    import pandas as pd

    from ekipl_lab import tracking

    rows = []
    for run in tracking.list_runs(name=name, limit=limit):
        accuracies = {
            metric.removeprefix("eval/").removesuffix("_greedy"): value
            for metric, value in run.metrics.items()
            if metric.startswith("eval/")
            and metric.endswith("/accuracy_greedy")
            and metric.count("/") == 2
        }
        rows.append(
            {
                "run_id": run.run_id,
                "name": run.name,
                "status": run.status,
                "start": datetime.fromtimestamp(run.start, UTC),
                **{key: run.params.get(key) for key in ("method", "task", "seed")},
                **accuracies,
            }
        )
    return pd.DataFrame(rows)


def load_groups(run: str, step: int | None = None) -> list[ActionGroup]:
    """The groups that a run recorded at a training step (default: its last), samples rebuilt."""
    from ekipl_lab import records, tracking

    folder = tracking.run_artifact(run, "groups")
    if step is None:
        step = max(records.list_steps(folder), default=0)
    size = tracking.read_config(run)["data"].get("image_size")
    found = records.load_groups(folder, step)
    return [record.with_sample(rebuild_sample(record, size)) for record in found]


def rebuild_sample(record: RecordedGroup, image_size: int | None = None) -> Sample:
    """The sample of a recorded group; without images where only its text was kept."""
    from ekipl_lab.benchmarks import load_sample

    if record.sample_id.startswith("mini/"):
        sample = load_sample(record.sample_id, image_size=image_size)
        if (sample.question, sample.answer) == (record.question, record.answer):
            return sample
    return Sample(
        id=record.sample_id,
        task=record.task,
        split=record.split,
        images=(),
        question=record.question,
        answer=record.answer,
        answer_type=record.answer_type,
        family=record.family,
        difficulty=record.difficulty,
    )


def write_report(run_ids: Sequence[str], out: str | Path = "report.html") -> Path:
    """Write the self-contained page about runs (or folders of `ekipl eval`); its path."""
    from ekipl_lab import report

    return report.write_report(report.gather_runs(run_ids), out)


def show(thing: Any) -> None:
    """Display a sample, action, group, evaluation, picture, plotly figure or table."""
    from IPython.display import HTML, display

    from ekipl_lab.notebook.show import show_figure, show_group, show_image

    if isinstance(thing, ActionGroup):
        display(show_group(thing))
    elif isinstance(thing, Sample):
        display(*_enlarged(thing.images), HTML(_bold(thing.question, thing.answer)))
    elif isinstance(thing, Action):
        display(HTML(f"{_bold(thing.source)}<pre>{html.escape(thing.completion)}</pre>"))
    elif isinstance(thing, Evaluation):
        display(thing.summary)
    elif hasattr(thing, "to_plotly_json"):
        show_figure(thing)
    elif hasattr(thing, "to_html"):
        _show_table(thing)
    elif hasattr(thing, "getbands"):
        show_image(thing)
    else:
        display(thing)


def _show_table(table: Any) -> None:
    """A DataFrame whole: no text of it is cut off."""
    import pandas as pd
    from IPython.display import display

    with pd.option_context("display.max_colwidth", None, "display.max_rows", None):
        display(table)


def _bold(title: str, text: str = "") -> str:
    return f"<b>{html.escape(title)}</b> {html.escape(text)}"


def _enlarged(images: Iterable[Any]) -> list[Any]:
    """Small pictures three times as large, pixel by pixel."""
    return [
        image.resize((image.width * 3, image.height * 3), 0) if image.width <= SMALL else image
        for image in images
    ]


def _found(path: str | Path) -> str | Path:
    """``path``, or the one of that name in the project where only that exists."""
    from ekipl_lab.tracking.store import project_root

    elsewhere = project_root() / path
    return elsewhere if not Path(path).exists() and elsewhere.exists() else path
