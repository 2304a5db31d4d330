"""A real server: `transformers serve` with a tiny vision-language model, behind the gateway."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from api_kit import api_gateway, numbered
from PIL import Image

from ekipl_lab.policies import PolicySource, build_tiny_policy, load_policy, save_policy
from ekipl_lab.prompts import instructed_text
from ekipl_lab.types import GenerationParams, Sample

GREEDY = GenerationParams(temperature=0.0, max_new_tokens=12)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, large enough that the image decides what is said."""
    torch.set_num_threads(1)
    model, processor = build_tiny_policy("nano", seed=0)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim >= 2:
                weights.mul_(3.0)
    return save_policy(
        model, processor, tmp_path_factory.mktemp("policy") / "nano", dtype="float32"
    )


@pytest.fixture(scope="module")
def served(checkpoint: Path) -> Iterator[tuple[str, str]]:
    """URL and model name of the server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "ekipl_lab.teachers.serve", str(checkpoint)]
    server = subprocess.Popen(
        [*command, "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert server.stdout is not None
    model, log = "", []
    for line in server.stdout:
        log.append(line)
        if line.startswith("model: "):
            model = line.removeprefix("model: ").strip()
        if "Uvicorn running" in line:
            break
    assert model and server.poll() is None, "".join(log)
    yield f"http://127.0.0.1:{port}", model
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=60)


def seen(*colours: str) -> Sample:
    images = tuple(Image.new("RGB", (56, 56), colour) for colour in colours)
    return replace(numbered(1, id="mini/t/1"), images=images)


def test_the_answer_follows_the_images(
    served: tuple[str, str], checkpoint: Path, tmp_path: Path
) -> None:
    url, model = served
    samples = [seen("red"), seen("blue"), seen("red", "blue"), seen("blue", "red"), seen("red")]
    with api_gateway(
        url, tmp_path, spec={"model": model, "repair": False}, timeout=60.0, in_flight=2
    ) as gateway:
        rows = gateway.propose(samples, 1, GREEDY)
        summary = gateway.ledger.summary()
    texts = [row[0].completion for row in rows]
    assert len(set(texts[:4])) == 4
    assert texts[4] == texts[0]
    assert (summary.committed, summary.unresolved, summary.usd) == (4, 0, 0.0)
    assert [row[0].finish_reason for row in rows] == ["length"] * 5
    assert {row[0].usage.completion_tokens for row in rows if row[0].usage} == {12}
    # Word for word what the same weights say without a server. The server strips white space, and
    # lets the model say special tokens, which a policy of this project is kept from.
    asked = [replace(sample, question=instructed_text(sample)) for sample in samples]
    here = PolicySource(load_policy(checkpoint)).propose(asked, 1, GREEDY)
    pairs = [(text, row[0].completion.strip()) for text, row in zip(texts, here, strict=True)]
    plain = [(text, local) for text, local in pairs if "<|" not in text]
    assert len(plain) >= 3
    assert [text for text, _ in plain] == [local for _, local in plain]


def test_several_actions_where_the_server_ignores_n(
    served: tuple[str, str], tmp_path: Path
) -> None:
    url, model = served
    params = GenerationParams(temperature=1.0, max_new_tokens=12)
    spec = {"model": model, "choices_per_request": 3, "logprobs": True}
    with api_gateway(url, tmp_path, spec=spec, timeout=60.0, in_flight=2) as gateway:
        (row,) = gateway.propose([seen("red")], 3, params)
        assert gateway.ledger.summary().committed == 3
    assert len(row) == 3
    assert all(action.logprobs is None for action in row)
