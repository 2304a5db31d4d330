"""What to try for each diagnosis of the group doctor: a sentence, and overrides of the config.

``settings`` are overrides for ``ekipl train`` (`training.config`); values in angle brackets are
the user's to fill in.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Advice:
    """``text`` is a sentence; ``settings`` are ``a.b=c`` overrides, the first the one to try."""

    text: str
    settings: tuple[str, ...] = ()


_HARDER = Advice(
    "Nothing is left to learn on these prompts; train on harder ones, or sample more widely.",
    ("data.families=[<harder families>]", "grpo.temperature=1.2"),
)
_ORACLE = "teachers=[{type: oracle, id: oracle, accuracy: 0.9}]"
_SHOW = (_ORACLE, "ekipl.selection=on_failure")
_BY_TEACHER = Advice(
    "The policy cannot find a right action by itself; let a teacher show one where it fails.",
    _SHOW,
)
_BY_OTHER_TEACHER = Advice(
    "Neither the policy nor a teacher finds a right action; ask for more actions of either, take "
    "a better teacher, or imitate right chains first (`ekipl sft`).",
    ("teachers.0.actions=4", "grpo.num_generations=16"),
)

_FIXED = {
    "unscorable": Advice(
        "The scorer could not compare these answers; look at the explanations in the group "
        "records, and choose a scorer that fits the answer type.",
        ("reward.scorer=ekipl/auto",),
    ),
    "all_right": _HARDER,
    "equal": Advice(
        "A penalty or bonus outweighs the answer; give the accuracy component more weight.",
        ("reward.weights={accuracy: 1.0, format: 0.5}",),
    ),
    "teacher_never_better": Advice(
        "It costs and shows nothing; take a better teacher, or none for this task.",
        ("teachers=[]",),
    ),
    "teacher_unused": Advice(
        "The selection rule left it out; keep a teacher's action where the policy fails.",
        ("ekipl.selection=on_failure",),
    ),
    "empty": Advice("It answers nothing; look at its raw answers (`ekipl teach`)."),
    "special_token": Advice(
        "Its text holds special tokens of the policy; change its prompt so that it does not."
    ),
    "no_logprobs": Advice(
        "The weighting divides by the teacher's own token probabilities, which these actions lack; "
        "choose one that does not, or a local teacher with the policy's tokenizer.",
        ("ekipl.weighting=policy_ratio",),
    ),
    "missing": Advice(
        "Its gateway left calls out: errors that did not pass, or a used-up budget; the metrics "
        "`teacher/<id>/failures_...` say which. Raise the budget, or have it try more often.",
        ("teachers.0.gateway.retries=10",),
    ),
    "not_round_trip": Advice(
        "The policy's tokenizer cannot write its text (use one that can, byte level), or the text "
        "does not begin with the <think> that the policy's chat template opens."
    ),
}


def advise(cause: str, *, rule: str, teachers: tuple[str, ...], longest: int) -> Advice:
    """The advice for a cause, or for the commonest reason of a teacher's refusals.

    ``rule`` and ``teachers`` are those of the groups concerned; ``longest`` the tokens of the
    longest action that was cut off (0: unknown).
    """
    if cause == "starved":
        return _starved(rule)
    if cause in ("truncated", "too_long", "cut_off"):
        return _longer(cause, longest)
    if cause == "unparseable":
        return Advice(
            "Let a teacher show the form where all fail, or teach it by imitation first "
            "(`ekipl sft`).",
            _SHOW[1:] if teachers else _SHOW,
        )
    if cause in ("all_wrong", "format_only"):
        advice = _BY_OTHER_TEACHER if teachers else _BY_TEACHER
        if cause == "format_only":
            hidden = " The mean reward hides it: judge by policy/accuracy."
            return Advice(advice.text + hidden, advice.settings)
        return advice
    return _FIXED[cause]


def without_oracle(settings: tuple[str, ...]) -> tuple[str, ...]:
    """The settings for data of which nobody can write chains: another teacher for it."""
    bought = (
        "teachers=[{type: openai, id: teacher, model: <model>, base_url: <server>}], or the data's "
        "own chains, teachers=[{type: replay, id: chains, cot: true}]"
    )
    return tuple(bought if setting == _ORACLE else setting for setting in settings)


def _starved(rule: str) -> Advice:
    text = "Keep a failed action beside the right ones, or fewer actions of teachers."
    first = "ekipl.params={keep_failures: 1}" if rule == "top_g" else "ekipl.selection=on_failure"
    return Advice(text, (first, "ekipl.selection=max_variance", "teachers.0.actions=1"))


def _longer(cause: str, longest: int) -> Advice:
    room = str(2 * longest) if longest else "<twice as many>"
    text = {
        "truncated": "Give completions more room; if they only ramble, imitate short chains first "
        "(`ekipl sft`).",
        "too_long": "Its actions do not fit; give completions more room or ask it for less.",
        "cut_off": "Its answers are cut off at the same limit as the policy's; raise it.",
    }[cause]
    return Advice(text, (f"grpo.max_completion_length={room}",))
