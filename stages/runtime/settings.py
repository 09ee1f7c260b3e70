"""The `runtime` section of params.yaml: it changes how a stage runs, never what it writes."""

import os
from typing import Literal

from pydantic import Field

from stages.params import Section, read_section


class RuntimeSettings(Section):
    """Machine settings; no stage lists them as params, so that changing one reruns nothing."""

    workers: int = Field(ge=0)
    device: Literal["auto", "cpu", "cuda", "mps"]
    tensorboard: bool
    monitor: bool
    states_mb: int = Field(ge=0)
    api_key_env: str
    concurrency: int = Field(ge=1)
    requests_per_minute: float = Field(ge=0)
    tokens_per_minute: float = Field(ge=0)
    request_timeout_s: float = Field(gt=0)
    max_cost_usd: float = Field(gt=0)
    price_input_usd: float = Field(ge=0)
    price_output_usd: float = Field(ge=0)

    def worker_count(self) -> int:
        """Return the number of worker processes: `workers`, or one for each usable core if 0."""
        if self.workers:
            return self.workers
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1


def read_runtime() -> RuntimeSettings:
    """Read the `runtime` section of params.yaml in the current folder."""
    return read_section("runtime", RuntimeSettings)
