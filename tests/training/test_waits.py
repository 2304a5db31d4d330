"""How long ranks may wait for each other, by hand; and who measures what."""

import pytest
from paths import ROOT

from ekipl_lab.training.config.check import check_run
from ekipl_lab.training.config.plan import describe_plan
from ekipl_lab.training.config.run_config import load_config, parse_config
from ekipl_lab.training.config.sizes import batch_sizes
from ekipl_lab.training.config.waits import BASE, WEEK, longest_wait
from ekipl_lab.training.evaluator import shares

SETTINGS = {
    "name": "waits",
    "policy": {"build": "nano"},
    "data": {"limit": 64},
    "grpo": {
        "num_generations": 8,
        "per_device_train_batch_size": 64,
        "max_completion_length": 100,
        "max_steps": 1,
    },
    "evaluation": {"sets": [{"split": "test"}, {"split": "test_ood"}], "max_rows": 64},
}
PAID = {"type": "openai", "id": "paid", "model": "m", "base_url": "http://127.0.0.1:1/v1"}


def wait(**changes):
    config = parse_config(SETTINGS | changes)
    return longest_wait(config, batch_sizes(config))


def test_an_evaluation_adds_one_batch_a_set_and_mode():
    # 2 sets, greedy and sampled, 256 rows in 4 chunks each, 100 tokens of one second.
    assert wait() == BASE + 2 * (4 + 4) * 100
    assert wait(evaluation={"sets": []}) == BASE


def test_a_teacher_adds_every_attempt_of_its_calls():
    # 8 prompts x 2 actions, each once more for an unusable answer: 32 calls, 16 at a time;
    # 3 attempts of 10 s with pauses of 5 s between them.
    gateway = {"timeout": 10, "retries": 2, "max_wait": 5, "in_flight": 16, "reask": 1}
    teacher = PAID | {"actions": 2, "gateway": gateway}
    alone = wait(evaluation={"sets": []}, teachers=[teacher])
    assert alone == BASE + 2 * (3 * 10 + 2 * 5)
    slow = teacher | {"gateway": gateway | {"requests_per_minute": 4}}
    assert wait(evaluation={"sets": []}, teachers=[slow]) == alone + 60 * 32 / 4
    patient = teacher | {"gateway": gateway | {"on_error": "wait"}}
    assert wait(teachers=[patient]) == WEEK


def test_the_wait_is_trls_time_limit_unless_one_is_given(tmp_path):
    assert check_run(parse_config(SETTINGS), tmp_path).args.ddp_timeout == BASE + 1600
    own = SETTINGS | {"grpo": SETTINGS["grpo"] | {"ddp_timeout": 77}}
    assert check_run(parse_config(own), tmp_path).args.ddp_timeout == 77


def test_a_plan_for_several_processes_says_it():
    config = load_config(ROOT / "configs" / "qwen2_5_vl_7b_8gpus.yaml")
    assert "longest wait" in describe_plan(config)


@pytest.mark.parametrize(("items", "size", "ranks"), [(11, 4, 2), (3, 4, 2), (16, 4, 3), (0, 4, 2)])
def test_every_item_is_measured_by_one_rank_in_the_batch_of_a_single_process(items, size, ranks):
    dealt = shares(items, size, ranks)
    assert sorted(i for mine in dealt for i in mine) == list(range(items)) and len(dealt) == ranks
    whole = [list(range(items))[start : start + size] for start in range(0, items, size)]
    for mine in dealt:  # cut into batches of `size`, they are batches of the whole
        assert all(mine[start : start + size] in whole for start in range(0, len(mine), size))
