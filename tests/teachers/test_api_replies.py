"""What an API answers, and what becomes of it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from api_kit import KINDS, PARAMS, api_gateway, gateway_spec, numbered
from fault_server import FaultServer
from hypothesis import given
from hypothesis import strategies as st

from ekipl_lab.parsing import TAGS, parse_completion
from ekipl_lab.teachers.adapters.chat import to_action
from ekipl_lab.teachers.gateway.send import believable, doubt, split_usage
from ekipl_lab.teachers.gateway.types import CallError, Choice, Reply, TokenUsage, to_value
from ekipl_lab.teachers.repair import repair, with_reasoning

WELL = "<think>Two red.</think><answer>2</answer>"
LINE = "<think>Two red.</think>\n<answer>2</answer>"
ANALYSIS = "<|channel|>analysis<|message|>Two red."
FINAL = "<|channel|>final<|message|>"


def read(kind: str, answer: dict[str, Any], folder: Path) -> Reply:
    spec_class, adapter_class, path = KINDS[kind]
    spec = spec_class(
        id="t", model="m", base_url="http://127.0.0.1:9" + path, gateway=gateway_spec(folder)
    )
    reply = adapter_class(spec).read(answer)
    assert isinstance(reply, Reply)
    return reply


def openai(message: dict[str, Any], **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return {"model": "m-1", "choices": [choice | fields]}


THOUGHT = {"type": "thinking", "thinking": "Why"}
DEEP_THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Why"}]}
DETAILS = [
    {"type": "reasoning.text", "text": "Why", "signature": "x"},
    {"type": "reasoning.encrypted", "data": "x"},
    {"type": "reasoning.summary", "summary": "so"},
]


SAID = {"type": "output_text", "text": "2", "annotations": [{"type": "url_citation", "url": "x"}]}
SUMMARY = {"type": "summary_text", "text": "Why"}
#: Parts that servers put beside the answer, each with words in it.
BESIDE = [
    {"type": "citation", "text": "[1]"},
    {"type": "reference", "text": "[1]", "reference_ids": [1]},
    {"type": "url_citation", "content": "a page"},
    {"type": "web_search_tool_result", "content": [{"type": "text", "text": "a page"}]},
    {"type": "tool_use", "name": "t", "value": "x"},
    {"type": "code_execution_result", "content": "4"},
    {"type": "image_url", "value": "x"},
    {"type": "something_new", "something_new": "x"},
]


@pytest.mark.parametrize(
    ("message", "fields", "expected"),
    [
        ({"content": WELL}, {}, Choice(WELL)),
        ({"content": "2", "reasoning_content": "Why"}, {}, Choice("2", "Why")),
        ({"content": "2", "reasoning": "Why"}, {}, Choice("2", "Why")),
        ({"content": "2", "thinking": "Why"}, {}, Choice("2", "Why")),
        ({"content": "2", "thinking_blocks": [THOUGHT]}, {}, Choice("2", "Why")),
        ({"content": "2", "reasoning_text": "Why"}, {}, Choice("2", "Why")),
        ({"content": "2"}, {"logprobs": {"content": [{"logprob": None}]}}, Choice("2")),
        ({"content": "2"}, {"logprobs": {"content": [{"logprob": float("-inf")}]}}, Choice("2")),
        ({"content": "2"}, {"logprobs": [-0.5], "token_ids": ["a"]}, Choice("2")),
        ({"content": None, "reasoning_content": "Why"}, {}, Choice("", "Why")),
        ({"content": [{"type": "text", "text": "a"}, {"text": "b"}]}, {}, Choice("ab")),
        ({"content": ["a", {"type": "text", "text": None}, "b"]}, {}, Choice("ab")),
        ({"content": {"type": "text", "text": "a"}}, {}, Choice("a")),
        ({"content": [THOUGHT, {"type": "text", "text": "2"}]}, {}, Choice("2", "Why")),
        ({"content": [DEEP_THOUGHT, "2"]}, {}, Choice("2", "Why")),
        ({"content": "2", "reasoning_details": DETAILS}, {}, Choice("2", "Why\nso")),
        (
            {"content": "2", "reasoning": None, "reasoning_content": DETAILS},
            {},
            Choice("2", "Why\nso"),
        ),
        ({"reasoning_content": "Why"}, {}, Choice("", "Why")),
        ({"content": "2", "reasoning": 7}, {}, Choice("2")),
        ({"content": [{"type": "text", "text": {"value": "2"}}]}, {}, Choice("2")),
        ({"content": [{"type": "text", "value": "2"}]}, {}, Choice("2")),
        ({"content": [[THOUGHT, {"type": "output_text", "text": "2"}]]}, {}, Choice("2", "Why")),
        ({"content": {"parts": [{"thought": "Why"}, {"text": "2"}]}}, {}, Choice("2", "Why")),
        ({"content": [{"type": "think", "think": "Why"}, "2"]}, {}, Choice("2", "Why")),
        (
            {"content": [{"type": "reasoning_content", "reasoning_content": {"text": "Why"}}, "2"]},
            {},
            Choice("2", "Why"),
        ),
        (
            {
                "content": [
                    {"channel": "analysis", "text": "Why"},
                    {"channel": "final", "text": "2"},
                ]
            },
            {},
            Choice("2", "Why"),
        ),
        ({"content": [*BESIDE, {"type": "text", "text": "2"}, *BESIDE]}, {}, Choice("2")),
        ({"content": [{"type": "message", "content": [*BESIDE, SAID]}]}, {}, Choice("2")),
        ({"content": [{"type": "reasoning", "summary": [SUMMARY]}, SAID]}, {}, Choice("2", "Why")),
        ({"content": [{"channel": "commentary", "text": "x"}, "2"]}, {}, Choice("2")),
        ({"content": None, "text": "2"}, {}, Choice("2")),
        ({"content": [], "text": "2", "reasoning": "Why"}, {}, Choice("2", "Why")),
        ({"content": "2", "text": "3"}, {}, Choice("2")),
        ({"content": {"type": "refusal", "refusal": "No."}}, {}, Choice("", refusal="No.")),
        ({"content": "2"}, {"finish_reason": "MAX_TOKENS"}, Choice("2", finish_reason="length")),
        ({"content": "2"}, {"finish_reason": "model_length"}, Choice("2", finish_reason="length")),
        ({"content": "2"}, {"finish_reason": "eos_token"}, Choice("2")),
        ({"content": "2"}, {"finish_reason": "sensitive"}, Choice("2", finish_reason="refusal")),
        (
            {"content": "2"},
            {"finish_reason": "content-filter"},
            Choice("2", finish_reason="refusal"),
        ),
        # What no list knows was cut off, unless the answer is closed.
        (
            {"content": "<answer>2"},
            {"finish_reason": "model_context_window_exceeded"},
            Choice("<answer>2", finish_reason="length"),
        ),
        ({"content": WELL}, {"finish_reason": "some_new_word"}, Choice(WELL)),
        ({"content": "2"}, {"finish_reason": "SAFETY"}, Choice("2", finish_reason="refusal")),
        (
            {"content": "2"},
            {"finish_reason": {"type": "length", "length": 9}},
            Choice("2", finish_reason="length"),
        ),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, {}, Choice("", refusal="No.")),
        ({"content": "2", "refusal": ""}, {}, Choice("2")),
        ({"content": "2"}, {"finish_reason": "length"}, Choice("2", finish_reason="length")),
        ({"content": ""}, {"finish_reason": "content_filter"}, Choice("", finish_reason="refusal")),
        ({"content": None, "refusal": "No."}, {}, Choice("", refusal="No.")),
        (
            {"content": "2"},
            {"logprobs": {"content": [{"token": "2", "logprob": -0.25}]}, "token_ids": [7]},
            Choice("2", logprobs=(-0.25,), token_ids=(7,)),
        ),
    ],
)
def test_openai_messages(
    tmp_path: Path, message: dict[str, Any], fields: dict[str, Any], expected: Choice
) -> None:
    answer = openai(message, **fields)
    (choice,) = read("openai", answer, tmp_path).choices
    assert asdict(choice) | {"raw": {}} == asdict(expected)
    assert choice.raw == answer


def test_a_choice_without_a_message_has_its_text(tmp_path: Path) -> None:
    """As completions have it, and some proxies of chats."""
    answer = {"choices": [{"index": 0, "text": "2", "finish_reason": "stop"}]}
    assert read("openai", answer, tmp_path).choices[0].text == "2"
    with pytest.raises(KeyError):
        read("openai", {"choices": [{"index": 0}]}, tmp_path)


def test_anthropic_blocks(tmp_path: Path) -> None:
    blocks = [
        {"type": "thinking", "thinking": "Why", "signature": "x"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "<answer>"},
        {"type": "text", "text": "2</answer>"},
    ]
    blocks += [{"type": "text", "text": None}]
    usage = {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}
    answer = {"content": blocks, "stop_reason": "max_tokens", "usage": usage, "model": "c"}
    reply = read("anthropic", answer, tmp_path)
    (choice,) = reply.choices
    assert (choice.text, choice.reasoning) == ("<answer>2</answer>", "Why")
    assert (choice.finish_reason, reply.usage) == ("length", TokenUsage(10, 3, None))


def test_gemini_candidates(tmp_path: Path) -> None:
    parts = [{"text": "Why", "thought": True}, {"text": "2"}]
    candidate = {"content": {"parts": parts}, "finishReason": "STOP"}
    (choice,) = read("gemini", {"candidates": [candidate]}, tmp_path).choices
    assert (choice.text, choice.reasoning, choice.finish_reason) == ("2", "Why", "stop")
    blocked: dict[str, Any] = {"promptFeedback": {"blockReason": "SAFETY"}}
    (choice,) = read("gemini", blocked, tmp_path).choices
    assert choice.refusal == "prompt blocked: SAFETY"
    (choice,) = read("gemini", {"candidates": [{"finishReason": "RECITATION"}]}, tmp_path).choices
    assert choice.refusal == "answer blocked: RECITATION"


def action_of(choice: Choice, **settings: Any) -> Any:
    value = to_value(choice, TokenUsage(3, 1, 2), "m-1", 0.5, 0.1)
    return to_action(value, "t", **{"repairing": True, **settings})


def test_reasoning_fields_become_the_think_block() -> None:
    action = action_of(Choice("<answer>2</answer>", "Two red."))
    assert action.completion == WELL
    assert action_of(Choice(WELL, "Something else.")).completion == WELL
    assert with_reasoning("2", "  ") == "2"


@pytest.mark.parametrize(
    ("text", "reasoning", "completion"),
    [
        ("<answer>2</answer>", "<think>Two red.</think>", WELL),
        ("<answer>2</answer>", "<think>\nTwo red.", WELL),
        ("<answer>2</answer>", "<thinking>Two red.</thinking>", WELL),
        ("<answer>2</answer>", "Two <answer>red</answer>.", WELL),
        ("<answer>2</answer>", "<think></think>", "<answer>2</answer>"),
        ("", WELL, WELL),
        (" ", "Two red.\n<answer>2</answer>", WELL),
        ("", "<think>Two red.", "<think>Two red.</think>"),
        # Templates leave an empty block where the words stand in the other field.
        ("<think>\n\n</think>\n\n<answer>2</answer>", "Two red.", WELL),
        ("</think><answer>2</answer>", "Two red.", WELL),
        ("<thinking>Two red.</thinking><answer>2</answer>", "Why", WELL),
    ],
)
def test_tags_within_the_reasoning_field_do_not_spoil_the_answer(
    text: str, reasoning: str, completion: str
) -> None:
    assert action_of(Choice(text, reasoning)).completion == completion


def test_tokens_are_kept_only_with_the_text_they_are_of() -> None:
    kept = action_of(Choice(WELL, logprobs=(-1.0,), token_ids=(4,)), tokenizer_id="h")
    assert (kept.logprobs, kept.token_ids, kept.tokenizer_id) == ((-1.0,), (4,), "h")
    for changed in (
        Choice("Two red. <answer>2</answer>", logprobs=(-1.0,), token_ids=(4,)),
        Choice("<answer>2</answer>", "Two red.", logprobs=(-1.0,), token_ids=(4,)),
    ):
        action = action_of(changed, tokenizer_id="h")
        assert parse_completion(action.completion).answer == "2"
        assert (action.logprobs, action.token_ids, action.tokenizer_id) == (None, None, None)


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        (Choice(""), "empty"),
        (Choice(" \n"), "empty"),
        (Choice("", refusal="No."), "refusal"),
        (Choice("I will not.", finish_reason="refusal"), "refusal"),
    ],
)
def test_unusable_answers_are_named(choice: Choice, kind: str) -> None:
    with pytest.raises(CallError) as caught:
        action_of(choice)
    assert (caught.value.kind, caught.value.retryable) == (kind, False)


def test_an_answer_cut_off_stays_cut_off() -> None:
    action = action_of(Choice("<think>a</think><answer>2", finish_reason="length"))
    assert action.finish_reason == "length"
    assert parse_completion(action.completion).answer is None
    thought_only = action_of(Choice("", "Long thoughts", finish_reason="length"))
    assert thought_only.completion == "<think>Long thoughts</think>"


@pytest.mark.parametrize("kind", list(KINDS))
def test_reasoning_arrives_from_a_server(tmp_path: Path, kind: str) -> None:
    server = FaultServer(text="<answer>{number}</answer>", reasoning="I look.")
    with server, api_gateway(server.url, tmp_path, kind) as gateway:
        ((action,),) = gateway.propose([numbered(3)], 1, PARAMS)
    assert action.completion == "<think>I look.</think><answer>3</answer>"


def test_log_probabilities_arrive_from_a_server(tmp_path: Path) -> None:
    with (
        FaultServer() as server,
        api_gateway(server.url, tmp_path, spec={"logprobs": True}) as gateway,
    ):
        assert gateway.capabilities.logprobs
        ((action,),) = gateway.propose([numbered(3)], 1, PARAMS)
    assert action.logprobs == (-0.5, -0.5, -0.5)  # "<think>I ", "see ", "[3].</think>..."


@pytest.mark.parametrize(
    ("text", "completion", "repairs"),
    [
        (WELL, WELL, ()),
        (f"```xml\n{WELL}\n```", WELL, ("fence",)),
        ("<Think>Two red.</THINK>< answer >2</ answer>", WELL, ("tags",)),
        ("<thinking>Two red.</thinking><final_answer>2</final_answer>", WELL, ("tags",)),
        ("Two red.</think><answer>2</answer>", WELL, ("open_think",)),
        ("Two red.\n<answer>2</answer>", WELL, ("wrap_think",)),
        ("<think>Two red.<answer>2</answer>", WELL, ("close_think",)),
        ("<think>Two red.</think><answer>2", WELL, ("close_answer",)),
        ("<think>Two red.</think>\nAnswer: 2", LINE, ("last_line",)),
        ("<think>Two red.</think>Answer: 2", LINE, ("last_line",)),
        ("<think>Two red.</think>So:\nAnswer: 2", None, ()),
        ("[THINK]Two red.[/THINK]\n<answer>2</answer>", WELL, ("marks",)),
        ("[THINK]Two red.[/THINK]Answer: 2</s>", LINE, ("end_token", "marks", "last_line")),
        ("[THINK]Why[/THINK]<think>Two red.</think><answer>2</answer>", WELL, ("marks",)),
        ("[THINK]Two <answer>red[/THINK].<answer>2</answer>", None, ()),
        ("Two red.[/THINK]<answer>2</answer>", WELL, ("marks",)),
        ("◁think▷Two red.◁/think▷<answer>2</answer>", WELL, ("marks",)),
        ("<|begin_of_thought|>Two red.<|end_of_thought|><answer>2</answer>", WELL, ("marks",)),
        ("[THINK]Two red.<answer>2</answer>", None, ()),
        ("[THINK]a[/THINK]b[THINK]c[/THINK]<answer>2</answer>", None, ()),
        (f"{ANALYSIS}<|end|><|start|>assistant{FINAL}<answer>2</answer>", WELL, ("marks",)),
        (f"{ANALYSIS}<|end|>{FINAL}{WELL}<|return|>", WELL, ("end_token", "marks")),
        (f"<|start|>assistant{FINAL}{WELL}", WELL, ("marks",)),
        (f"{ANALYSIS}<answer>2</answer>", None, ()),
        (f"{ANALYSIS}<|end|>{FINAL}<answer>2</answer>{FINAL}", None, ()),
        (f"Two red.{FINAL}<answer>2</answer>", None, ()),
        ("Two red.\n**Final answer:** 2", WELL, ("last_line", "wrap_think")),
        ("Two red.", "Two red.", ()),
        (f"{WELL}<|im_end|>\n", WELL, ("end_token",)),
        (f"{WELL} </s></s>", WELL, ("end_token",)),
        (f"{WELL[:-9]}<|eot_id|>", WELL, ("end_token", "close_answer")),
        ("<answer>2</answer></s>", "<answer>2</answer>", ("end_token",)),
        ("<|im_end|>", "", ("end_token",)),
        (f"</s>{WELL}", None, ()),
        (f"\ufeff{WELL}", WELL, ("begin_token",)),
        (f"<s> {WELL}", WELL, ("begin_token",)),
        (f"<|im_start|>assistant\n{WELL}<|im_end|>", WELL, ("end_token", "begin_token")),
        ("assistant\n\n<answer>2</answer>", None, ()),
        (f"assistant\n{WELL}", WELL, ("begin_token",)),
        (
            "<start_of_turn>model\nTwo red.</think><answer>2</answer>",
            WELL,
            ("begin_token", "open_think"),
        ),
        ("<|begin_of_text|>Two red.\n<answer>2</answer>", WELL, ("begin_token", "wrap_think")),
        (f"assistants {WELL}", None, ()),
        ("2", "2", ()),
        ("<answer>2</answer>", "<answer>2</answer>", ()),
        ("<think>a</think><answer>2</answer><answer>3</answer>", None, ()),
        ("<think>is it <answer>3</answer>?</think><answer>2</answer>", None, ()),
        ("<think>The answer:\nAnswer: 3", None, ()),
        ("<think>a</think><answer>2\n\nor maybe 3", None, ()),
        ("", "", ()),
    ],
)
def test_repairs_by_hand(text: str, completion: str | None, repairs: tuple[str, ...]) -> None:
    repaired = repair(text)
    assert (repaired.completion, repaired.repairs) == (
        text if completion is None else completion,
        repairs,
    )


def test_an_end_token_that_a_server_left_is_taken_off_and_said_once(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    reply = read("openai", openai({"content": f"{WELL}<|im_end|>"}), tmp_path).choices[0]
    used = TokenUsage(9, 0, 9)
    actions = [
        to_action(to_value(reply, used, "m", 0.0, 0.0), "glm-9", repairing=asked)
        for asked in (True, True, False)
    ]
    assert [action.completion for action in actions] == [WELL, WELL, f"{WELL}<|im_end|>"]
    assert caplog.text.count("glm-9: a reply ends in '<|im_end|>', which is taken off") == 1
    with pytest.raises(CallError, match="answered nothing"):
        to_action(to_value(Choice("</s>\n"), used, "m", 0.0, 0.0), "glm-9", repairing=True)


def test_what_was_cut_off_gets_no_answer() -> None:
    cut = "<think>Two red.</think><answer>2"
    assert repair(cut, finished=False).completion == cut


PIECES = st.sampled_from(
    [
        *TAGS,
        "<Think>",
        "</reasoning>",
        "[THINK]",
        "[/THINK]",
        ANALYSIS,
        FINAL,
        "< answer>",
        "Answer: ",
        "**",
        "\n",
        "```",
        " ",
        "2",
        "red",
        ":",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=40), st.booleans())
def test_a_repair_never_invents(text: str, finished: bool) -> None:
    repaired = repair(text, finished=finished)
    parsed = parse_completion(repaired.completion)
    assert repaired.completion == text or parsed.format_ok
    assert bool(repaired.repairs) == (repaired.completion != text)
    if parsed.answer is not None:
        assert parsed.answer in text
        changed = {"tags", "marks"} & set(repaired.repairs)
        assert parsed.think is None or parsed.think in text or changed
    before = parse_completion(text)
    if before.answer is not None:
        assert parsed.answer == before.answer
    assert repair(repaired.completion, finished=finished).completion == repaired.completion


@given(st.integers(0, 500), st.integers(1, 9))
def test_shares_add_up(completion: int, parts: int) -> None:
    shares = split_usage(TokenUsage(7, 3, completion), parts)
    total = [sum(getattr(s, name) for s in shares) for name in ("prompt", "cached", "completion")]
    assert total == [7, 3, completion]
    assert max(s.completion for s in shares) - min(s.completion for s in shares) <= 1


@pytest.mark.parametrize("count", [-5, True, 2.5, -0.5])
def test_a_count_that_cannot_be_is_not_hidden_in_a_sum(count: float, tmp_path: Path) -> None:
    """Anthropic and Gemini count in parts: 10 fresh and -5 cached are not 5."""
    usage: dict[str, Any] = {"input_tokens": 10, "cache_creation_input_tokens": count}
    usage |= {"output_tokens": 3}
    anthropic = {"content": [{"type": "text", "text": "2"}], "usage": usage}
    candidate = {"content": {"parts": [{"text": "2"}]}, "finishReason": "STOP"}
    counts = {"promptTokenCount": 9, "candidatesTokenCount": 10, "thoughtsTokenCount": count}
    most = TokenUsage(300, 0, 32)
    for kind, answer in {
        "openai": openai({"content": "2"}) | {"usage": {"prompt_tokens": count}},
        "anthropic": anthropic,
        "gemini": {"candidates": [candidate], "usageMetadata": counts},
    }.items():
        used = read(kind, answer, tmp_path).usage
        assert believable(used, most) == most, kind
        assert "cannot be" in (doubt(used, most) or ""), kind


def test_cached_tokens_alone_are_not_the_prompt(tmp_path: Path) -> None:
    usage = {"input_tokens": None, "cache_read_input_tokens": 30, "output_tokens": 3}
    answer = {"content": [{"type": "text", "text": "2"}], "usage": usage}
    assert read("anthropic", answer, tmp_path).usage == TokenUsage(None, 30, 3)


def test_an_answer_of_gemini_that_was_cut_off_before_its_first_word(tmp_path: Path) -> None:
    for fields in ({}, {"content": {"role": "model"}}, {"content": None}):
        answer = {"candidates": [{"finishReason": "MAX_TOKENS", **fields}]}
        (choice,) = read("gemini", answer, tmp_path).choices
        assert (choice.text, choice.finish_reason) == ("", "length")


@pytest.mark.parametrize("count", [float("inf"), float("nan")])
@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini"])
def test_a_count_that_is_no_number_does_not_lose_the_answer(
    kind: str, count: float, tmp_path: Path
) -> None:
    """JSON's 1e999 is infinity."""
    anthropic = {"content": [{"type": "text", "text": "2"}], "usage": {"input_tokens": count}}
    parts = {"content": {"parts": [{"text": "2"}]}, "finishReason": "STOP"}
    answers: dict[str, dict[str, Any]] = {
        "openai": openai({"content": "2"}) | {"usage": {"prompt_tokens": count}},
        "anthropic": anthropic | {"stop_reason": "end_turn"},
        "gemini": {"candidates": [parts], "usageMetadata": {"promptTokenCount": count}},
    }
    reply = read(kind, answers[kind], tmp_path)
    assert (reply.choices[0].text, reply.usage.prompt) == ("2", None)


@pytest.mark.parametrize("reason", ["network_error", "timeout", "error", "cancelled"])
def test_what_broke_on_the_server_is_no_answer(reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        read("openai", openai({"content": "<answer>1"}, finish_reason=reason), tmp_path)
    broken = openai({"content": "<answer>1"}, finish_reason=None, error={"message": "upstream"})
    with pytest.raises(ValueError, match="stop"):
        read("openai", broken, tmp_path)


@pytest.mark.parametrize(
    ("usage", "completion"),
    [
        ({"completion_tokens": 9, "total_tokens": 409}, 309),  # xAI, Gemini's compatible endpoint
        ({"total_tokens": 409}, 309),
        ({"completion_tokens": 9, "total_tokens": 109}, 9),
        ({"completion_tokens": 9, "total_tokens": 5}, 9),
        ({"completion_tokens": 9, "total_tokens": None}, 9),
        ({"completion_tokens": -1, "total_tokens": 409}, -1),
    ],
)
def test_thoughts_that_stand_in_the_total_alone_are_booked(
    usage: dict[str, Any], completion: int, tmp_path: Path
) -> None:
    answer = openai({"content": "2"}) | {"usage": {"prompt_tokens": 100, **usage}}
    assert read("openai", answer, tmp_path).usage == TokenUsage(100, 0, completion)


def test_words_that_no_token_is_counted_for_are_booked_as_the_most() -> None:
    most, said = TokenUsage(300, 0, 32), TokenUsage(100, 0, 0)
    assert believable(said, most, spoke=True) == most
    assert "cannot be" in (doubt(said, most, spoke=True) or "")
    assert (believable(said, most), doubt(said, most)) == (said, None)  # it answered nothing
