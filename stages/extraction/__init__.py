"""From a file to Markdown and plain text: engines, worker processes, titles, what counts as text."""

import os

# The layout engine runs on ONNX Runtime, which else reports its use to Microsoft and leaves a file in TMPDIR.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
