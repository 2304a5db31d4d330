"""Wrong use, as a user meets it: one sentence on standard error, exit code 2, no traceback."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from ekipl_lab.commands.cli import main
from ekipl_lab.files import write_text

DEMO = "configs/demo_ekipl.yaml"
POLICY = Path("assets/policies/counting")


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """The sentence with which a command refuses."""
    capsys.readouterr()
    assert main(list(command)) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.strip().splitlines() if line.startswith("ekipl: ")]
    assert len(lines) == 1 and error.strip().endswith(lines[0])
    assert "Traceback" not in error
    return lines[0]


def test_an_out_that_is_empty_or_cannot_be_written_is_said(capsys, monkeypatch):
    monkeypatch.setattr("ekipl_lab.report.report_command", lambda runs, out: write_text(out, "x"))
    for path in ("/proc/x.html", "/proc/x/y/z.html", "README.md/x.html"):
        assert f"{path} cannot be written" in refused(capsys, "report", "run", "--out", path)
    for command in (["report", "run"], ["eval", "policy"], ["merge", "adapter"]):
        with pytest.raises(SystemExit):
            main([*command, "--out", ""])
        assert "it is empty; name a file or folder" in capsys.readouterr().err


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of its own, so that nothing is left in the project's."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "data.task=countin",
            "Unknown task of benchmark 'mini' 'countin'; did you mean 'counting'?",
        ),
        ("data.split=tst", "Unknown split 'tst'; did you mean 'test'?"),
        ("data.families=[count_pairs]", "did you mean 'count_pair'?"),
        ("teecher=1", "Unknown config key 'teecher'; did you mean 'teachers'?"),
        ("grpo.betta=0.1", "did you mean 'beta'?"),
        ("teachers.0.type=oracel", "Unknown teacher type 'oracel'; did you mean 'oracle'?"),
        ("policy.path=assets/policies/none", "Checkpoint 'assets/policies/none' does not exist"),
        ("grpo.num_generations=1", "a group needs at least 2 actions"),
        ("grpo.num_generations=5", "a group would be cut"),
        ("data.limit=0", "data.limit"),
        ("data.limit=2", "one generation needs 8 prompts"),
    ],
)
def test_wrong_settings(store, capsys, override, sentence):
    assert sentence in refused(capsys, "train", "--config", DEMO, "name=wrong", override)


NEAR = "does not exist; did you mean 'assets/policies/counting'?"


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("assets/policies/countng", NEAR),
        ("assets/polices/counting", NEAR),
        ("./assets/policies/countng", NEAR),
        ("/nowhere/at/all", "does not exist; give the folder of a checkpoint"),
    ],
)
def test_a_misspelt_path_of_a_policy(store, capsys, path, hint, dry):
    command = ("train", "--config", DEMO, "name=wrong", f"policy.path={path}")
    sentence = refused(capsys, *command, *(["--dry-run"] if dry else []))
    assert f"Checkpoint {path!r} {hint}" in sentence


def test_a_hub_id_is_not_taken_for_a_path(store, capsys):
    command = ("train", "--config", DEMO, "name=wrong", "policy.path=nobody/nothing", "--dry-run")
    assert "download it first" in refused(capsys, *command)


def test_paths_that_are_not_there(capsys, tmp_path):
    (tmp_path / "adapter").mkdir()
    missing = str(tmp_path / "adaptor")
    near = f"{missing!r} does not exist; did you mean {str(tmp_path / 'adapter')!r}?"
    assert near in refused(capsys, "merge", missing, "--out", str(tmp_path / "out"))
    assert near in refused(capsys, "data", "check", missing)
    assert "'/nonexistent' does not exist" in refused(capsys, "data", "check", "/nonexistent")
    assert "'no.yaml' does not exist" in refused(capsys, "data", "check", "no.yaml")
    nowhere = "mlruns/work/nope/policy"
    sentence = refused(capsys, "merge", nowhere, "--out", str(tmp_path / "out"))
    assert f"Adapter {nowhere!r} does not exist" in sentence


def test_a_text_only_model(store, capsys, tmp_path):
    folder = tmp_path / "text_only"
    folder.mkdir()
    facts = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(facts))
    sentence = refused(capsys, "train", "--config", DEMO, "name=wrong", f"policy.path={folder}")
    assert "text-only model" in sentence


def test_a_blind_model(store, capsys, tmp_path):
    folder = tmp_path / "blind"
    folder.mkdir()
    for path in POLICY.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    weights = load_file(POLICY / "model.safetensors")
    for name, tensor in weights.items():
        if "visual" in name:
            tensor.zero_()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    sentence = refused(capsys, "train", "--config", DEMO, "name=wrong", f"policy.path={folder}")
    assert "blind" in sentence


def own_data(folder: Path, image: bytes | None, records: int = 8) -> Path:
    """A data set of one's own in the form of docs/data.md; its image holds ``image``."""
    folder.mkdir()
    rows = [
        {"name": f"r{i}", "picture": "1.png", "text": "How many?", "count": i}
        for i in range(records)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if image is not None:
        (folder / "1.png").write_bytes(image)
    (folder / "data.yaml").write_text(
        "name: own\ntask: counting\nanswer_type: number\nsplits: {train: train.jsonl}\n"
        "columns: {id: name, image: picture, question: text, answer: count}\n"
    )
    return folder / "data.yaml"


@pytest.mark.parametrize("image", [b"\x89PNG\r\n\x1a\nbroken", b"", None])
def test_a_broken_image(store, capsys, tmp_path, image):
    path = own_data(tmp_path / "own", image)
    sentence = refused(
        capsys,
        *("train", "--config", "configs/demo_grpo.yaml", "name=wrong", f"data.benchmark={path}"),
        *("data.families=null", "evaluation.sets=[{split: train, limit: 4}]"),
    )
    assert "1.png" in sentence


def test_an_empty_dataset(store, capsys, tmp_path):
    path = own_data(tmp_path / "own", None, records=0)
    sentence = refused(
        capsys,
        *("train", "--config", "configs/demo_grpo.yaml", "name=wrong", f"data.benchmark={path}"),
        "data.families=null",
    )
    assert "train.jsonl: no record in it" in sentence


@pytest.mark.parametrize("command", ["mlflow", "app"])
def test_a_port_in_use(command):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        line = [sys.executable, "-m", "ekipl_lab", command, "--port", port]
        result = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2
    assert port in result.stderr and "Traceback" not in result.stderr
