"""Number formats: bf16 where the processor has it, and only there unless it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import accelerate.state
import pytest
import torch
from accelerate.state import AcceleratorState

from perceived import acceleration


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"avx2": True, "avx512_bf16": False}, "fp32"),
        ({"avx512_bf16": True}, "bf16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16"),
        ({}, "fp32"),
    ],
)
def test_the_processor_decides_unless_a_precision_is_named(
    capabilities: dict[str, bool], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    for asked, found in (("auto", precision), ("bf16", "bf16"), ("fp32", "fp32")):
        assert acceleration.precision_of(acceleration.accelerator_for(asked)) == found


def test_the_device_that_is_named_decides_not_the_card_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False}, raising=False)
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "cpu")
    assert acceleration.precision_of(acceleration.accelerator_for("auto")) == "fp32"


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with Apple's graphics, as Accelerate sees it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(accelerate.state, "is_mps_available", lambda: True)
    monkeypatch.delenv("ACCELERATE_TORCH_DEVICE", raising=False)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("mac")
def test_a_mac_trains_on_its_processor_unless_asked_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert acceleration.accelerator_for("fp32").device.type == "cpu"
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "mps")
    assert acceleration.accelerator_for("fp32").device.type == "mps"


def test_sums_are_kept_in_numbers_that_the_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = torch.zeros

    def on_any_machine(count: int, *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        if device.type == "mps" and dtype is torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return zeros(count, dtype=dtype)

    monkeypatch.setattr(torch, "zeros", on_any_machine)
    assert acceleration.sums(3, torch.device("cpu")).dtype is torch.float64
    assert acceleration.sums(3, torch.device("mps")).tolist() == [0, 0, 0]
