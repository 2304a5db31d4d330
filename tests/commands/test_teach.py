"""`ekipl teach report` and `ekipl teach precompute` as a user starts them."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from api_kit import api_gateway
from fault_server import FaultServer

from ekipl_lab.commands.cli import main
from ekipl_lab.commands.teach.page import figures, page
from ekipl_lab.commands.teach.precompute import possibly_billed, run_params
from ekipl_lab.commands.teach.report import report
from ekipl_lab.policies import build_tiny_policy, load_policy, save_policy
from ekipl_lab.teachers.gateway.gateway import Gateway
from ekipl_lab.teachers.gateway.ledger import Intent
from ekipl_lab.training.config.run_config import load_config
from ekipl_lab.training.run_data import load_training_samples
from ekipl_lab.training.run_teachers import build_run_teachers


@dataclass
class Setting:
    """A config file whose teachers answer from loopback."""

    config: Path
    server: FaultServer
    folder: Path

    def write(self, **gateway: Any) -> None:
        block = {"cache": str(self.folder / "store.sqlite3"), **gateway}
        teacher = {"model": "m", "base_url": self.server.url + "/v1", "gateway": block}
        content = {
            "name": "small",
            "policy": {"path": str(self.folder / "nano")},
            "data": {"task": "counting", "limit": 6},
            "grpo": {"max_completion_length": 8},
            "teachers": [
                {"type": "oracle", "id": "knows", "style": "short"},
                {"type": "openai", "id": "api", "actions": 2, **teacher},
                {
                    "type": "ensemble",
                    "id": "panel",
                    "members": [{"type": "openai", "id": "one", **teacher | {"model": "n"}}],
                },
            ],
        }
        self.config.write_text(yaml.safe_dump(content))

    def run(self, command: str, *options: str) -> int:
        return main(["teach", command, "--config", str(self.config), *options])


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    torch.set_num_threads(1)
    model, processor = build_tiny_policy("nano", seed=0)
    save_policy(model, processor, tmp_path / "nano")
    with FaultServer() as server:
        chosen = Setting(tmp_path / "small.yaml", server, tmp_path)
        chosen.write()
        yield chosen


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_precompute_estimates_fills_and_has_nothing_left_to_do(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setting.run("precompute", "--dry-run") == 0
    assert "api: 12 actions, 0 in the cache, 12 to buy; at most" in flat(capsys.readouterr().out)
    assert setting.server.tally.received == 0
    assert setting.run("precompute", "--limit", "2") == 0
    assert setting.server.tally.received == 6
    assert setting.run("precompute") == 0
    said = flat(capsys.readouterr().out)
    assert "api: 12 actions, 4 in the cache, 8 to buy" in said
    assert "one: 6 actions, 2 in the cache, 4 to buy" in said
    assert setting.server.tally.received == 18
    assert setting.run("precompute") == 0
    assert setting.server.tally.received == 18


def test_precompute_started_in_the_background_ends_when_it_is_told_to(setting: Setting) -> None:
    """A script's `ekipl ... &` has Ctrl-C ignored; what was in flight is taken in all the same."""
    setting.server.latency = 1.0
    setting.write(in_flight=2)
    command = f"trap '' INT; exec {sys.executable} -m ekipl_lab teach precompute --config"
    process = subprocess.Popen(
        ["bash", "-c", f"{command} {setting.config}"], stderr=subprocess.PIPE, text=True
    )
    while setting.server.tally.in_flight < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert "interrupted; the same command continues" in process.communicate(timeout=120)[1]
    assert process.returncode == 130
    tally = setting.server.tally
    with api_gateway(setting.server.url, setting.folder, spec={"id": "api"}) as gateway:
        summary = gateway.ledger.summary()
    assert (summary.committed, summary.unresolved) == (tally.billed, 0)
    assert 2 <= tally.received < 12


def test_a_local_teacher_is_precomputed_and_found_offline(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(setting.config.read_text())
    block = {"cache": str(setting.folder / "local.sqlite3")}
    big = {"type": "local", "id": "big", "path": str(setting.folder / "nano"), "actions": 2}
    content["teachers"] = [big | {"gateway": block}]
    setting.config.write_text(yaml.safe_dump(content))
    assert setting.run("precompute", "--limit", "2") == 0
    assert setting.run("precompute") == 0
    said = flat(capsys.readouterr().out)
    assert "big: 4 actions, 0 in the cache, 4 to generate on this machine" in said
    assert "big: 12 actions, 4 in the cache, 8 to generate on this machine" in said
    assert "big: generated for 4 samples, 2 from the cache" in said
    content["teachers"] = [big | {"gateway": block | {"offline": True}}]
    setting.config.write_text(yaml.safe_dump(content))
    config = load_config(setting.config, [])
    samples = load_training_samples(config)
    (teacher,) = build_run_teachers(config, samples)
    rows = teacher.source.propose(samples, teacher.actions, run_params(config))
    assert [len(row) for row in rows] == [2] * 6


def test_the_trainer_finds_what_was_precomputed_with_the_network_off(setting: Setting) -> None:
    assert setting.run("precompute") == 0
    setting.write(offline=True)
    config = load_config(setting.config, [])
    samples = load_training_samples(config)
    for teacher in build_run_teachers(config, samples)[1:]:
        rows = teacher.source.propose(samples, teacher.actions, run_params(config))
        assert [len(row) for row in rows] == [teacher.actions] * 6
    assert setting.server.tally.received == 18


def test_money_without_a_ceiling_needs_a_yes(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    price = {"input": 1.0, "output": 1.0}
    setting.write(price=price)
    assert setting.run("precompute") == 2
    assert "has no ceiling; set `gateway: {budget: {usd: ..}}`" in flat(capsys.readouterr().err)
    assert setting.server.tally.received == 0
    assert setting.run("precompute", "--yes") == 0
    assert setting.server.tally.received == 18
    setting.write(
        price=price, budget={"calls": 15}, account="both", cache=str(setting.folder / "b")
    )
    assert setting.run("precompute", "--yes") == 2
    assert "What was bought is in the cache" in flat(capsys.readouterr().err)
    assert setting.server.tally.received == 33


def test_what_was_possibly_billed_is_listed(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    setting.server.script[-1] = ["cut_off", "500"]
    setting.write(in_flight=1, backoff=0.0)
    assert setting.run("precompute") == 0
    assert "12 to buy" in flat(capsys.readouterr().out)
    assert setting.run("precompute", "--dry-run") == 0
    said = flat(capsys.readouterr().out)
    assert said.count("possibly billed: ") == 2
    assert "at most 0.000000 USD: cut_off: the answer is not a JSON object" in said
    assert "USD: server: HTTP 500" in said
    with api_gateway(setting.server.url, setting.folder, spec={"id": "api"}) as gateway:
        gateway.ledger.open(Intent("api", "m", "s/1", ("k",), attempt=1, tokens=1, nano_usd=7000))
        assert possibly_billed(gateway)[0].endswith(
            "at most 0.000007 USD: no answer so far, or its process ended"
        )
        newest, rest = possibly_billed(gateway, most=1)
        assert "sample s/1, attempt 1" in newest
        assert rest == "  possibly billed: 2 earlier ones; --dry-run lists all"
        assert len(possibly_billed(gateway, most=None)) == 3


def test_preview_asks_as_the_run_does_and_prints_texts_as_they_are(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    setting.server.text = "<think>[bold]\x1b[31mred[/bold]</think><answer>\x9b2J</answer>"
    setting.write(price={"input": 1.0, "output": 1.0})
    assert setting.run("preview") == 2
    assert "has no ceiling; set `gateway: {budget: {usd: ..}}`" in flat(capsys.readouterr().err)
    assert setting.run("preview", "--yes", "--limit", "4", "--show", "1") == 0
    said = capsys.readouterr().out
    assert said.count("api: <think>[bold] [31mred[/bold]</think><answer> 2J</answer> -> 1.0") == 2
    assert said.count("panel: <think>") == said.count("knows: <think>") == 1
    assert "knows: 4 of 4 actions right" in said
    assert "api: 0 of 8 actions right" in said and "panel: 0 of 4 actions right" in said
    assert "\x1b" not in said and "\x9b" not in said
    assert setting.server.tally.received == 12
    assert setting.run("precompute", "--yes") == 0
    assert setting.server.tally.received == 18  # what was looked at is not bought again


def test_preview_says_what_was_not_had(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    setting.server.script[-1] = ["400", "400"]
    setting.write(on_error="skip", in_flight=1)
    assert setting.run("preview", "--limit", "4", "--show", "0") == 0
    assert "api: 0 of 6 actions right, 2 missing" in capsys.readouterr().out
    setting.config.write_text("name: alone\npolicy: {build: nano}\n")
    assert setting.run("preview") == 2
    assert "'alone' has no teachers" in capsys.readouterr().err


def test_a_run_without_a_gateway_has_nothing_to_fill(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    setting.config.write_text(
        "name: plain\npolicy: {build: nano}\nteachers: [{type: random, id: guesser}]\n"
    )
    assert setting.run("precompute") == 2
    assert "'plain' has no teacher behind a gateway" in flat(capsys.readouterr().err)
    assert setting.run("report") == 2
    assert "needs teachers and a policy.path" in flat(capsys.readouterr().err)


@pytest.mark.parametrize("command", ["report", "preview", "precompute"])
@pytest.mark.parametrize("limit", ["-1", "0", "1.5"])
def test_a_limit_below_one_is_refused(
    setting: Setting, command: str, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        setting.run(command, "--limit", limit)
    assert f"{limit} is not a whole number of 1 or more" in flat(capsys.readouterr().err)


def test_a_report_that_cannot_be_written_is_refused_before_anyone_is_asked(
    setting: Setting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setting.run("report", "--out", str(tmp_path)) == 2
    assert "is a folder; give --out a file" in flat(capsys.readouterr().err)


def test_report_prints_gates_and_writes_a_page(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    out = setting.folder / "teachers.html"
    assert setting.run("report", "--limit", "6", "--num-samples", "2", "--out", str(out)) == 0
    said = flat(capsys.readouterr().out)
    assert "counting knows 1.00 6 of 6" in said and "always" in said
    assert "api 0.00 0 of 6" in said and "more_samples" in said
    gates = out.with_suffix(".gates.json")
    assert json.loads(gates.read_text()) == {"knows": {"counting": "always"}}
    gated = load_config(setting.config, [f"ekipl.teacher_gates={gates}"])
    assert gated.ekipl.teacher_gates == {"knows": {"counting": "always"}}
    text = out.read_text()
    assert (
        "<h1>Teachers of small</h1>" in text and "Plotly.react" in text and 'class="plot"' in text
    )
    assert "Overlap of the teachers" in text
    for heading in ("newly solved", "USD per new", "format failures", "wrong chains"):
        assert f"<th>{heading}</th>" in text
    assert "default-src 'none'" in text.split("<script")[0]
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.http", text)


def test_a_notebook_gets_figures_and_names_are_escaped(setting: Setting) -> None:
    config = load_config(setting.config, [])
    result = report(config, limit=4, num_samples=2, say=lambda line: None)
    assert [figure.layout.title.text for figure in figures(result)] == [
        "Accuracy by difficulty",
        "Solved by the teacher and never by the policy",
        "Accuracy against cost",
    ]
    assert "<b>" not in page(result, "<b>").split("<style>")[0]
    oracle = next(row for row in result.sources if row.source == "knows")
    assert oracle.accuracy is not None and oracle.accuracy.value == 1.0
    assert oracle.wrong_chains is not None and oracle.wrong_chains.value == 0.0
    # Lengths of all sources are in tokens of the policy: an oracle's words would be four times that
    rows = build_run_teachers(config, load_training_samples(config))[0].source.propose(
        load_training_samples(config)[:4], 1, run_params(config)
    )
    policy = load_policy(setting.folder / "nano")
    texts = [row[0].completion for row in rows]
    ids = policy.processor.tokenizer(texts, add_special_tokens=False).input_ids
    assert oracle.length == sum(map(len, ids)) / 4 < sum(map(len, texts)) / 8
    assert isinstance(build_run_teachers(config, [])[1].source, Gateway)
