"""The six stages, the commands around the trained model, and the rooms they share."""

import os

# Read by these libraries when they are first imported; the stages' own bars and lines are enough.
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
