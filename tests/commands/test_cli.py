"""The command line: fast help, and one clear sentence with exit code 2 for wrong use."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ekipl_lab.commands import doctor
from ekipl_lab.commands.cli import COMMANDS, main
from ekipl_lab.commands.console import _Row, format_metrics
from ekipl_lab.commands.doctor import Finding, examine, print_findings
from ekipl_lab.commands.train import finished_line
from ekipl_lab.errors import ConfigError, unknown_name
from ekipl_lab.studies import cells as studies
from ekipl_lab.studies.launchers.local import run_cells
from ekipl_lab.training.config.run_config import load_config, parse_config
from ekipl_lab.training.run import TrainResult


def test_help_imports_no_framework():
    code = (
        "import sys\n"
        "from ekipl_lab.commands.cli import build_parser\n"
        "build_parser().format_help()\n"
        "heavy = {'torch', 'transformers', 'trl', 'mlflow', 'datasets', 'numpy', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_module_that_runs(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    assert f"usage: ekipl {command}" in capsys.readouterr().out


def test_help_lists_the_commands_in_order(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    names = list(dict.fromkeys(command.split()[0] for command in COMMANDS))
    places = [said.index(f"\n    {name} ") for name in names]
    assert places == sorted(places)
    assert COMMANDS["doctor"] in said


def test_unknown_name_offers_the_nearest():
    message = str(unknown_name("task", "countin", ["counting", "geometry"]))
    assert message == "Unknown task 'countin'; did you mean 'counting'? Known: counting, geometry."


def test_error_is_one_sentence_and_code_2(capsys):
    assert main(["compare", "configs/no_such_file.yaml"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("ekipl: Config file configs/no_such_file.yaml does not exist")
    assert len(captured.err.strip().splitlines()) == 1
    assert "Traceback" not in captured.err


def test_cells_are_named_after_their_file_and_must_differ(tmp_path):
    first, second = tmp_path / "a" / "x.yaml", tmp_path / "b" / "x.yaml"
    for path in (first, second):
        path.parent.mkdir()
        path.write_text("{}")
    with pytest.raises(ConfigError, match="'x'"):
        studies.plan_cells([first, second])
    (cell,) = studies.plan_cells([first], ["seed=3"])
    assert cell == studies.RunSpec("x", first, ("seed=3",))
    assert studies.command(cell)[1:] == [
        "-m",
        "ekipl_lab",
        "train",
        "--config",
        str(first),
        "seed=3",
    ]


def test_seeds_make_a_cell_of_every_arm_for_each(tmp_path):
    arms = [tmp_path / "x.yaml", tmp_path / "y.yaml"]
    for path in arms:
        path.write_text("{}")
    cells = studies.plan_cells(arms, ["a=1"], [4, 7])
    assert [cell.name for cell in cells] == ["x-s4", "y-s4", "x-s7", "y-s7"]
    assert cells[3] == studies.RunSpec("y-s7", arms[1], ("a=1", "seed=7", "name=y-s7"))
    with pytest.raises(ConfigError, match="named twice"):
        studies.plan_cells(arms, [], [4, 4])


def test_arms_of_several_seeds_print_commands_that_give_them(capsys):
    arms = ["configs/demo_grpo.yaml", "configs/demo_ekipl.yaml"]
    assert main(["compare", *arms, "--seeds", "1", "2", "--print-cells"]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    configs = [load_config(line[line.index("--config") + 1], line[6:]) for line in lines]
    assert [config.name for config in configs] == [
        "demo_grpo-s1", "demo_ekipl-s1", "demo_grpo-s2", "demo_ekipl-s2",
    ]  # fmt: skip
    assert [config.seed for config in configs] == [1, 1, 2, 2]


def test_overrides_of_a_comparison_are_told_from_its_files(capsys):
    command = ["compare", "configs/demo_grpo.yaml", "grpo.max_steps=3", "configs/demo_ekipl.yaml"]
    assert main([*command, "--set", "seed=5", "--print-cells"]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert [line[-2:] for line in lines] == [["grpo.max_steps=3", "seed=5"]] * 2
    assert main(["compare", "seed=5"]) == 2
    assert "No config file is given beside 'seed=5'" in capsys.readouterr().err


def test_arms_must_be_comparable_within_a_seed(tmp_path, capsys):
    arm = tmp_path / "other.yaml"
    settings = yaml.safe_load(Path("configs/demo_grpo.yaml").read_text(encoding="utf-8"))
    arm.write_text(yaml.safe_dump(settings | {"reward": {"weights": {"accuracy": 3.0}}}))
    command = ["compare", "configs/demo_grpo.yaml", str(arm), "--seeds", "1", "2"]
    assert main(command) == 2
    assert "other-s1 and demo_grpo-s1 cannot be compared" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["headroom", "--sed", "3"], "ekipl headroom: error: unknown argument '--sed'; did you "
         "mean '--seed'?"),
        (["train", "--config", "x.yaml", "--freshh=1"], "did you mean '--fresh'?"),
        (["doctor", "now"], "unknown argument 'now'; see `ekipl doctor --help`."),
    ],
)  # fmt: skip
def test_an_unknown_flag_offers_the_nearest(command, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_only_json_objects_with_an_event_are_events():
    assert studies.parse_event('{"event": "progress", "step": 3}\n') == {
        "event": "progress",
        "step": 3,
    }
    assert studies.parse_event('{"step": 3}') is None
    bar = "actions:   0%|          | 0/2 [00:00<?, ?it/s]"
    assert studies.parse_event(bar + '{"event": "progress", "step": 2}\n')["step"] == 2
    assert studies.parse_event(bar + '{"event": "progress", "st') is None
    assert studies.parse_event("{not json}") is None
    assert studies.parse_event("warning: something") is None


def fake_cells(monkeypatch: pytest.MonkeyPatch, codes: dict[str, str]) -> list[studies.RunSpec]:
    def command(cell: studies.RunSpec, *, fresh: bool = False) -> list[str]:
        return [sys.executable, "-c", codes[cell.name]]

    monkeypatch.setattr(studies, "command", command)
    return [studies.RunSpec(name, Path(f"{name}.yaml")) for name in codes]


def test_cells_run_and_their_logs_keep_all_they_say(monkeypatch, tmp_path):
    cells = fake_cells(
        monkeypatch,
        {
            "one": 'print(\'{"event": "start", "run_id": "r1"}\'); print(\'some warning\')',
            "two": "import sys; print('broken thing', file=sys.stderr); sys.exit(2)",
        },
    )
    seen = []
    results = run_cells(
        cells, jobs=1, logs=tmp_path, on_event=lambda name, event: seen.append((name, event))
    )
    assert [(r.cell.name, r.returncode, r.run_id) for r in results] == [
        ("one", 0, "r1"),
        ("two", 2, None),
    ]
    assert seen == [
        ("one", {"event": "start", "run_id": "r1"}),
        ("two", {"event": "message", "phase": "failed", "text": "broken thing"}),
    ]
    said = '{"event": "start", "run_id": "r1"}\nsome warning\n'
    assert (tmp_path / "one.log").read_text() == said
    assert (tmp_path / "two.log").read_text() == "broken thing\n"


def test_a_cell_stops_when_its_parent_is_gone():
    child = (
        "import sys, threading\n"
        "from ekipl_lab.commands.train import stop_with_parent\n"
        "stop_with_parent()\n"
        "try:\n"
        "    print('up', flush=True)\n"
        "    threading.Event().wait(60)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=30) == 130


def test_remaining_time_is_that_of_the_present_phase():
    row = _Row()
    row.update({"event": "progress", "phase": "train", "step": 10, "total": 110}, now=100.0)
    assert row.remaining(now=101.0) == ""
    row.update({"event": "progress", "phase": "train", "step": 60, "total": 110}, now=200.0)
    assert row.remaining(now=200.0) == "1:40 left"
    assert row.update({"event": "progress", "phase": "eval", "step": 0, "total": 5}, now=201.0)
    assert row.remaining(now=201.0) == ""


def test_metrics_are_short():
    assert format_metrics({"policy/reward": 0.123456}) == "policy/reward 0.123"


def test_doctor_tells_broken_from_notes(capsys):
    def broken() -> str:
        raise ConfigError("Package x is missing; install it.")

    def note() -> str:
        raise LookupError("no browser")

    findings = examine([("a", lambda: "fine"), ("b", broken), ("c", note)])
    assert findings == [
        Finding("a", "ok", "fine"),
        Finding("b", "broken", "Package x is missing; install it."),
        Finding("c", "note", "no browser"),
    ]
    assert print_findings(findings) == 2
    assert print_findings([findings[0], findings[2]]) == 0
    assert "Package x is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kaleido", "browser", "missing"),
    [
        (False, True, ["pip install kaleido"]),
        (True, False, ["apt-get install chromium"]),
        (False, False, ["pip install kaleido", "apt-get install chromium"]),
    ],
)
def test_static_figures_need_kaleido_and_a_browser(monkeypatch, kaleido, browser, missing):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: name if kaleido else None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name if browser else None)
    with pytest.raises(LookupError) as noted:
        doctor.check_figures()
    commands = ("pip install kaleido", "apt-get install chromium")
    assert [command for command in commands if command in str(noted.value)] == missing


def test_static_figures_can_be_drawn_with_both(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name)
    assert doctor.check_figures() == "kaleido and chromium found: static figures can be drawn"


@pytest.mark.parametrize(
    ("evaluation", "reported"),
    [
        ({"sets": [{}]}, True),
        ({"sets": [{}], "at_start": False, "at_end": False, "every": 4}, True),
        ({"sets": []}, False),
        ({"sets": [{}], "at_start": False, "at_end": False}, False),
    ],
)
def test_a_report_is_promised_only_where_something_was_evaluated(evaluation, reported):
    config = parse_config({"name": "x", "policy": {"build": "nano"}, "evaluation": evaluation})
    result = TrainResult("x", "abc", "finished", 8, Path("x"), None, {})
    line = finished_line(config, result)
    assert line.startswith("Run abc finished; ")
    assert ("`ekipl report abc`" in line) == reported
    assert ("evaluation.sets" in line) != reported


def test_a_pipe_that_reads_no_further_is_no_error() -> None:
    """`ekipl data list | head -1`: no traceback."""
    line = [sys.executable, "-m", "ekipl_lab", "data", "list"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
