"""A chat template that opens <think> itself: the policy's words go on from there."""

import pytest
import torch
import trainer_toys as toys

from ekipl_lab.groups.encoder import policy_encoder
from ekipl_lab.groups.options import EKIPLOptions
from ekipl_lab.parsing import parse_completion
from ekipl_lab.policies import PolicySource, as_policy
from ekipl_lab.rewards import get_scorer
from ekipl_lab.types import Action, GenerationParams

torch.set_num_threads(1)
WRITTEN = "two red cubes</think><answer>2</answer>"
HEADER = "add_generation_prompt -%}{{ '<|assistant|>"


def thinker(opens="<think>\\n"):
    model, processor = toys.nano()
    template = processor.chat_template.replace(HEADER, HEADER + opens)
    processor.chat_template = processor.tokenizer.chat_template = template
    return model, processor


def writing(model, processor, text):
    """The model, made to write ``text`` after any prompt."""
    ids = [*processor.tokenizer(text).input_ids, processor.tokenizer.eos_token_id]
    forward, state = model.forward, {"step": 0}

    def scripted(*args, **inputs):
        output = forward(*args, **inputs)
        state["step"] = 0 if inputs.get("pixel_values") is not None else state["step"] + 1
        output.logits[:, -1] = -50.0
        output.logits[:, -1, ids[min(state["step"], len(ids) - 1)]] = 50.0
        return output

    model.forward = scripted
    return ids


@pytest.mark.parametrize(
    ("tail", "opens"),
    [
        ("", ""),
        ("<think>", "<think>"),
        ("<think>\\n", "<think>\n"),
        ("<think>\\nSo: ", "<think>\nSo: "),
        ("<think>\\n\\n</think>\\n\\n", ""),  # thinking switched off: the answer begins after it
    ],
)
def test_what_a_template_opens(tail, opens):
    assert as_policy(*thinker(tail)).opens == opens


def test_a_completion_is_read_from_where_the_prompt_opened_it():
    model, processor = thinker()
    policy, ids = as_policy(model, processor), writing(model, processor, WRITTEN)
    params = GenerationParams(max_new_tokens=40, temperature=0.0)
    ((action,),) = PolicySource(policy).propose(toys.toy_samples(1), 1, params)
    assert action.completion == "<think>\n" + WRITTEN and list(action.token_ids) == ids
    assert parse_completion(action.completion).format_ok
    encoding = policy_encoder(policy, EKIPLOptions(), 40).encode(action)
    assert list(encoding.token_ids) == ids


@pytest.mark.parametrize("text", ["<think>", "<think>\n", " <think> \n"])
@pytest.mark.parametrize("opens", ["<think>", "<think>\\n"])
def test_prompt_and_teacher_row_hold_one_think(opens, text):
    policy = as_policy(*thinker(opens))
    tokenizer, encoder = policy.processor.tokenizer, policy_encoder(policy, EKIPLOptions(), 40)
    encoding = encoder.encode(Action(text + WRITTEN, "t", "t"))
    written = policy.opens + tokenizer.decode(encoding.token_ids[:-1])
    assert parse_completion(written) == parse_completion(f"<think>{WRITTEN}")
    assert encoder.encode(Action("<answer>2</answer>", "t", "t")).refused == "not_round_trip"
    assert encoder.encode(Action("<think>", "t", "t")).refused == "empty"


def test_tokens_of_a_teacher_whose_own_prompt_opens_nothing_are_not_taken():
    policy = as_policy(*thinker())
    tokenizer, encoder = policy.processor.tokenizer, policy_encoder(policy, EKIPLOptions(), 40)
    text = f"<think>{WRITTEN}"
    ids = (*tokenizer(text).input_ids, tokenizer.eos_token_id)
    own = Action(text, "t", "t", ids, (-1.0,) * len(ids), policy.tokenizer_id)
    encoding = encoder.encode(own)
    assert encoding.token_ids == ids[1:] and encoding.logprobs is None
    scored = policy_encoder(policy, EKIPLOptions(weighting="proposal_ratio"), 40)
    assert scored.encode(own).refused == "no_logprobs"


def test_training_scores_the_policy_with_the_opening_and_teachers_without_a_second(tmp_path):
    model, processor = thinker()
    groups = []

    class Records:
        def write(self, step, new):
            groups.extend(new)

    trainer = toys.EKIPLTrainer(
        model,
        args=toys.config(tmp_path, max_steps=1),
        samples=toys.toy_samples(),
        processing_class=processor,
        scorer=get_scorer("ekipl/auto"),
        teachers=[toys.oracle()],
        records=Records(),
    )
    seen = {}
    inner = trainer._generate_and_score_completions

    def kept(inputs):
        seen.update(inner(inputs))
        return seen

    trainer._generate_and_score_completions = kept
    trainer.train()
    policies = [a for g in groups for a in g.candidates if a.source == "policy"]
    assert policies and all(action.completion.startswith("<think>\n") for action in policies)
    decode = processor.tokenizer.decode
    rows = [
        decode(p) + decode(c)
        for p, c in zip(seen["prompt_ids"], seen["completion_ids"], strict=True)
    ]
    taught = [
        row for row, source in zip(rows, seen["action_source"].tolist(), strict=True) if source
    ]
    assert taught and all(
        row.rpartition("<|assistant|>")[2].count("<think>") == 1 for row in taught
    )
