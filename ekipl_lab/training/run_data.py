"""The samples of a run as its settings ask for them: training prompts and evaluation sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

from ekipl_lab.benchmarks.image_files import with_pixels
from ekipl_lab.errors import DataError, RewardError
from ekipl_lab.prompts import instructed
from ekipl_lab.training.config.combinations import evaluation_data
from ekipl_lab.training.config.run_config import RunConfig
from ekipl_lab.training.config.sections import DataSettings, PolicySettings
from ekipl_lab.types import Sample

#: More than any data set holds: what cannot be used is left out before `limit` is reached.
MOST_RECORDS = 10**9
#: Hears of each record that was left out; by default a warning says so.
OnBad = Callable[[str], None]


def load_training_samples(config: RunConfig, on_bad: OnBad = warnings.warn) -> list[Sample]:
    """The training prompts of a config."""
    return load_data(config.data, config.policy, on_bad)


def load_evaluation_sets(
    config: RunConfig, on_bad: OnBad = warnings.warn
) -> dict[str, list[Sample]]:
    """Label -> samples of every evaluation set of a config."""
    return {
        chosen.label: load_data(evaluation_data(config, chosen), config.policy, on_bad)
        for chosen in config.evaluation.sets
    }


def load_data(
    data: DataSettings, policy: PolicySettings, on_bad: OnBad = warnings.warn
) -> list[Sample]:
    """The samples of data settings, asked as these say, images as the policy's settings say.

    ``on_bad`` hears of each record that ``on_bad_record: skip`` leaves out.
    """
    from ekipl_lab.benchmarks import load_samples

    # All other settings are the loader's own keywords.
    keywords = data.model_dump(exclude={"benchmark", "instructed", "on_bad_record"})
    load = partial(load_samples, data.benchmark, **keywords)
    sized = partial(with_pixels, min_pixels=policy.min_pixels, max_pixels=policy.max_pixels)
    if data.on_bad_record == "stop":
        return [instructed(sized(sample), data.instructed) for sample in load()]
    many = data.limit if data.benchmark == "mini" else MOST_RECORDS
    everything = load(limit=many, on_bad=on_bad)
    return list(islice(_usable(everything, sized, data, on_bad), data.limit))


def _usable(
    samples: Sequence[Sample],
    sized: Callable[[Sample], Sample],
    data: DataSettings,
    on_bad: OnBad,
) -> Iterator[Sample]:
    """The samples whose pictures can be read and whose ground truth can be scored."""
    from ekipl_lab.rewards import check_ground_truth

    for sample in samples:
        try:
            check_ground_truth(sample)
            sample = instructed(sized(sample), data.instructed)
            for _ in sample.images:
                pass  # each is read
        except (DataError, RewardError) as error:
            on_bad(f"{sample.id}: {error}" if sample.id not in str(error) else str(error))
            continue
        yield sample


def left_out_lines(left_out: Sequence[str], named: int = 10) -> list[str]:
    """What is said of the records that were left out: how many, and the first few by name."""
    if not left_out:
        return []
    more = [f"  and {len(left_out) - named} more"] if len(left_out) > named else []
    head = f"left out                {len(left_out)} bad records (data.on_bad_record: skip)"
    return [head, *(f"  {text}" for text in left_out[:named]), *more]
