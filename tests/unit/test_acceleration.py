"""Number formats: bf16 where the processor has it, and only there unless it is asked for."""

from __future__ import annotations

import pytest
import torch

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
