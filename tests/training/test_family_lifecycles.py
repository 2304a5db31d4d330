"""Real architectures from start to end: trained, killed, resumed, merged, evaluated again.

Width 32, random weights, each family's own processor (`families`); one family here, all in `make
verify`. Teachers' actions are kept, the whole model or an adapter is trained.
"""

import signal

import families
import pytest
import torch
import yaml
from kill_worker import killed
from safetensors.torch import load_file

from ekipl_lab.commands import cli
from ekipl_lab.evaluation import read_records
from ekipl_lab.policies.save import save_policy
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.run import train

torch.set_num_threads(1)


def settings(start, adapter):
    return {
        "policy": {"path": str(start), **({"adapter": {"rank": 2}} if adapter else {})},
        "data": {"limit": 8, "families": ["count_one"]},
        "teachers": [{"type": "oracle", "id": "oracle"}],
        "grpo": {
            "max_steps": 3, "num_generations": 4, "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2, "max_completion_length": 48, "learning_rate": 1e-2,
            "activation_checkpointing": adapter,
        },
        "evaluation": {
            "sets": [{"split": "test", "limit": 4}], "at_start": False, "every": 0,
            "at_end": True, "num_samples": 2, "ks": [1, 2],
        },
        "tracking": {"checkpoint_every": 1},
    }  # fmt: skip


def killed_in_its_third_update(folder):
    """kill -9 before the optimiser's third step, in a process of its own."""
    out = folder / "said.txt"
    code = killed(folder / "unit.yaml", "killed", "optimiser", 3, out)
    assert code == -signal.SIGKILL, out.read_text(encoding="utf-8")[-3000:]


def said(path):
    """Greedy completions of an evaluation, sample by sample."""
    records = [record for record in read_records(path) if record.mode == "greedy"]
    return {record.sample_id: record.actions[0].completion for record in records}


def lifecycle(folder, monkeypatch, name, adapter):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    start = save_policy(*families.build(name), folder / "start", dtype="float32")
    (folder / "unit.yaml").write_text(yaml.safe_dump(settings(start, adapter)), encoding="utf-8")
    whole = train(load_config(folder / "unit.yaml", ["name=whole"]))
    killed_in_its_third_update(folder)
    resumed = train(load_config(folder / "unit.yaml", ["name=killed"]))
    assert (whole.status, resumed.status, resumed.step) == ("finished", "finished", 3)

    weights = "adapter_model.safetensors" if adapter else "model.safetensors"
    ours, theirs = (load_file(run.policy / weights) for run in (resumed, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    moved = ours if adapter else load_file(start / weights)
    assert any(not torch.equal(moved[key], theirs[key]) for key in moved) or adapter
    if adapter:
        assert all(weight.abs().sum() > 0 for key, weight in ours.items() if "lora_B" in key)

    policy = resumed.policy
    if adapter:
        policy = folder / "merged"
        assert cli.main(["merge", str(resumed.policy), "--out", str(policy)]) == 0
        base, merged = (load_file(p / "model.safetensors") for p in (start, policy))
        changed = {key for key in base if not torch.equal(base[key], merged[key])}
        assert len(changed) == 14 and not any("vis" in key for key in changed)
    options = ["--split", "test", "--limit", "4", "--families", "count_one", "--samples", "2",
               "--k", "1", "2", "--max-new-tokens", "48"]  # fmt: skip
    assert cli.main(["eval", str(policy), *options]) == 0
    (measured,) = (folder / "eval").glob("*/records.parquet")
    at_end = said(resumed.folder / "evaluation" / "test" / "step-000003.parquet")
    assert len(at_end) == 4 and said(measured) == at_end


def test_an_adapter_on_qwen2_5_vl(tmp_path, monkeypatch):
    lifecycle(tmp_path, monkeypatch, "qwen2_5_vl", adapter=True)


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_family(tmp_path, monkeypatch, name, adapter):
    lifecycle(tmp_path, monkeypatch, name, adapter)
