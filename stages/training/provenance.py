"""Where a trained model comes from, as its folder says it: the backbone's bytes and the versions of the packages."""

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

# Those whose arithmetic, or order of documents, decides about the weights.
RECORDED = (
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "datasets",
    "safetensors",
    "numpy",
    "scikit-learn",
    "scipy",
)


def package_versions() -> dict[str, str]:
    """Return the installed version of each package that decides about the weights."""
    return {package: version(package) for package in RECORDED}


def provenance(name: str, backbone: Path, packages: Mapping[str, str]) -> dict[str, object]:
    """Return what provenance.json holds.

    Args:
        name: `model.name` of params.yaml; of an absolute path its last part, for the rest tells of a machine.
        backbone: the folder of the encoder; its revision is known if it is a snapshot of the Hub's cache.
        packages: package to version.
    """
    weights = sorted(backbone.glob("*.safetensors"))
    return {
        "backbone": Path(name).name if Path(name).is_absolute() else name,
        "revision": backbone.name if backbone.parent.name == "snapshots" else None,
        "backbone_sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in weights},
        "python": platform.python_version(),
        "packages": packages,
    }
