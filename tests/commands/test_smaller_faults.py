"""Small faults that were found from outside (docs/faults.md lists all of them)."""

import pytest
import yaml
from rich.table import Table
from wrong_configs import BASE

from ekipl_lab import tracking
from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError
from ekipl_lab.tables import piped
from ekipl_lab.training.checkpoint import check_same_config


def test_a_run_is_called_by_its_name_not_by_its_file(monkeypatch, capsys):
    def trained(config, *, on_event, fresh):
        on_event({"event": "start", "phase": "starting", "run_id": "r1"})
        raise ConfigError(f"{config.name} ends here")

    monkeypatch.setattr("ekipl_lab.training.run.train", trained)
    assert main(["train", "--config", "configs/demo_ekipl.yaml", "name=other"]) == 2
    said = "".join(capsys.readouterr())
    assert "other: starting" in said and "other ends here" in said and "demo_ekipl" not in said


def test_a_reward_that_is_always_none_ends_the_run_with_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "shy.py").write_text("def score(completion, sample):\n    return None\n")
    settings = BASE | {"evaluation": {"sets": []},
                       "reward": {"scorer": f"python:{tmp_path}/shy.py:score"}}  # fmt: skip
    (tmp_path / "shy.yaml").write_text(yaml.safe_dump(settings))
    assert main(["train", "--config", str(tmp_path / "shy.yaml")]) == 2
    assert "None of the run's actions could be scored by 'python:" in capsys.readouterr().err
    assert [run.status for run in tracking.list_runs(name="shy")] == ["FAILED"]
    assert not (tmp_path / "work/shy/policy").exists()


def test_another_config_under_the_same_name_is_told_of_name():
    check_same_config({"seed": 1}, {"seed": 1}, "demo")
    with pytest.raises(ConfigError, match=r"'demo' .*seed 1 -> 2.* or name=\.\.\. to start"):
        check_same_config({"seed": 1}, {"seed": 2}, "demo")


def test_tables_in_a_pipe_keep_their_words(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    table, words = Table(), [f"a-word-of-thirty-characters-{i:02d}" for i in range(12)]
    for _ in words:
        table.add_column()
    table.add_row(*words)
    piped().print(table)
    out = capsys.readouterr().out
    assert all(word in out for word in words)
    monkeypatch.setenv("COLUMNS", "80")
    piped().print(table)
    assert not all(word in capsys.readouterr().out for word in words)  # where a width is asked for
