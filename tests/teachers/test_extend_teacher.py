"""docs/extend/teacher.md as it is printed: load_config, build, propose, and a short run."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_kit import PARAMS, gateway_spec, numbered
from fault_server import FaultServer
from paths import ROOT

from ekipl_lab.commands.cli import main
from ekipl_lab.errors import ConfigError, TeacherError
from ekipl_lab.parsing import parse_completion
from ekipl_lab.teachers.build import TEACHERS, build_teachers, teacher_spec
from ekipl_lab.teachers.gateway.cached_source import CachedSource
from ekipl_lab.teachers.gateway.gateway import Gateway
from ekipl_lab.training.config.run_config import RunConfig, load_config, parse_config
from ekipl_lab.training.run_data import load_training_samples
from ekipl_lab.training.run_teachers import build_run_teachers

PAGE = (ROOT / "docs/extend/teacher.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL))
SPEC, LINE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[-2:]
SEED = 5


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the page, where the commands are started."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    return tmp_path


def config_at(url: str) -> RunConfig:
    """The page's config, with the server at the address of a test server."""
    Path("run.yaml").write_text(FILES["run.yaml"].replace("http://127.0.0.1:11434", url))
    return load_config("run.yaml")


def built(raw: dict[str, Any]) -> Any:
    (teacher,) = build_teachers([teacher_spec(raw)])
    return teacher


def test_both_kinds_are_loaded_built_and_asked() -> None:
    with FaultServer() as server:
        config = config_at(server.url)
        assert parse_config(config.model_dump(mode="json")) == config
        assert RunConfig.model_validate_json(config.model_dump_json()) == config
        samples = load_training_samples(config)[:3]
        mine, llama = (teacher.source for teacher in build_run_teachers(config, samples))
        assert isinstance(llama, Gateway)
        for row in mine.propose(samples, 2, PARAMS):
            assert [(each.completion, each.source, each.model_id) for each in row] == [
                ("<think>It is 3.</think><answer>3</answer>", "three", "constant")
            ] * 2
        first = llama.propose(samples, 2, PARAMS)
        again = llama.propose(samples, 2, PARAMS)
        llama.close()
    assert [[each.source for each in row] for row in first] == [["llama"] * 2] * 3
    assert [each.completion for row in first for each in row] == [
        each.completion for row in again for each in row
    ]
    assert server.tally.received == 6  # bought once
    assert llama.spec.budget.calls == 1000


def test_a_run_trains_with_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlruns/mlflow.db")
    (folder / "mlruns").mkdir()
    with FaultServer() as server:
        config_at(server.url)
        assert main(["teach", "preview", "--config", "run.yaml", "--limit", "4"]) == 0
        assert main(["train", "--config", "run.yaml"]) == 0
        assert 4 <= server.tally.received <= 8
    with sqlite3.connect(folder / "mlruns/mlflow.db") as db:
        rows = db.execute("SELECT key, max(value) FROM metrics GROUP BY key").fetchall()
    values = dict(rows)
    assert values["teacher/llama/calls"] + values["teacher/llama/cache_hits"] >= 2


@pytest.mark.parametrize("reasoning", ["", "I look."])
@pytest.mark.parametrize("kind", ["built-in", "python"])
def test_every_sample_gets_its_own_answer(
    folder: Path, reasoning: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter as it is printed, against a server that misbehaves, on both ways in."""
    assert len((FILES["ollama.py"] + SPEC).splitlines()) <= 50
    names: dict[str, Any] = {"__name__": "written"}
    exec(compile(FILES["ollama.py"] + SPEC, "docs/extend/teacher.md", "exec"), names)
    for name, spec_class in eval("{" + LINE + "}", names).items():
        monkeypatch.setitem(TEACHERS, name, spec_class)
    text = "<think>{seen}</think><answer>{number}</answer>"
    if reasoning:
        text = "{seen}<answer>{number}</answer>"
    faults = ("429_wait", "500", "reset", "cut_off", "schema", "empty")
    with FaultServer(seed=SEED, rate=0.3, faults=faults, text=text, reasoning=reasoning) as server:
        raw = {"id": "t", "model": "m", "base_url": server.url} | (
            {"type": "ollama"}
            if kind == "built-in"
            else {"type": "python", "class": "ollama.py:OllamaAdapter"}
        )
        block = gateway_spec(folder).model_dump(mode="json")
        with built(raw | {"gateway": block}) as gateway:
            rows = gateway.propose([numbered(n, images=2) for n in range(40)], 1, PARAMS)
            assert server.tally.faults.total() - server.tally.faults["ok"] >= 8, f"seed {SEED}"
    for number, (action,) in enumerate(rows):
        assert f"[{number}, {number + 1000}]" in action.completion
        assert f"<answer>{number}</answer>" in action.completion
        assert action.model_id == "m-served" and action.usage is not None
        assert (action.usage.prompt_tokens, action.usage.completion_tokens) == (100, 20)
        if reasoning:
            assert action.completion.startswith("<think>I look.</think>")
        else:
            assert parse_completion(action.completion).answer == str(number)


def test_a_plain_one_is_cached_if_asked_and_anew_when_its_file_changes() -> None:
    raw = {"type": "python", "id": "mine", "class": "my_teacher.py:Constant", "answer": "5"}
    raw["gateway"] = {"cache": "own.sqlite3"}
    samples = [numbered(1), numbered(2)]
    first = built(raw)
    assert isinstance(first, CachedSource)
    rows = first.propose(samples, 1, PARAMS)
    assert rows[0][0].completion.endswith("<answer>5</answer>")
    assert built(raw).propose(samples, 1, PARAMS)[1][0].source == "mine"
    offline = built(raw | {"gateway": {"cache": "own.sqlite3", "offline": True}})
    assert [row[0].completion for row in offline.propose(samples, 1, PARAMS)] == [
        row[0].completion for row in rows
    ]
    other = built(raw | {"answer": "6"})
    assert other.propose(samples, 1, PARAMS)[0][0].completion.endswith("<answer>6</answer>")
    Path("my_teacher.py").write_text(FILES["my_teacher.py"].replace("It is", "I say"))
    assert "I say 5" in built(raw).propose(samples, 1, PARAMS)[0][0].completion


BROKEN = '''
import threading

from ekipl_lab.teachers.adapters.chat import ChatAdapter
from ekipl_lab.types import Action

constant = 3


def function():
    """No class."""


class Silent:
    """Has no propose."""


class Strict:
    def __init__(self, must, *, number=1):
        self.number = 1 / number

    def propose(self, samples, num_actions, params):
        return [[Action("a", "b", "c")] * int(self.number) for _ in samples][: len(self.must)]


class Careless:
    def __init__(self, give):
        self.give = give

    def propose(self, samples, num_actions, params):
        return eval(self.give)


class Server(ChatAdapter):
    provider, default_url = "s", "http://127.0.0.1:9"

    def path(self, call):
        return "/api/chat"

    def body(self, call, choices):
        return {"model": undefined}
'''


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"class": "broken.py"}, r"'broken.py' must have the form FILE.py:CLASS"),
        ({"class": "none.py:A"}, r"teacher file none.py does not exist; fix 'none.py:A'"),
        ({"class": "broken.py:Absent"}, r"broken.py has no class 'Absent'"),
        ({"class": "broken.py:constant"}, r"broken.py has no class 'constant'"),
        ({"class": "broken.py:function"}, r"'mine': broken.py:function is not a class"),
        ({"class": "broken.py:Silent"}, r"'mine': broken.py:Silent must be a subclass of ChatAd"),
        ({"class": "syntax.py:A"}, r"teacher file syntax.py cannot be run: SyntaxError"),
        (
            {"class": "broken.py:Strict", "mst": 1},
            r"Unknown setting of .*'mst'; did you mean",
        ),
        ({"class": "broken.py:Strict"}, r"'mine': broken.py:Strict needs 'must'; add it"),
        (
            {"class": "broken.py:Strict", "must": 1, "number": 0},
            r"'mine': broken.py:Strict cannot be made: ZeroDivisionError",
        ),
        ({"class": "broken.py:Server"}, r"'mine': model is missing; add it"),
        ({"class": "broken.py:Server", "modle": "m"}, r"'modle'; did you mean 'model'"),
        ({}, r"'mine': class is missing; add it"),
        ({"class": "broken.py:Server", "actions": 0}, r"'mine': actions must be 1 or more"),
        ({"class": "a.py:A", "base_url": "https://user:pw@host/v1"}, "must not hold a user"),
        ({"class": "a.py:A", "api_key_env": "sk-123456789"}, "api_key_env must fit"),
    ],
)
def test_what_is_wrong_is_one_clear_sentence(settings: dict[str, Any], words: str) -> None:
    Path("broken.py").write_text(BROKEN)
    Path("syntax.py").write_text("class A\n")
    with pytest.raises(ConfigError, match=words) as caught:
        built({"type": "python", "id": "mine", **settings})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("give", "words"),
    [
        ("1 / 0", r"Careless.propose failed on samples test/s1 to test/s2: ZeroDivisionError"),
        ("None", r"failed on samples test/s1 to test/s2: TypeError"),
        ("[[Action(None, 'b', 'c')]] * 2", r"gave for sample test/s1 None as completion"),
        ("[[Action('\\ud800', 'b', 'c')]] * 2", r"for sample test/s1 half a character"),
        (
            "[[Action('a', 'b', 'c', finish_reason='end_turn')]] * 2",
            r"gave for sample test/s1 the finish_reason 'end_turn'; it must be stop, or length",
        ),
        (
            "[[Action('a', 'b', 'c', (1,), (float('nan'),), 't')]] * 2",
            r"gave for sample test/s1 a log-probability that is no finite number",
        ),
        (
            "[[Action('a', 'b', 'c', (1,), (None,), 't')]] * 2",
            r"failed on sample test/s1: TypeError",
        ),
        ("[[]]", r"gave 1 rows for 2 samples"),
        ("[[], []]", r"gave 0 of nothing for sample test/s1, not 1 of Action"),
        ("[['a'], ['b']]", r"gave 1 of str for sample test/s1, not 1 of Action"),
    ],
)
def test_what_an_own_teacher_does_wrong_is_a_teacher_error(give: str, words: str) -> None:
    Path("broken.py").write_text(BROKEN)
    mine = built({"type": "python", "id": "mine", "class": "broken.py:Careless", "give": give})
    with pytest.raises(TeacherError, match=words) as caught:
        mine.propose([numbered(1), numbered(2)], 1, PARAMS)
    assert str(caught.value).startswith("Teacher 'mine': broken.py:Careless.propose")


def test_an_exception_in_an_own_adapter_names_teacher_method_and_sample() -> None:
    Path("broken.py").write_text(BROKEN)
    raw = {"type": "python", "id": "mine", "class": "broken.py:Server", "model": "m"}
    with (
        built(raw | {"gateway": {"cache": "own.sqlite3"}}) as gateway,
        pytest.raises(TeacherError, match=r"broken.py:Server.send failed on sample test/s1: NameE"),
    ):
        gateway.propose([numbered(1)], 1, PARAMS)


def test_a_wrong_setting_in_a_config_is_found_when_it_is_loaded() -> None:
    raw = yaml.safe_load(FILES["run.yaml"])
    for settings, words in (
        ({"type": "ollma", "id": "x"}, "Unknown teacher type 'ollma'"),
        ({"type": "local", "id": "x", "pth": "y"}, "'pth'; did you mean 'path'"),
        ({"type": "anthropic", "id": "x", "model": "m", "top_p": 2}, "'x': top_p must be 1 or"),
        ({"type": "gemini", "id": "x"}, "'x': model is missing"),
        ("oracle", r"teachers.0 must be settings"),
    ):
        with pytest.raises(ConfigError, match=words):
            parse_config(raw | {"teachers": [settings]})
