"""The one place that says which implementation serves a call."""

import pytest
import torch

from shuhari.kernels.dispatch import SHORT, Implementation, choose

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
TORCH: tuple[Implementation, ...] = ("plain", "torch")
ALL: tuple[Implementation, ...] = ("plain", "torch", "triton")


def test_the_rule() -> None:
    assert [choose(None, CPU), choose(None, CPU, TORCH), choose(None, CPU, ALL)] == [
        "plain",
        "torch",
        "torch",
    ]
    assert [choose(None, CUDA), choose(None, CUDA, TORCH), choose(None, CUDA, ALL)] == [
        "triton",
        "torch",
        "triton",
    ]


def test_few_keys_are_the_definitions_on_a_cpu() -> None:
    assert [choose(None, CPU, TORCH, keys) for keys in (1, SHORT, SHORT + 1)] == ["plain", "plain", "torch"]
    assert choose(None, CUDA, TORCH, 1) == "torch"


def test_what_is_asked_for_overrules_the_rule() -> None:
    for device in (CPU, CUDA):
        for name in ALL:
            assert choose(name, device, ALL, keys=1) == name


def test_what_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no implementation 'fast', only 'plain', 'triton'"):
        choose("fast", CPU)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no implementation 'triton', only 'plain', 'torch'"):
        choose("triton", CUDA, TORCH)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert choose("triton", CUDA) == "triton"
    with pytest.raises(ValueError, match="'triton' runs on CUDA tensors, not on cpu"):
        choose("triton", CPU)
