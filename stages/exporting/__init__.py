"""A trained classifier for others: as ONNX, with a model card, on the Hub."""
