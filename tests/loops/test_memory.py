"""Memory: what a micro-batch keeps, how large it therefore is, layers computed twice, a GPU that is full."""

import json
from pathlib import Path
from typing import Any

import checkpoints
import pytest
import torch
from small_runs import mirror
from test_learner import learner, random_batch

from shuhari.loops.config import ImitateConfig
from shuhari.loops.house import House
from shuhari.loops.learn import memory
from shuhari.loops.learn.memory import MicroBatches, TooLittleMemory, TrainingMemory
from shuhari.loops.train import train
from shuhari.policy.model import base_size
from shuhari.policy.policy import Policy
from shuhari.policy.scoring import completion_logprobs

BF16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="the processor has no bfloat16 instructions"
)
KINDS = [("llama", "float32", 10**9), ("qwen3", "float32", 0), ("gpt_neox", "float32", 0)]
BIG = pytest.param("llama", "bfloat16", 0, marks=BF16)


def gradients(
    policy: Policy, micro_batch: int = 10**6, checkpointed: bool = False
) -> tuple[float, torch.Tensor]:
    one = learner(policy, "distill", micro_batch)
    one.checkpointed = checkpointed
    totals = one._gradients(random_batch(9))
    assert totals is not None
    found = [p.grad for p in policy.parameters.values() if p.grad is not None]
    return float(totals[0]), torch.cat([g.flatten() for g in found])


@pytest.mark.parametrize(("kind", "dtype", "small"), [*KINDS, BIG])
def test_layers_computed_twice_keep_less_and_give_the_same_bits(
    kind: str, dtype: str, small: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_size, "SMALL", small)
    policy = checkpoints.random_policy(tmp_path, kind, dtype, num_hidden_layers=6)
    loss, want = gradients(policy)
    twice, got = gradients(policy, checkpointed=True)
    assert loss == twice
    assert torch.equal(got, want)
    pairs = random_batch(9).pairs

    def kept() -> int:
        found: dict[int, Any] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: found.setdefault(x.untyped_storage().data_ptr(), x), lambda x: x
        ):
            completion_logprobs(policy, pairs, packed=False)
        return sum(x.untyped_storage().nbytes() for x in found.values())

    plain = kept()
    with policy.checkpointed(True):
        assert kept() < plain / 2
    assert kept() == plain


def test_beside_a_large_base_gradients_are_those_of_the_merged_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for small in (10**9, 0):
        monkeypatch.setattr(base_size, "SMALL", small)
        policy = checkpoints.random_policy(tmp_path, "qwen2")
        assert policy.weights().layers[0].down.by_hand(torch.zeros(1)) == (small == 0)
        found.append(gradients(policy, 40))
    (loss, want), (other, got) = found
    assert other == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(got, want, atol=1e-5 * float(want.abs().max()), rtol=1e-4)


def test_the_estimate_is_what_a_batch_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_size, "SMALL", 0)
    policy = checkpoints.random_policy(tmp_path, "llama", num_hidden_layers=6)
    texts = [memory._text(100, number) for number in range(5)]
    found: dict[int, Any] = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: found.setdefault(x.untyped_storage().data_ptr(), x), lambda x: x
    ):
        completion_logprobs(policy, texts)
    kept = sum(x.untyped_storage().nbytes() for x in found.values())
    estimate = TrainingMemory(policy, 0).needed(500, 100, checkpointed=False)
    assert 1.0 < estimate / kept < 1.7  # a layer's gradients included


def test_the_choice_by_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_size, "SMALL", 0)
    policy = checkpoints.random_policy(tmp_path, "llama", num_hidden_layers=24)
    training, chosen = TrainingMemory(policy, 0), []
    for tokens in (10**6, 3000, 1000, 100):  # that fit without computing layers twice
        room = training.needed(tokens, 100, checkpointed=False)
        training.free = free = int((training.fixed + room) / memory.USABLE)
        chosen.append(training.plan(100))
        assert training.fixed + training.needed(chosen[-1].tokens, 100, chosen[-1].checkpointed) <= free
    assert chosen[0] == MicroBatches(8192, checkpointed=False)
    assert [x.tokens for x in chosen] == [8192, 2048, 4096, 512]
    assert [x.checkpointed for x in chosen] == [False, False, True, True]
    assert all(x.tokens >= memory.ENOUGH or x.checkpointed for x in chosen)
    assert training.plan(100, asked=300) == MicroBatches(300, checkpointed=True)
    training.free = 10**12
    assert training.plan(100, asked=300) == MicroBatches(300, checkpointed=False)
    training.check(100, "phases.x")
    training.free = training.fixed
    with pytest.raises(
        TooLittleMemory, match=r"^phases\.x: a text of 100 tokens needs about 0\.\d GiB .*policy"
    ):
        training.check(100, "phases.x")


def test_a_small_base_has_what_it_had_and_nothing_is_said() -> None:
    policy = Policy("math", rank=4, alpha=8.0)
    training = TrainingMemory(policy, 2**31)
    assert training.plan(128) == MicroBatches(8192, checkpointed=False)
    assert training.line(training.plan(128), 128) == ""
    training.free = 2**27
    assert training.line(training.plan(128), 128).startswith("micro-batches of")


def test_a_batch_whose_text_does_not_fit_is_refused_before_it_is_computed() -> None:
    one = learner(Policy("math", rank=4, alpha=8.0), "distill")
    seen: list[int] = []
    one._check = seen.append
    batch = random_batch(3)
    one.learn(batch)
    assert seen == [max(len(p) + len(c) for p, c in batch.pairs)]


class Full:
    """A model whose memory ends so many times."""

    def __init__(self, policy: Policy, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times, weights = times, policy.weights
        self.calls = 0

        def full(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls % 2 == 0 and self.times:  # when a part has left its gradient
                self.times -= 1
                raise torch.cuda.OutOfMemoryError
            return weights(*arguments)

        monkeypatch.setattr(policy, "weights", full)


def test_a_full_gpu_halves_and_makes_the_step_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for times in (0, 1):
        policy = Policy("math", rank=4, alpha=8.0, seed=3)
        policy.load_state({key: value + 0.02 for key, value in policy.state().items()})
        one = learner(policy, "distill", 100)
        Full(policy, times, monkeypatch)
        figures = one.learn(random_batch(9))
        found.append((figures, policy.state(), one.micro_batch))
    (loss, whole, _), (again, state, size) = found
    assert size == 50
    assert again["loss"] == pytest.approx(loss["loss"], rel=1e-5)
    assert again["gradient_norm"] == pytest.approx(loss["gradient_norm"], rel=1e-4)
    for key, value in whole.items():
        torch.testing.assert_close(state[key], value, atol=1e-5, rtol=1e-3)
    assert "from here on with micro-batches of 50 tokens" in capsys.readouterr().err


def test_a_gpu_that_stays_full_tries_all_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy("math", rank=4, alpha=8.0)
    one = learner(policy, "distill", 100)
    Full(policy, 10**6, monkeypatch)
    with pytest.raises(ValueError, match=r"out of memory by a text of \d+ tokens alone: shorten"):
        one.learn(random_batch(9))
    assert one.checkpointed


def test_a_resumed_learner_keeps_the_size_it_began_with() -> None:
    began, goes_on = (learner(Policy("math", rank=4, alpha=8.0), "distill", n) for n in (40, 100))
    began.checkpointed = True
    state = began.state_dict()
    goes_on.load_state_dict(state)
    assert (goes_on.micro_batch, goes_on.checkpointed) == (40, True)
    with pytest.raises(ValueError, match=r"began in bfloat16, and policy\.dtype gives float32 here"):
        goes_on.load_state_dict(state | {"dtype": "torch.bfloat16"})


@BF16
def test_the_dtype_that_auto_takes_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken() -> tuple[torch.dtype, str]:
        policy = Policy("math", rank=4, alpha=8.0, dtype="auto", device="cpu")
        assert {p.dtype for p in policy.model.get_base_model().parameters()} >= {policy.dtype}
        assert policy.summary()["dtype_reason"] == policy.dtype_reason
        return policy.dtype, policy.dtype_reason

    monkeypatch.setattr("shuhari.policy.load.bfloat16_instructions", lambda: ["amx"])
    assert taken() == (torch.float32, "a small base, of 220,864 parameters")
    monkeypatch.setattr(base_size, "SMALL", 0)
    assert taken() == (torch.bfloat16, "220,864 parameters, and the processor has amx")
    monkeypatch.setattr("shuhari.policy.load.bfloat16_instructions", list)
    assert taken() == (torch.float32, "the processor has neither avx512_bf16 nor amx")
    assert Policy("math", rank=4, alpha=8.0, device="cpu", dtype="bfloat16").dtype_reason == "by policy.dtype"


def test_free_memory_is_what_the_system_and_the_control_groups_leave(tmp_path: Path) -> None:
    meminfo, own = tmp_path / "meminfo", tmp_path / "cgroup"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    assert memory._available(meminfo) == 5000 * 1024
    assert memory._available(tmp_path / "none") > 2**20
    own.write_text("4:memory,x:/a\n0::/b/c\n")
    assert memory._left_v1(tmp_path, own) is None
    (tmp_path / "memory" / "a").mkdir(parents=True)
    for name, value in (("limit", "1000"), ("usage", "700")):
        (tmp_path / "memory" / "a" / f"memory.{name}_in_bytes").write_text(f"{value}\n")
    (tmp_path / "memory" / "a" / "memory.stat").write_text("cache 5\ntotal_inactive_file 200\n")
    assert memory._left_v1(tmp_path, own) == 500
    (tmp_path / "b" / "c").mkdir(parents=True)
    for folder, most, used in (("b/c", "max", 30), ("b", "100", 40)):
        (tmp_path / folder / "memory.max").write_text(most)
        (tmp_path / folder / "memory.current").write_text(f"{used}\n")
        (tmp_path / folder / "memory.stat").write_text("inactive_file 15\n")
    assert memory._left_v2(tmp_path, own) == 75
    assert memory.free_memory(torch.device("cpu"), 2) <= memory.free_memory(torch.device("cpu")) // 1.5


def test_a_run_whose_traces_do_not_fit_ends_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = tmp_path / "traces.jsonl"
    traces.write_text(
        "".join(json.dumps({"prompt": f"{n:02}=", "completion": "x" * 90}) + "\n" for n in range(20))
    )
    cfg = mirror(tmp_path / "out", phases={"imitate": ImitateConfig(traces=str(traces), steps=1, batch=4)})
    monkeypatch.setattr("shuhari.loops.house.free_memory", lambda *_: 2**30 + 2**27)
    house = House(cfg)
    assert (house.longest, house.memory.free) == (94, 2**27)  # the generator's memory is not the learner's
    monkeypatch.setattr("shuhari.loops.house.free_memory", lambda *_: 2**30 + 2**10)
    with pytest.raises(TooLittleMemory, match=r"traces\.jsonl: a text of 94 tokens needs about .* GiB"):
        train(cfg)
    assert not (tmp_path / "out").exists()
