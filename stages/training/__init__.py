"""Fine-tuning: the data as tensors, what is frozen, precision, checkpoints, the history of a run."""
