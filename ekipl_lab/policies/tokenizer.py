"""The tiny policy's tokenizer: byte-level BPE whose known words are single tokens.

    "<think> p5 red cube</think><answer>12</answer>"
    -> <think> | Ġp5 | Ġred | Ġcube | </think> | <answer> | 1 | 2 | </answer>

Text is split into words, single digits and single signs, each with its leading space. A piece in
the vocabulary is one token; any other is written in bytes, so every text round-trips. There are no
merges to learn. ``<think>`` and its kin are single tokens but not special ones: decoding with
``skip_special_tokens=True`` keeps them.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ekipl_lab.policies.vocabulary import first_words, words

EOS = "<|im_end|>"
PAD = "<|endoftext|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
IMAGE = "<|image_pad|>"
VIDEO = "<|video_pad|>"
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
SPECIAL = (PAD, EOS, USER, ASSISTANT, VISION_START, VISION_END, IMAGE, VIDEO)
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
SIGNS = ".,;:?!()[]{}<>=+-*/'\"_|#%&"

#: One turn is ``<|user|>`` images text; the answer is ``<|assistant|>`` completion ``<|im_end|>``.
#: Where there are several images, each has its number before it: else nothing but its place tells
#: a small model which picture a patch belongs to (Qwen2-VL's own template offers the same).
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- set seen = namespace(images=0) -%}"
    "{%- if message['role'] == 'assistant' -%}{{ '<|assistant|>' }}{%- else -%}{{ '<|user|>' }}"
    "{%- endif -%}"
    "{%- if message['content'] is string -%}{{ message['content'] }}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{%- set seen.images = seen.images + 1 -%}"
    "{%- if message['content'] | selectattr('type', 'equalto', 'image') | list | length > 1 -%}"
    "{{ seen.images }}{%- endif -%}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif part['type'] == 'text' -%}{{ part['text'] }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{%- if message['role'] == 'assistant' -%}{{ '<|im_end|>' }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)

#: Cell names p1 .. p16 are one piece each; other pieces are words, single digits, single signs.
_PIECES = "|".join(
    (
        r" ?\bp(?:1[0-6]|[1-9])(?![\p{L}\p{N}_])",
        r" ?[\p{L}_]+",
        r" ?\p{N}",
        r" ?[^\s\p{L}\p{N}_]",
        r"\s+(?!\S)",
        r"\s",
    )
)


def _vocabulary(own: Sequence[str] | None) -> dict[str, int]:
    """Token text (in the byte alphabet, a space is Ġ) to id: bytes first, then pieces."""
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    if own is not None:
        return {token: index for index, token in enumerate(dict.fromkeys([*tokens, *own]))}
    cells = [f"p{cell}" for cell in range(1, 17)]
    both = [*first_words(), *"0123456789", *SIGNS, *cells]
    tokens += [form for piece in both for form in (piece, "Ġ" + piece)]
    tokens += ["Ġ" + word for word in words()]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def _splitter() -> Any:
    """Cuts text into pieces, written in the byte alphabet."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def pieces_of(texts: Iterable[str], *, least: int = 2, most: int = 4000) -> list[str]:
    """The pieces of texts that occur ``least`` times or more, at most ``most``, frequent first.

    They are the ``own`` of `build_tokenizer`. Tags are tokens anyway, and so is every byte.
    """
    splitter, counts = _splitter(), Counter[str]()
    for text in texts:
        for part in re.split("|".join(TAGS), text):
            counts.update(piece for piece, _ in splitter.pre_tokenize_str(part))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [piece for piece, count in ordered if count >= least][:most]


def build_tokenizer(own: Sequence[str] | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer with its chat template, padding on the left.

    Without ``own`` always the same; with it, its single tokens are those pieces (`pieces_of`) in
    place of the words of the built-in benchmark.
    """
    backend = Tokenizer(models.BPE(vocab=_vocabulary(own), merges=[], ignore_merges=True))
    backend.pre_tokenizer = _splitter()
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    backend.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens=list(SPECIAL[2:]),
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """16 hex digits of SHA-256 over vocabulary and special tokens: equal means interchangeable."""
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    text = repr((pieces, sorted(tokenizer.all_special_ids)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
