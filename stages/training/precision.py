"""Which numbers training computes in."""

import torch


def use_bf16(precision: str, device: str) -> bool:
    """Say whether training runs in bfloat16 autocast (`auto`: where the hardware multiplies in it)."""
    if precision != "auto":
        return precision == "bf16"
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        cpu = torch.cpu.get_capabilities()
        return bool(cpu.get("amx_bf16") or cpu.get("avx512_bf16"))
    return False
