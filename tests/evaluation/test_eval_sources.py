"""What `ekipl eval` can measure: every kind of source is opened, named, and refused when broken."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from own_data import write_tiles
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from ekipl_lab import tracking
from ekipl_lab.benchmarks import load_samples
from ekipl_lab.commands.cli import build_parser
from ekipl_lab.commands.eval.options import job_of
from ekipl_lab.errors import ConfigError, DataError
from ekipl_lab.evaluation import evaluate
from ekipl_lab.evaluation.model_source import Loading, open_model_source
from ekipl_lab.policies import build_tiny_policy, load_policy, save_policy
from ekipl_lab.rewards import get_scorer
from ekipl_lab.types import GenerationParams

SAMPLES = load_samples("mini", task="counting", split="test", limit=4)
PARAMS = GenerationParams(temperature=0.0, max_new_tokens=6, seed=0)


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policies") / "nano"
    return save_policy(*build_tiny_policy("nano", seed=0), folder, dtype="float32")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield folder


def texts(source: object) -> list[str]:
    return [row[0].completion for row in source.propose(SAMPLES, 1, PARAMS)]  # type: ignore[attr-defined]


def test_a_folder(nano: Path) -> None:
    model = open_model_source(str(nano))
    assert (model.kind, model.name, model.is_teacher) == ("checkpoint", "nano", False)
    records = evaluate(model.source, SAMPLES, get_scorer("ekipl/auto"), params=PARAMS)
    assert {record.model_id for record in records} == {"nano"}
    with pytest.raises(ConfigError, match="does not exist"):
        open_model_source(str(nano / "none"))


@pytest.mark.parametrize("there, device", [(True, "cuda"), (False, "cpu")])
def test_the_gpu_is_taken_where_there_is_one(
    nano: Path, monkeypatch: pytest.MonkeyPatch, there: bool, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    chosen = []

    def load(path: str, **settings: object) -> object:
        chosen.append(settings["device"])
        return load_policy(path)

    monkeypatch.setattr("ekipl_lab.policies.load_policy", load)
    open_model_source(str(nano))
    open_model_source(str(nano), loading=Loading(device="cpu"))
    assert chosen == [device, "cpu"]


def test_the_key_tells_weights_apart(nano: Path, tmp_path: Path) -> None:
    other = save_policy(*build_tiny_policy("nano", seed=1), tmp_path / "nano", dtype="float32")
    assert open_model_source(str(nano)).key != open_model_source(str(other)).key
    copied = tmp_path / "copy" / "nano"
    shutil.copytree(nano, copied)
    assert open_model_source(str(nano)).key == open_model_source(str(copied)).key


def test_an_mlflow_model(nano: Path, store: Path, tmp_path: Path) -> None:
    other = save_policy(*build_tiny_policy("nano", seed=1), tmp_path / "nano", dtype="float32")
    with tracking.open_run("sources", "arm") as run:
        for step, folder, accuracy in ((10, nano, 0.7), (20, other, 0.4)):
            run.log_metrics({"eval/test/accuracy_greedy": accuracy}, step)
            run.log_checkpoint(folder, step, {"eval/test/accuracy_greedy": accuracy})
    last = open_model_source(f"mlflow:{run.run_id[:10]}")
    assert (last.kind, last.name) == ("mlflow", "arm-step-20")
    assert last.facts["run"] == run.run_id and last.facts["step"] == 20
    assert last.key == open_model_source(str(other)).key
    best = open_model_source(f"mlflow:{run.run_id}@best:eval/test/accuracy_greedy")
    assert best.facts["step"] == 10 and best.key == open_model_source(str(nano)).key
    assert open_model_source(f"mlflow:{run.run_id}@10").key == best.key
    by_id = open_model_source(f"models:/{best.facts['checkpoint']}")
    assert by_id.key == best.key and texts(by_id.source) == texts(
        open_model_source(str(nano)).source
    )
    for text, sentence in (
        (f"mlflow:{run.run_id}@15", "no checkpoint of step 15; there are 10, 20"),
        (f"mlflow:{run.run_id}@best:eval/test/acuracy_greedy", "did you mean"),
        (f"mlflow:{run.run_id}@eval/x", "a step or best:METRIC"),
        ("mlflow:nope", "No run is called 'nope'"),
        ("models:/m-nope", "no logged model 'm-nope'"),
    ):
        with pytest.raises((ConfigError, DataError), match=sentence):
            open_model_source(text)
    with tracking.open_run("sources", "empty") as empty:
        pass
    with pytest.raises(DataError, match="no checkpoint"):
        open_model_source(f"mlflow:{empty.run_id}")


def adapter(base: Path, folder: Path, scale: float = 1.0) -> Path:
    """A LoRA adapter of the policy in ``base`` that changes what it says."""
    policy = load_policy(base)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], base_model_name_or_path=str(base))
    model = get_peft_model(policy.model, config)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = scale * torch.randn(weight.shape, generator=generator)
    model.save_pretrained(folder)
    return folder


def test_an_adapter_is_merged_into_its_base(nano: Path, tmp_path: Path) -> None:
    folder = adapter(nano, tmp_path / "adapter")
    model = open_model_source(str(folder))
    assert (model.kind, model.facts["base"]) == ("adapter", str(nano))
    by_hand = load_policy(nano)
    saved = load_file(folder / "adapter_model.safetensors")
    state = by_hand.model.state_dict()
    for name in [n for n in saved if n.endswith("lora_A.weight")]:
        target = name.removeprefix("base_model.model.").replace("lora_A.weight", "weight")
        state[target] += 8 / 2 * saved[name.replace("lora_A", "lora_B")] @ saved[name]
    merged = model.source._policy.model.state_dict()  # type: ignore[attr-defined]
    assert all(torch.allclose(merged[name], state[name], atol=1e-5) for name in state)
    assert texts(model.source) != texts(open_model_source(str(nano)).source)
    assert model.key != open_model_source(str(nano)).key
    assert open_model_source(str(folder), loading=Loading(base=str(nano))).key == model.key


def test_an_adapter_that_would_do_nothing_is_refused(nano: Path, tmp_path: Path) -> None:
    folder = adapter(nano, tmp_path / "adapter")
    path = folder / "adapter_model.safetensors"
    weights = load_file(path)
    save_file({f"other.{name}": value for name, value in weights.items()}, path)
    with pytest.raises(ConfigError, match="does not fit its base"):
        open_model_source(str(folder))
    path.unlink()
    with pytest.raises(ConfigError, match=r"has no adapter_model\.safetensors"):
        open_model_source(str(folder))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": None})
    )
    with pytest.raises(ConfigError, match="does not name its base"):
        open_model_source(str(folder))


HUB = """
import sys
from ekipl_lab.errors import ConfigError
from ekipl_lab.evaluation.model_source import open_model_source
for name in ("someone/nano", "someone/nano@v1"):
    model = open_model_source(name)
    print(model.kind, model.name, model.facts["repo"], model.facts["revision"])
for name in ("someone/other", "someone/nano@v2"):
    try:
        open_model_source(name)
    except ConfigError as error:
        print(error)
"""


def test_a_hub_id_through_the_hub_client_and_its_cache(nano: Path, tmp_path: Path) -> None:
    """The real client, offline, on a cache in its own layout. Nothing can be downloaded here."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--someone--nano"
    shutil.copytree(nano, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    for ref in ("main", "v1"):
        (repo / "refs" / ref).write_text(commit)
    environment = {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", HUB], capture_output=True, text=True, env=environment, check=False
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[:2] == [f"hub someone/nano@{commit[:12]} someone/nano {commit}"] * 2
    assert "no folder 'someone/other'" in lines[2] and "from the hub" in lines[2]
    assert "someone/nano" in lines[3] and len(lines) == 4


def test_only_weights_and_settings_are_fetched(nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def download(repo: str, **options: object) -> str:
        asked.update(options, repo=repo)
        return str(nano)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    model = open_model_source("org/model@rev")
    assert (asked["repo"], asked["revision"], model.kind) == ("org/model", "rev", "hub")
    patterns = asked["allow_patterns"]
    assert isinstance(patterns, list) and not {"*.py", "*.bin", "*.pt", "*"} & set(patterns)


def test_a_teacher_of_a_config() -> None:
    model = open_model_source("teacher:configs/demo_ekipl.yaml#careful", SAMPLES, scenes=True)
    assert (model.kind, model.name, model.is_teacher) == ("teacher", "careful", True)
    score = get_scorer("ekipl/auto")
    records = evaluate(model.source, SAMPLES, score, mode="sampled", num_samples=8)
    right = [reward.success for record in records for reward in record.rewards]
    assert 0.7 < sum(map(bool, right)) / len(right) <= 1.0
    other = open_model_source("teacher:configs/demo_ekipl.yaml#sloppy", SAMPLES, scenes=True)
    assert other.key != model.key
    for text, sentence in (
        ("teacher:configs/demo_ekipl.yaml#carefull", "did you mean 'careful'"),
        ("teacher:configs/demo_ekipl.yaml", r"\(none given\)"),
        ("teacher:configs/demo_grpo.yaml#x", "no list of `teachers:`|Unknown teacher"),
        ("teacher:configs/none.yaml#x", "does not exist"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            open_model_source(text, SAMPLES, scenes=True)
    with pytest.raises(ConfigError, match="no chain writer"):
        open_model_source("teacher:configs/demo_ekipl.yaml#careful", SAMPLES)


def test_a_run_is_measured_on_the_task_it_was_trained_on(
    nano: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"benchmark": "mini", "task": "transformation"}
    with tracking.open_run("sources", "arm", {}, {"data": data}) as run:
        run.log_checkpoint(nano, 1, {})

    def tasks(*line: str) -> tuple[str, ...]:
        return job_of(build_parser().parse_args(["eval", *line])).tasks

    assert tasks(f"mlflow:{run.run_id}") == tasks(f"mlflow:{run.run_id}@1") == ("transformation",)
    assert tasks(f"mlflow:{run.run_id}", "--task", "geometry") == ("geometry",)
    assert capsys.readouterr().out == ""
    assert tasks(str(nano)) == ("counting",)
    said = "No --task is given: counting. Others are geometry, transformation."
    assert capsys.readouterr().out.strip() == said


def test_a_run_is_asked_as_it_was_trained(nano: Path, store: Path) -> None:
    def run_of(**data: object) -> str:
        with tracking.open_run("sources", "arm", {}, {"data": {"task": "counting", **data}}) as run:
            run.log_checkpoint(nano, 1, {})
        return f"mlflow:{run.run_id}"

    def instructed(*line: str) -> bool:
        return job_of(build_parser().parse_args(["eval", *line])).instructed

    stock, tiny = run_of(benchmark="mini", instructed=True), run_of(benchmark="mini")
    assert instructed(stock) is True and instructed(tiny) is False
    assert (
        instructed(stock, "--no-instructed") is False and instructed(tiny, "--instructed") is True
    )
    assert instructed(stock, "--task", "geometry") is True
    assert instructed(run_of(benchmark="other", instructed=True)) is False
    assert instructed(str(nano)) is False


def test_a_run_sees_pictures_of_the_size_it_was_trained_on(
    nano: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_tiles(tmp_path / "own")
    config = {
        "data": {"benchmark": str(data), "task": "floor", "image_size": 32},
        "policy": {"path": str(nano), "max_pixels": 900},
    }
    with tracking.open_run("sources", "arm", {}, config) as run:
        run.log_checkpoint(nano, 1, {})
    monkeypatch.chdir(tmp_path)

    def sizes(*line: str) -> tuple[int | None, ...]:
        job = job_of(build_parser().parse_args(["eval", *line]))
        return job.image_size, job.min_pixels, job.max_pixels

    source = f"mlflow:{run.run_id}"
    for named in (str(data), f"own/{data.name}", f"./own/../own/{data.name}"):
        assert sizes(source, "--benchmark", named) == (32, None, 900)
    assert sizes(source, "--benchmark", str(data), "--max-pixels", "400") == (32, None, 400)
    assert sizes(source) == sizes(str(nano)) == (None, None, None)
