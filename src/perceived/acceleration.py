"""What networks compute with: device, number format and processes, through Accelerate."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor

_NATIVE_BF16 = ("avx512_bf16", "amx_bf16")
"""What processors that compute with bf16 call it. Others emulate it, at an eighth of the speed of fp32."""


PATIENCE = datetime.timedelta(hours=12)
"""How long a process waits for another, which may be decoding a large set."""


def accelerator_for(precision: str) -> Accelerator:
    """Return an accelerator for a recipe's precision: ``"bf16"``, ``"fp32"`` or ``"auto"``.

    ``"auto"`` is bf16, in which dense networks train about twice as fast, where the device has it. Its
    device is a CUDA card or the processor, or what ``ACCELERATE_TORCH_DEVICE`` names: others, such as
    Apple's ``mps``, have no float64 and lack a part of the operations that training uses.
    """
    named = os.environ.get("ACCELERATE_TORCH_DEVICE")
    device = torch.device(named or ("cuda" if torch.cuda.is_available() else "cpu"))
    AcceleratorState._reset_state()  # else the first precision would stay for the life of the process
    if precision == "auto":
        precision = "bf16" if has_bf16(device) else "fp32"
    return Accelerator(
        cpu=not named and device.type == "cpu",
        mixed_precision="bf16" if precision == "bf16" else "no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )


def precision_of(accelerator: Accelerator) -> str:
    """Return the precision in which an accelerator computes: ``"bf16"`` or ``"fp32"``."""
    return "bf16" if accelerator.mixed_precision == "bf16" else "fp32"


def sums(count: int, device: torch.device) -> Tensor:
    """Return ``count`` zeros to add up in: float64, or float32 on Apple's ``mps``, which has no other."""
    return torch.zeros(count, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)


def has_bf16(device: torch.device) -> bool:
    """Say whether a device computes with bf16 itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # absent before torch 2.10
    return any(capabilities.get(name, False) for name in _NATIVE_BF16)
