"""Parts of the GPU check that start other programs: launchers, the command line, vLLM."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from perf.gpu.models import TWO_B, random_model

if TYPE_CHECKING:
    from perf.gpu.parts import Place

ROOT = Path(__file__).resolve().parent.parent.parent
LAUNCH = ROOT / "configs" / "launch"


def command(words: Sequence[str], seconds: int = 110) -> str:
    """What a program says; AssertionError with its last lines if it fails."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise AssertionError(f"{' '.join(words[:6])} ended with {done.returncode}:\n{last}")
    return done.stdout


def run_file(place: Place, **grpo: Any) -> Path:
    """A config file of a run from a shrunk checkpoint, evaluated at its end."""
    from perf.gpu.models import checkpoint
    from perf.gpu.parts import learning

    path = checkpoint(TWO_B, place.folder / "model", place.device, "float32", tiny=True)
    given = learning(place, str(path), **grpo)
    given["evaluation"] |= {
        "sets": [{"split": "test", "limit": 4}], "at_end": True, "num_samples": 2, "ks": [1, 2],
    }  # fmt: skip
    (place.folder / "check.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    return place.folder / "check.yaml"


def probe_command(place: Place) -> dict[str, Any]:
    """``ekipl train --probe`` from the command line."""
    config = str(run_file(place))
    said = command([sys.executable, "-m", "ekipl_lab", "train", "--probe", "--config", config])
    line = said.strip().splitlines()[-1]
    where = "of the GPU" if place.device == "cuda" else "of this process"
    if where not in line:
        raise AssertionError(f"the probe did not measure {where!r}: {line}")
    return {"said": line}


def demo(place: Place) -> dict[str, Any]:
    """The demo's arms, shortened: trained, stopped, continued, evaluated, policies evaluated."""
    seen: dict[str, Any] = {}
    for arm in ("grpo", "ekipl", "sft"):
        given = yaml.safe_load((ROOT / "configs" / f"demo_{arm}.yaml").read_text(encoding="utf-8"))
        given |= {"name": arm}
        given["data"]["limit"] = 64
        given["grpo"] |= {
            "max_steps": 4, "per_device_train_batch_size": 32, "lr_scheduler_type": "constant",
            "warmup_steps": 0,
        }  # fmt: skip
        given["evaluation"] |= {
            "sets": [{"split": "test", "limit": 16}],
            "num_samples": 2,
            "ks": [1],
        }
        config = place.folder / f"{arm}.yaml"
        config.write_text(yaml.safe_dump(given), encoding="utf-8")
        begun = time.perf_counter()
        words = [sys.executable, "-m", "ekipl_lab", "train", "--config", str(config)]
        for more in ([], []) if arm == "sft" else (["grpo.max_steps=2"], []):
            command([*words, *more])
        seen[f"{arm}_seconds"] = time.perf_counter() - begun
    (policy,) = place.folder.glob("work/ekipl/policy")
    out = str(place.folder / "evaluation")
    command([sys.executable, "-m", "ekipl_lab", "eval", str(policy), "--limit", "8", "--samples",
             "2", "--device", place.device, "--out", out])  # fmt: skip
    return seen


def contract(place: Place) -> dict[str, Any]:
    """The tests of the trainer's contract with TRL, on the device: gradients, tokens, losses."""
    place.needs("pytest", gpu=False)
    tests = ["test_shared_work.py", "test_trainer_contract.py", "test_trainer_losses.py"]
    where = [f"tests/training/{name}" for name in tests]
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *where]
    with pytest_on(place.device):
        said = command(words, 170)
    passed = re.search(r"(\d+) passed", said)
    if passed is None:
        raise AssertionError(f"no test was run: {said[-300:]}")
    return {"passed": int(passed[1])}


@contextlib.contextmanager
def pytest_on(device: str) -> Iterator[None]:
    """The toys of the trainer's tests on this device."""
    os.environ["EKIPL_TOYS_ON"] = device
    try:
        yield
    finally:
        del os.environ["EKIPL_TOYS_ON"]


# ------------------------------------------------------------------------------- shared weights


def launched(place: Place, launch: str) -> dict[str, Any]:
    """Two steps, and two more from the checkpoint, by one of the launch files on one process."""
    from ekipl_lab.policies.load import load_policy

    config = str(run_file(place))
    words = [sys.executable, "-m", "accelerate.commands.launch", "--config_file",
             str(LAUNCH / launch), "--num_processes", "1", "-m", "ekipl_lab", "train",
             "--config", config]  # fmt: skip
    begun = time.perf_counter()
    command(words)
    command([*words, "grpo.max_steps=4"])
    (policy,) = place.folder.glob("work/check/policy")
    load_policy(policy)
    return {"seconds": time.perf_counter() - begun, "steps": 4}


def fsdp2(place: Place) -> dict[str, Any]:
    """FSDP2 on one GPU: trained, saved, resumed, evaluated, the policy loaded again."""
    place.needs()
    return launched(place, "fsdp2_8gpus.yaml")


def zero3(place: Place) -> dict[str, Any]:
    """DeepSpeed ZeRO-3 on one GPU: trained, saved, resumed, evaluated, the policy loaded again."""
    place.needs("deepspeed")
    return launched(place, "zero3_8gpus.yaml")


# ----------------------------------------------------------------------------------------- vLLM


def stock_checkpoint(place: Place) -> Path:
    """A shrunk Qwen2-VL as vLLM reads it: with the stock processor, which needs torchvision."""
    from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

    from ekipl_lab.policies.save import save_policy

    model, ours = random_model(TWO_B, place.device, "bfloat16", tiny=True)
    size = {"shortest_edge": 56 * 56, "longest_edge": 448 * 448}
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(size=size), ours.tokenizer, Qwen2VLVideoProcessor(),
        chat_template=ours.tokenizer.chat_template,
    )  # fmt: skip
    return save_policy(model, processor, place.folder / "model", dtype="bfloat16")


def vllm_run(place: Place, name: str, policy: dict[str, Any], **grpo: Any) -> dict[str, Any]:
    """Two steps with completions by vLLM, and how far its log-probabilities are from ours."""
    from ekipl_lab.tracking import metric_history
    from ekipl_lab.training.run import train
    from perf.gpu.parts import learning, losses, parsed

    given = learning(
        place, str(place.folder / "model"),
        use_vllm=True, vllm_max_model_length=1024, **grpo,
    )  # fmt: skip
    given["policy"] |= {"dtype": "bfloat16"} | policy
    ended = train(parsed(given | {"name": name}))
    history = metric_history(ended.run_id)
    apart = history.get("sampling/sampling_logp_difference/mean", [])
    return losses(ended.run_id) | {"logp_difference": [value for _, value in apart]}


def vllm_colocate(place: Place) -> dict[str, Any]:
    """vLLM in the training process: plain, and asleep during the training with an adapter."""
    place.needs("vllm", "torchvision")
    stock_checkpoint(place)
    engine = {"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.2}
    lora = {"adapter": {"rank": 8}}
    return {
        "plain": vllm_run(place, "plain", lora, **engine),
        "asleep": vllm_run(place, "asleep", lora, **engine, vllm_enable_sleep_mode=True),
    }


def vllm_server(place: Place) -> dict[str, Any]:
    """TRL's vLLM server: asked with our parameters; with a second GPU it trains two steps, too."""
    place.needs("vllm", "torchvision")
    from ekipl_lab.policies.load import load_policy
    from ekipl_lab.policies.source import suppressed_token_ids

    folder = stock_checkpoint(place)
    never = suppressed_token_ids(load_policy(folder))
    spare = torch.cuda.device_count() > 1
    with served(folder, "1" if spare else "0") as url:
        body = {
            "model": str(folder), "prompt": "How many?", "max_tokens": 16, "temperature": 1.0,
            "logit_bias": dict.fromkeys(never, -100.0), "return_token_ids": True,
        }  # fmt: skip
        request = urllib.request.Request(
            f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            (choice,) = json.load(answer)["choices"]
        if set(choice["token_ids"]) & set(never):
            raise AssertionError("a special token was sampled: the bias was not read")
        seen: dict[str, Any] = {"asked": len(choice["token_ids"])}
        if spare:
            lora = {"adapter": {"rank": 8}}
            where = {"vllm_mode": "server", "vllm_server_base_url": url}
            seen["training"] = vllm_run(place, "server", lora, **where)
        else:
            seen["training"] = "not run: weights cannot be sent between processes on one GPU"
    return seen


@contextlib.contextmanager
def served(folder: Path, gpu: str) -> Iterator[str]:
    """`trl vllm-serve` on a GPU; the address, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "trl.scripts.vllm_serve", "--model", str(folder), "--port",
             str(port), "--host", "127.0.0.1", "--max_model_len", "1024",
             "--gpu_memory_utilization", "0.3"]  # fmt: skip
    log = folder.parent / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            words, env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu}, stdout=out, stderr=out
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 120.0) -> None:
    """Return once the server answers; AssertionError with its last lines if it does not."""
    until = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.5)
    last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
    raise AssertionError(f"the server did not answer within {seconds:.0f} s:\n{last}")
