"""What is handed to vLLM: sampling parameters as its own class takes them, in both modes.

`RECORDED` is the part of vllm 0.30.0's `SamplingParams` that is used here, read from the source in
its wheel. The slow tests take the wheel through pip (315 MB, once) and put the same values into
vLLM's own classes, with its heavy imports as empty shells (`kit/vllm_wheel.py`).
"""

import importlib.metadata
import json
import tomllib
from types import SimpleNamespace

import pytest
import trainer_toys as toys
import trl.generation.vllm_generation as engine
import vllm_wheel
from packaging.requirements import Requirement
from paths import ROOT
from pydantic import ConfigDict, TypeAdapter
from trl.generation.vllm_client import VLLMClient
from trl.generation.vllm_generation import VLLMGeneration

from ekipl_lab.policies.load import as_policy
from ekipl_lab.policies.source import suppressed_token_ids
from ekipl_lab.training.generation import generation_kwargs

#: Fields of vllm 0.30.0's SamplingParams (vllm/sampling_params.py) with their types.
RECORDED = {
    "n": int,
    "presence_penalty": float,
    "frequency_penalty": float,
    "repetition_penalty": float,
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "seed": int | None,
    "stop": str | list[str] | None,
    "stop_token_ids": list[int] | None,
    "ignore_eos": bool,
    "max_tokens": int | None,
    "min_tokens": int,
    "logprobs": int | None,
    "prompt_logprobs": int | None,
    "logit_bias": dict[int, float] | None,
    "bad_words": list[str] | None,
    "output_kind": int,
}
#: vllm/v1/worker/gpu/sample/logit_bias.py: more biased tokens than this are refused.
MOST_BIASED = 1024


class Recorder:
    """In the place of vLLM's engine: notes the parameters of a generation, answers nothing."""

    def __init__(self):
        self.seen = None

    def generate(self, prompts, sampling_params, **_):
        self.seen = sampling_params
        return []


def pinned():
    """What the extra ``vllm`` asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (pin,) = project["optional-dependencies"]["vllm"]
    return pin


@pytest.fixture(scope="module")
def vllm(pytestconfig):
    """vLLM's request models can be imported from the wheel of the extra ``vllm``."""
    folder = pytestconfig.cache.mkdir(pinned().replace("==", "-"))
    with vllm_wheel.importable(vllm_wheel.unpacked(pinned(), folder)):
        yield


@pytest.fixture(scope="module")
def suppressed():
    return suppressed_token_ids(as_policy(*toys.nano()))


def settings(suppressed, **own):
    args = SimpleNamespace(use_vllm=True, generation_kwargs=own)
    return generation_kwargs(args, suppressed)


def through_colocate(monkeypatch, given, make):
    """The parameters as TRL's colocate mode makes them with the class ``make``."""
    monkeypatch.setattr(engine, "SamplingParams", make, raising=False)
    generation = object.__new__(VLLMGeneration)
    generation.__dict__.update(
        accelerator=None, mode="colocate", temperature=0.9, top_p=1.0, top_k=0, min_p=None,
        repetition_penalty=1.0, max_completion_length=32, logprobs=0, generation_kwargs=given,
        structured_outputs_regex=None, tensor_parallel_size=1, enable_sleep_mode=False,
        llm=Recorder(), model=None,
    )  # fmt: skip
    monkeypatch.setattr(engine, "is_peft_model", lambda model: False)
    monkeypatch.setattr(engine, "extract_logprobs", lambda outputs: ([], []))
    generation.generate([[1, 2]], None, 1)
    return generation.llm.seen


def through_server(given, features):
    """The JSON that TRL's client posts, as the server reads it."""
    posted = []

    class Client(VLLMClient):
        def __init__(self):
            self.base_url, self.model = "http://127.0.0.1:1", "policy"

        def _post(self, url, json=None, **_):
            posted.append((url, json))
            return {"choices": [{"prompt_token_ids": [1], "token_ids": [2], "logprobs": None}]}

    Client().generate(prompts=[[1, 2]], n=1, features=features, generation_kwargs=given)
    url, body = posted[0]
    body = json.loads(json.dumps(body))
    return url, body["sampling_params"] if features else body


def checked(given):
    """``given`` field by field as the recorded types have it; strictly: nothing is converted."""
    for name, value in given.items():
        adapter = TypeAdapter(RECORDED[name], config=ConfigDict(strict=True))
        assert adapter.validate_python(value) == value
    return given


def test_colocate_hands_over_what_the_recorded_fields_take(monkeypatch, suppressed):
    given = settings(suppressed, seed=3, logit_bias={"5": 1})
    seen = through_colocate(monkeypatch, given, lambda **fields: checked(fields))
    assert seen["logit_bias"] == {5: 1.0} | dict.fromkeys(suppressed, -100.0)
    assert suppressed and sorted(seen["logit_bias"])[0] >= 0  # compared with the vocabulary's size
    assert len(seen["logit_bias"]) <= MOST_BIASED
    assert (seen["seed"], seen["max_tokens"], seen["n"]) == (3, 32, 1)


@pytest.mark.parametrize("features", [None, [{"mm_hashes": {}}]])
def test_a_server_reads_the_same_bias_out_of_json(suppressed, features):
    url, body = through_server(settings(suppressed), features)
    assert url.endswith("/inference/v1/generate" if features else "/v1/completions")
    # The server's models convert: dict[str, float] then int(key), or dict[int, float].
    read = TypeAdapter(dict[int, float]).validate_json(json.dumps(body["logit_bias"]))
    assert read == dict.fromkeys(suppressed, -100.0)


def test_a_policy_that_samples_itself_gets_no_bias(suppressed):
    args = SimpleNamespace(use_vllm=False, generation_kwargs=None)
    assert generation_kwargs(args, suppressed) == {"suppress_tokens": suppressed}


def test_the_extras_vllm_is_one_that_trl_knows_and_torch_is_pinned_for():
    ours = Requirement(pinned())
    ranges = [Requirement(line) for line in importlib.metadata.requires("trl")]
    (theirs,) = [r for r in ranges if r.name == "vllm" and "vllm" in str(r.marker)]
    (version,) = [clause.version for clause in ours.specifier]
    assert theirs.specifier.contains(version)
    # Beside constraints.txt but for what vLLM 0.30.0 holds back (docs/gpu.md).
    ours = set((ROOT / "constraints.txt").read_text().splitlines())
    beside = set((ROOT / "constraints-vllm.txt").read_text().splitlines())
    different = {line.split("==")[0] for line in ours ^ beside if "==" in line}
    assert different == {"fastapi", "lark", "numpy", "vllm"}


@pytest.mark.slow
def test_vllms_own_class_takes_what_colocate_hands_over(monkeypatch, suppressed, vllm):
    from vllm.sampling_params import SamplingParams

    seen = through_colocate(monkeypatch, settings(suppressed, seed=3), SamplingParams)
    model = SimpleNamespace(get_vocab_size=lambda: max(suppressed) + 1)
    seen._validate_logit_bias(model)
    assert (seen.logit_bias, seen.seed) == (dict.fromkeys(suppressed, -100.0), 3)
    strings = {str(token): -100.0 for token in suppressed}
    seen = through_colocate(monkeypatch, {"logit_bias": strings}, SamplingParams)
    with pytest.raises(TypeError, match="'<' not supported between instances of 'str' and 'int'"):
        seen._validate_logit_bias(model)  # how every colocate run died


@pytest.mark.slow
@pytest.mark.parametrize("features", [None, [{"mm_hashes": {}}]])
def test_vllms_own_server_models_take_what_the_client_posts(suppressed, vllm, features):
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest
    from vllm.entrypoints.scale_out.token_in_token_out.protocol import GenerateRequest
    from vllm.sampling_params import SamplingParams

    _, body = through_server(settings(suppressed), features)
    if features:
        seen = GenerateRequest(token_ids=[1, 2], sampling_params=body).sampling_params
    else:
        seen = SamplingParams.from_optional(logit_bias=CompletionRequest(**body).logit_bias)
    assert type(seen) is SamplingParams
    assert seen.logit_bias == dict.fromkeys(suppressed, -100.0)


@pytest.mark.slow
def test_the_recorded_fields_are_those_of_vllm(vllm):
    from vllm.sampling_params import SamplingParams

    assert set(RECORDED) <= set(SamplingParams.__struct_fields__)
