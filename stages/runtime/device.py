"""Where models run."""

import torch

from stages.runtime.errors import UserError


def resolve_device(device: str) -> str:
    """Return the device that `runtime.device` means here (`auto`: the best there is).

    Raises:
        UserError: if one is asked for that this machine lacks.
    """
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return "cuda" if have["cuda"] else "mps" if have["mps"] else "cpu"
    if not have[device]:
        raise UserError(f"runtime.device: {device!r} is not available on this machine: set auto or cpu")
    return device
