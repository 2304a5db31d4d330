"""Keys: from the environment, into one header, and nowhere else."""

import builtins
import json
import logging
import sys
import threading
import time
import traceback
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from api_kit import KEY, KEY_ENV, KINDS, PARAMS, api_gateway, gateway_spec, numbered
from fault_server import FaultServer

from ekipl_lab.errors import ConfigError, TeacherError
from ekipl_lab.teachers.adapters.http import check_base_url, is_loopback, retry_after
from ekipl_lab.teachers.adapters.openai_compatible import OpenAIAdapter, OpenAISpec
from ekipl_lab.teachers.gateway.gateway import Gateway


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, KEY)


HEADERS = {
    "openai": ("authorization", f"Bearer {KEY}"),
    "anthropic": ("x-api-key", KEY),
    "gemini": ("x-goog-api-key", KEY),
}


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_search_for_the_key_through_everything_written_finds_nothing(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    script = {
        1: ["401_echo"],
        2: ["500", "ok"],
        3: ["ok_echo"],
        4: ["reset"] * 99,
        5: ["refusal"] * 9,
    }
    said = []
    with FaultServer(script=script) as server:
        for number in range(6):
            with api_gateway(
                server.url, tmp_path, kind, spec={"api_key_env": KEY_ENV}, retries=2
            ) as gateway:
                said += [repr(gateway), repr(gateway.adapter), repr(vars(gateway.adapter))]
                said += [gateway.adapter.spec.model_dump_json(), repr(gateway.adapter.spec)]
                try:
                    rows = gateway.propose([numbered(number)], 1, PARAMS)
                    said.append(repr(rows))
                except TeacherError as error:
                    said.append(everything_about(error))
                said += [repr(gateway.stats), repr(gateway.ledger.unresolved())]
        name, value = HEADERS[kind]
        sent = [{k.lower(): v for k, v in headers.items()} for headers in server.headers]
        assert {headers[name] for headers in sent} == {value}
        assert not any(KEY in repr(body) for body in server.bodies)
    said += [caplog.text, *capfd.readouterr()]
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert KEY.encode() not in file.read_bytes(), file
    for text in said:
        assert KEY not in text
    assert "[key]" in "".join(said)  # what the server echoed was blotted out


@pytest.mark.usefixtures("key")
def test_the_key_is_in_nothing_that_a_training_run_and_its_report_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    import yaml

    from ekipl_lab.commands.cli import main

    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    (tmp_path / "mlruns").mkdir()
    with FaultServer(script={-1: ["401_echo", "ok_echo", "500"]}) as server:
        block = {"cache": str(tmp_path / "store.sqlite3"), "on_error": "skip", "backoff": 0.0}
        teacher = {"type": "openai", "id": "api", "model": "m", "base_url": server.url + "/v1"}
        config = {
            "name": "secret",
            "policy": {"build": "nano"},
            "data": {"limit": 8},
            "teachers": [teacher | {"api_key_env": KEY_ENV, "gateway": block}],
            "ekipl": {"selection": "top_g"},
            "grpo": {"num_generations": 4, "per_device_train_batch_size": 8, "max_steps": 2}
            | {"max_completion_length": 40},
            "evaluation": {"sets": [{"limit": 2}], "num_samples": 1, "ks": [1]},
            "prefetch": {"generations": 1},
        }
        (tmp_path / "secret.yaml").write_text(yaml.safe_dump(config))
        out = tmp_path / "report.html"
        assert main(["train", "--config", str(tmp_path / "secret.yaml")]) == 0
        assert main(["report", "--out", str(out)]) == 0
        learned = ["--recipe", "sft_actions", "sft.success_only=false"]
        assert main(["train", "--config", str(tmp_path / "secret.yaml"), *learned]) in (0, 2)
        sent = [{k.lower(): v for k, v in headers.items()} for headers in server.headers]
    assert {headers["authorization"] for headers in sent} == {f"Bearer {KEY}"}
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    kinds = {file.suffix for file in files}
    assert {".sqlite3", ".db", ".parquet", ".html", ".json", ".safetensors"} <= kinds
    for file in files:
        assert KEY.encode() not in file.read_bytes(), file
    assert KEY not in "".join([caplog.text, *capfd.readouterr()])


AWKWARD = 'sk-5f1c/0ff+ee"5f1c'


def all_escaped(text: str) -> str:
    return "".join(f"\\u{ord(c):04x}" for c in text)


#: JSON within JSON whose escapes are escaped, digit by digit.
HIDDEN = [all_escaped(all_escaped(AWKWARD)), all_escaped(all_escaped(all_escaped(AWKWARD)))]
SPELLINGS = [
    json.dumps(AWKWARD)[1:-1],
    json.dumps(AWKWARD)[1:-1].replace("/", "\\/"),
    "".join(f"\\u{ord(c):04x}" for c in AWKWARD),
    "".join(f"\\u{ord(c):04X}" if i % 2 else json.dumps(c)[1:-1] for i, c in enumerate(AWKWARD)),
    json.dumps(json.dumps(AWKWARD))[1:-1],
    *HIDDEN,
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_key_is_blotted_out_however_json_escapes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, spelling: str, encoding: str
) -> None:
    monkeypatch.setenv(KEY_ENV, AWKWARD)
    message = f'{{"content": "<think>{spelling}</think><answer>1</answer>", "{spelling}": 1}}'
    answers = {
        1: f'{{"model": "{spelling}", "choices": [{{"message": {message}}}]}}',
        2: f'{{"error": {{"message": "bad {spelling}", "code": "{spelling}"}}}}',
    }
    said: list[str] = []
    for number, answer in answers.items():
        with FaultServer(script={number: ["raw"] * 9}) as server:
            server.raw = answer.encode(encoding)
            spec = {"api_key_env": KEY_ENV}
            with api_gateway(
                server.url, tmp_path, spec=spec, on_error="skip", retries=0, reask=0
            ) as gateway:
                said.append(repr(gateway.propose_each([numbered(number)], 1, PARAMS)))
                said.append(repr(gateway.ledger.unresolved()))
    if encoding != "utf-16" and spelling not in HIDDEN:  # those are no JSON, or not kept at all
        assert "<think>[key]</think>" in said[0] or '<think>"[key]"</think>' in said[0]
        assert "HTTP 200: bad" in said[2]
    held = [file.read_bytes().decode("latin-1") for file in tmp_path.rglob("*") if file.is_file()]
    for text in [*said, *held, *capfd.readouterr()]:
        for form in (AWKWARD, *SPELLINGS):
            assert form not in text


def everything_about(error: BaseException) -> str:
    """The traceback with the values of all local variables, of the error and all behind it."""
    assert error.__traceback__ is not None
    error = error.with_traceback(error.__traceback__.tb_next)  # but for the test, which holds it
    lines: list[str] = []
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop()
        if current is None:
            continue
        exception = traceback.TracebackException.from_exception(current, capture_locals=True)
        lines += [*exception.format(), repr(vars(current)), repr(current.args)]
        frame = current.__traceback__
        while frame is not None:
            lines += [
                repr(getattr(value, "__dict__", "")) for value in frame.tb_frame.f_locals.values()
            ]
            frame = frame.tb_next
        todo += [current.__cause__, current.__context__]
    return "".join(lines)


def test_a_missing_key_is_named_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)
    with FaultServer() as server:
        with pytest.raises(ConfigError, match=rf"variable {KEY_ENV} is not set; run `export"):
            api_gateway(server.url, tmp_path, spec={"api_key_env": KEY_ENV})
        monkeypatch.setenv(KEY_ENV, "short")
        with pytest.raises(ConfigError, match="does not hold an API key") as caught:
            api_gateway(server.url, tmp_path, spec={"api_key_env": KEY_ENV})
        assert "short" not in str(caught.value)
        assert server.tally.received == 0


def test_the_default_key_goes_to_the_default_server_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FaultServer() as server, api_gateway(server.url, tmp_path) as gateway:
        gateway.propose([numbered(1)], 1, PARAMS)
        assert KEY not in repr(server.headers)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/v1", "must look like"),
        ("file:///etc/passwd", "must look like"),
        ("/v1", "must look like"),
        ("https://", "must look like"),
        ("https://host:99999/v1", "not a URL"),
        ("https://user:pw@host/v1", "must not hold a user"),
        ("https://host/v1?key=abc", "must not hold a user"),
        ("http://10.0.0.1/v1", "is http://"),
        ("http://127.0.0.1.evil.example/v1", "is http://"),
    ],
)
def test_base_urls_that_are_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        check_base_url(url, "t", has_key=True)
    assert "pw" not in str(caught.value) and "abc" not in str(caught.value)


def test_base_urls_that_are_taken() -> None:
    for url in (
        "https://host/v1/",
        "http://127.0.0.1:80/v1",
        "http://localhost/v1",
        "http://[::1]/",
    ):
        assert check_base_url(url, "t", has_key=True) == url.rstrip("/")
    assert check_base_url("http://10.0.0.1/v1", "t", has_key=False) == "http://10.0.0.1/v1"
    assert is_loopback("http://127.9.9.9/") and not is_loopback("http://localhost.example/")


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_redirect_is_not_followed(tmp_path: Path, kind: str) -> None:
    with FaultServer() as thief, FaultServer(script={1: ["redirect"]}) as server:
        server.location = f"{thief.url}/v1/chat/completions"
        spec = {"api_key_env": KEY_ENV}
        with (
            api_gateway(server.url, tmp_path, kind, spec=spec) as gateway,
            pytest.raises(TeacherError, match="redirects are not followed; fix base_url"),
        ):
            gateway.propose([numbered(1)], 1, PARAMS)
        assert (server.tally.received, thief.tally.received, thief.headers) == (1, 0, [])


MISPLACED = {
    "a key as the variable's name": ({"api_key_env": KEY}, "teachers.*api_key_env"),
    "a password in the address": (
        {"base_url": f"https://user:{KEY}@host/v1"},
        "must not hold a user, password",
    ),
    "a key in the address": ({"base_url": f"https://host/v1?key={KEY}"}, "must not hold a user"),
    "an address over two lines": ({"base_url": "https://host/v1\n"}, "must look like"),
    "a mistyped address": ({"base_url": f"htp://user:{KEY}@host"}, "must look like"),
}


@pytest.mark.parametrize("place", list(MISPLACED))
@pytest.mark.parametrize("nested", [False, True])
def test_a_misplaced_secret_is_refused_before_anything_is_printed_or_logged(
    tmp_path: Path, capfd: Any, place: str, nested: bool
) -> None:
    import yaml

    from ekipl_lab.commands.cli import main
    from ekipl_lab.training.config.run_config import load_config

    wrong, words = MISPLACED[place]
    teacher: dict[str, Any] = {"type": "openai", "id": "api", "model": "m", **wrong}
    if nested:
        teacher = {"type": "ensemble", "id": "panel", "members": [teacher]}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"policy": {"build": "nano"}, "teachers": [teacher]}))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert KEY not in "".join(traceback.format_exception(caught.value))  # as a notebook shows it
    for command in (["train", "--dry-run"], ["train"], ["teach", "precompute"]):
        assert main([*command, "--config", str(path)]) == 2
    said = capfd.readouterr()
    assert said.err.count(words.split(".*")[-1]) == 3
    assert KEY not in said.out + said.err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("env", ["UNIT_OPENAI", "UNIT_API_KEY_2", "UNIT_KEY"])
@pytest.mark.parametrize("place", ["extra_body", "instruction"])
def test_a_key_among_the_settings_is_refused_before_a_plan_is_printed(
    tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch, env: str, place: str
) -> None:
    """Whatever its variable is called: the teacher names it."""
    import yaml

    from ekipl_lab.commands.cli import main

    monkeypatch.setenv(env, KEY)
    teacher = {
        "type": "openai",
        "id": "api",
        "model": "m",
        "base_url": "https://host/v1",
        "api_key_env": env,
        "gateway": {"price": {"input": 1, "output": 1}, "budget": {"usd": 1}},
        place: {"headers": [f"Bearer {KEY}"]} if place == "extra_body" else f"Say {KEY}.",
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"policy": {"build": "nano"}, "teachers": [teacher]}))
    for command in (["train", "--dry-run"], ["train"], ["teach", "precompute"]):
        assert main([*command, "--config", str(path)]) == 2
    said = capfd.readouterr()
    assert said.err.count(f"The value of environment variable {env} stands in") == 3
    assert KEY not in said.out + said.err
    assert list(tmp_path.iterdir()) == [path]


def test_a_servers_words_cannot_steer_the_terminal(
    tmp_path: Path, capfd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    error = {"message": "\x1b[2J\x1b]0;owned\x07wiped \u202egnp\r\x9b1A", "code": "\x1b[8m"}
    with FaultServer(script={1: ["raw"] * 9}) as server:
        server.raw = json.dumps({"error": error}).encode()
        with api_gateway(server.url, tmp_path, on_error="skip", retries=0) as gateway:
            ((failure,),) = gateway.propose_each([numbered(1)], 1, PARAMS)
            (row,) = gateway.ledger.unresolved()
    for text in (failure.message, row["error"], caplog.text.strip()):
        assert "wiped" in text and "[2J" in text  # what it said is there, as text
        assert all(c.isprintable() for c in text), repr(text)


def test_without_httpx_the_install_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "httpx":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'ekipl-lab\[teachers\]'"):
        api_gateway("http://127.0.0.1:9", tmp_path)


def test_the_module_loads_without_the_extra() -> None:
    import subprocess

    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "import ekipl_lab.teachers.build, ekipl_lab.teachers.ensemble\n"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.usefixtures("key")
def test_an_unknown_price_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    spec = OpenAISpec(
        id="t",
        model="nobody-knows",
        base_url="https://teacher.invalid/v1",
        api_key_env=KEY_ENV,
        gateway=gateway_spec(tmp_path),
    )
    with pytest.raises(ConfigError, match=r"no price for openai model 'nobody-knows'"):
        Gateway(OpenAIAdapter(spec), spec.gateway)


def test_waiting_times_of_servers() -> None:
    assert retry_after({"retry-after": "7"}) == 7.0
    assert retry_after({"retry-after": "0.5"}) == 0.5
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    date = formatdate(time.time() + 100, usegmt=True)
    assert 95 < (retry_after({"retry-after": date}) or 0) <= 100
    assert retry_after({"retry-after": formatdate(0, usegmt=True)}) == 0.0
    gemini = b'{"error": {"details": [{"@type": "x"}, {"retryDelay": "13s"}]}}'
    assert retry_after({}, gemini) == 13.0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "9" * 400}) == threading.TIMEOUT_MAX
    assert retry_after({"retry-after-ms": "inf"}) is None
    assert retry_after({"retry-after-ms": "nan"}) is None
    assert retry_after({"retry-after": "-3"}) is None
    assert retry_after({}, b"<html>") is None


def test_markup_and_special_tokens_in_teacher_text_stay_text(tmp_path: Path) -> None:
    thought = "<script>alert(1)</script> <|image_pad|> [__import__('os')]"
    nasty = f"<think>{thought}</think><answer>{{number}}</answer>"
    with FaultServer(text=nasty) as server, api_gateway(server.url, tmp_path) as gateway:
        ((action,),) = gateway.propose([numbered(3)], 1, PARAMS)
        assert action.completion == nasty.format(number=3)


def test_a_client_error_carries_no_request() -> None:
    from ekipl_lab.teachers.adapters.http import JsonClient
    from ekipl_lab.teachers.gateway.types import CallError

    client = JsonClient("http://127.0.0.1:9/v1", "t")
    with pytest.raises(CallError) as caught:
        client.post("/x", {}, 1.0)
    assert (caught.value.kind, caught.value.maybe_billed) == ("connection", False)
    assert caught.value.__context__ is None and caught.value.__cause__ is None
