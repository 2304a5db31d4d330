"""What a cell rests on beside its settings: own data and code, teachers' files, the first policy.

Its digests are in the cell's record (``inputs``), so that cells of other data or weights are not
put on one page: files may change while a study waits for its next cells. The built-in benchmark is
the code's, whose revision is in the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ekipl_lab.errors import ConfigError
from ekipl_lab.studies.plan import Cell
from ekipl_lab.studies.record import CellRecord, settings_hash
from ekipl_lab.teachers.adapters.local import weights_fingerprint
from ekipl_lab.training.inputs import file_tags, fingerprint, shown_fingerprint
from ekipl_lab.training.paths import policy_path
from ekipl_lab.training.run_data import load_evaluation_sets, load_training_samples


def inputs_of(cell: Cell) -> dict[str, str]:
    """What it rests on -> 16 hex digits of that, as it is now."""
    path = cell.base.policy.path or ""
    found = {f"policy {path}": settings_hash(weights_fingerprint(str(policy_path(path))))}
    used = {}
    if cell.base.data.benchmark != "mini":
        for name, samples in load_evaluation_sets(cell.base).items():
            used[f"set {name} of task {cell.task}"] = samples
    for config in (cell.base, *(step.config for step in cell.steps)):
        tags = file_tags(config)
        teachers = [spec.model_dump(mode="json") for spec in config.teachers]
        about = settings_hash([config.reward.model_dump(mode="json"), teachers])
        found |= {f"{tag.removeprefix('ekipl.')} of {about}": tags[tag] for tag in tags}
    for config in (step.config for step in cell.steps):
        for what, own in (("policy", config.policy.path), ("distilled", config.ekipl.distill.path)):
            if own is not None and own != path:
                found[f"{what} {own}"] = settings_hash(weights_fingerprint(str(policy_path(own))))
        if config.data.benchmark != "mini":
            settings = settings_hash([config.seed, config.data.model_dump(mode="json")])
            used[f"training data {settings} of {config.data.benchmark}"] = load_training_samples(
                config
            )
    for name, samples in used.items():
        found[name] = settings_hash([fingerprint(samples), shown_fingerprint(samples)])
    return found


def check_alike(records: Iterable[CellRecord], now: Mapping[str, Mapping[str, str]]) -> None:
    """ConfigError where two cells rest on other data or weights of one name.

    ``now``: cells that are still to run -> their inputs. Records of earlier versions have none.
    """
    told = {str(one.raw["cell"]): one.raw.get("inputs", {}) for one in records}
    first: dict[str, tuple[str, str]] = {}
    for cell, inputs in (told | dict(now)).items():
        for name, digest in inputs.items():
            other, before = first.setdefault(name, (cell, digest))
            if before != digest:
                raise ConfigError(
                    f"Cells {other} and {cell} cannot be compared: {name} has changed between "
                    "them. Put it back, or run the cells of before again (delete their records, "
                    "or --fresh)."
                )
