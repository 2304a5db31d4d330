"""`ekipl doctor`: what it finds, as a table and as JSON."""

import json
import socket
from types import SimpleNamespace

import pytest

from ekipl_lab import tracking
from ekipl_lab.commands import doctor
from ekipl_lab.commands.cli import main
from ekipl_lab.commands.doctor import Finding
from ekipl_lab.commands.doctor_config import check_config_policy, check_teacher
from ekipl_lab.errors import ConfigError


def test_a_finding_names_its_fix():
    assert Finding("a", "broken", "Package x is missing; install it.").fix == "install it."
    assert Finding("a", "ok", "fine; really").fix == ""


def test_findings_as_json(monkeypatch, capsys):
    def broken():
        raise ConfigError("It is missing; install it.")

    monkeypatch.setattr(doctor, "CHECKS", [("a", lambda: "fine [b]"), ("b", broken)])
    assert main(["doctor", "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == [
        {"name": "a", "state": "ok", "text": "fine [b]", "fix": ""},
        {
            "name": "b",
            "state": "broken",
            "text": "It is missing; install it.",
            "fix": "install it.",
        },
    ]
    assert main(["doctor"]) == 2
    assert "fine [b]" in capsys.readouterr().out


def test_a_torchvision_that_does_not_fit_is_broken(monkeypatch):
    def refuse():
        raise ConfigError("torchvision 0.1 does not fit torch 2; install both from one place.")

    monkeypatch.setattr(doctor, "check_torchvision", refuse)
    (found,) = doctor.examine([("torchvision", doctor.check_vision_package)])
    assert (found.state, found.fix) == ("broken", "install both from one place.")


def test_a_teachers_server_is_reached_without_a_request(monkeypatch):
    monkeypatch.delenv("OWN_KEY", raising=False)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        spec = SimpleNamespace(id="own", base_url=address, api_key_env=None)
        assert "takes connections" in check_teacher(spec)
        connection, _ = server.accept()
        assert connection.recv(1) == b""  # closed, and nothing was asked
        spec.api_key_env = "OWN_KEY"
        with pytest.raises(ConfigError, match="OWN_KEY"):
            check_teacher(spec)
    spec.api_key_env = None
    for nobody in (address, "https://a..b/v1"):  # the latter is no name of a host
        spec.base_url = nobody
        with pytest.raises(ConfigError, match="cannot be reached"):
            check_teacher(spec)


def test_a_policy_that_is_elsewhere_is_a_note():
    with pytest.raises(LookupError, match="--probe"):
        check_config_policy("no/such/policy")


def test_runs_that_only_say_that_they_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert doctor.check_store().endswith("opens and is whole")
    log = tracking.open_run("demo", "killed")
    log.set_tags({"ekipl.pid_started": "1.00"})
    with pytest.raises(LookupError, match="ekipl runs repair"):
        doctor.check_store()
    assert main(["runs", "repair"]) == 0
    assert doctor.check_store().endswith("opens and is whole")


def test_overrides_are_given_in_one_way_to_every_command(monkeypatch):
    import argparse

    from ekipl_lab.commands.options import add_config_options

    parser = argparse.ArgumentParser()
    add_config_options(parser)
    for words in (["a=1", "b=2"], ["--set", "a=1", "--set", "b=2"]):
        assert parser.parse_args(["--config", "x.yaml", *words]).overrides == ["a=1", "b=2"]
        assert parser.parse_args([*words[-2:], "--config", "x.yaml"]).overrides[-1] == "b=2"
    both = parser.parse_args(["--config", "x.yaml", "--set", "a=1", "b=2"])
    assert sorted(both.overrides) == ["a=1", "b=2"]
    assert parser.parse_args(["--config", "x.yaml"]).overrides == []
