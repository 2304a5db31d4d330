"""`evaluation.engine: vllm`: TRL's own code up to the engine's door; the policy is behind it."""

from types import SimpleNamespace

import pytest
import torch
import trainer_toys as toys
import trl.generation.vllm_generation as trl_engine
from test_config_run import BASE
from trl.generation.vllm_generation import VLLMGeneration

from ekipl_lab.errors import ConfigError
from ekipl_lab.policies.load import as_policy
from ekipl_lab.policies.source import suppressed_token_ids
from ekipl_lab.training.config.check import check_run
from ekipl_lab.training.config.plan import plan_run
from ekipl_lab.training.config.run_config import parse_config
from ekipl_lab.training.engine import Engine
from ekipl_lab.training.evaluator import Evaluator, measured_of
from ekipl_lab.training.generation import generation_kwargs
from ekipl_lab.training.setup import RunSetup

torch.set_num_threads(1)


class PolicyBehindTheDoor:
    """In the place of vLLM's engine: answers as the policy does, notes what it is given."""

    def __init__(self, policy):
        self.policy, self.asked = policy, []

    def generate(self, prompts, sampling_params, **_):
        self.asked.append((len(prompts), sampling_params))
        return [self._answer(prompt, sampling_params) for prompt in prompts]

    def _answer(self, prompt, params):
        model, ids = self.policy.model, torch.tensor([prompt["prompt_token_ids"]])
        image = prompt["multi_modal_data"]["image"]
        shown = self.policy.processor.image_processor([image], return_tensors="pt")
        done = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **shown,
            mm_token_type_ids=(ids == model.config.image_token_id).int(), do_sample=False,
            max_new_tokens=params.max_tokens, suppress_tokens=sorted(params.logit_bias),
        )  # fmt: skip
        row = done[0, ids.shape[1] :].tolist()
        given = SimpleNamespace(token_ids=row, logprobs=None)
        return SimpleNamespace(prompt_token_ids=ids[0].tolist(), outputs=[given])


@pytest.fixture
def trainer(monkeypatch, tmp_path):
    trainer = toys.ekipl_trainer(toys.config(tmp_path))
    policy = as_policy(trainer.model, trainer.processing_class)
    bias = generation_kwargs(
        SimpleNamespace(use_vllm=True, generation_kwargs={"min_tokens": 3}),
        suppressed_token_ids(policy),
    )
    engine = object.__new__(VLLMGeneration)
    engine.__dict__.update(
        accelerator=trainer.accelerator, mode="colocate", temperature=0.7, top_p=0.5, top_k=9,
        min_p=0.1, repetition_penalty=1.2, max_completion_length=99, logprobs=0,
        generation_kwargs=bias, structured_outputs_regex=None, tensor_parallel_size=1,
        enable_sleep_mode=False, llm=PolicyBehindTheDoor(policy), model=trainer.model, syncs=[],
    )  # fmt: skip
    engine.sync_weights = lambda: engine.syncs.append(trainer.state.global_step)
    monkeypatch.setattr(trl_engine, "SamplingParams", SimpleNamespace, raising=False)
    monkeypatch.setattr(trl_engine, "extract_logprobs", lambda outputs: (None, None))
    trainer.vllm_generation, trainer._last_loaded_step = engine, -1
    return trainer


def test_greedy_records_are_those_of_our_generation(trainer, tmp_path):
    config = parse_config(
        BASE
        | {"grpo": {"max_completion_length": 8}, "evaluation": {"num_samples": 4, "ks": [1, 4]}}
    )
    policy = as_policy(trainer.model, trainer.processing_class)
    samples = toys.toy_samples(3)
    setup = RunSetup(
        check_run(config, tmp_path), plan_run(config), [], {"test": samples}, [], policy
    )
    evaluator = Evaluator(measured_of(setup), None)
    ours = evaluator._mode("greedy", "test", samples, 0, lambda done, total: None)
    evaluator.engine = Engine(trainer, policy)
    theirs = evaluator._mode("greedy", "test", samples, 0, lambda done, total: None)
    said = [[record.actions[0].token_ids for record in records] for records in (ours, theirs)]
    assert said[0] == said[1] and all(said[0])
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.sample_id == other.sample_id and mine.rewards == other.rewards
        (a,), (b,) = mine.actions, other.actions
        assert (a.completion, a.finish_reason) == (b.completion, b.finish_reason)
    sampled = evaluator._mode("sampled", "test", samples, 0, lambda done, total: None)
    assert [len(record.actions) for record in sampled] == [4, 4, 4]

    engine = trainer.vllm_generation
    (rows, greedy), (more, drawn) = engine.llm.asked
    assert (rows, more) == (3, 12)
    assert (greedy.temperature, drawn.temperature, drawn.max_tokens) == (0.0, 1.0, 8)
    assert (drawn.top_p, drawn.top_k, drawn.min_p, drawn.repetition_penalty) == (1.0, 0, 0.0, 1.0)
    assert set(drawn.logit_bias) == set(suppressed_token_ids(policy))
    assert not hasattr(drawn, "min_tokens")  # a setting of the training
    assert engine.syncs == [0]  # once: the policy has not learned in between
    assert (engine.temperature, engine.top_k, engine.max_completion_length) == (0.7, 9, 99)
    assert engine.generation_kwargs["min_tokens"] == 3


def test_without_vllm_it_is_refused():
    with pytest.raises(ConfigError, match="the run generates without it"):
        check_run(parse_config(BASE | {"evaluation": {"engine": "vllm"}}), "unused")
