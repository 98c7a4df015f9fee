"""What every figure depends on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tensorflow as tf

FLAGS = (
    "TF_DETERMINISTIC_OPS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
    "CUDA_VISIBLE_DEVICES",
    "KERAS_BACKEND",
)
"""Variables that change bits or times."""

CHOSEN = "as TensorFlow chooses"


def environment() -> dict[str, Any]:
    """What the figures depend on: versions, processor, threads and flags."""
    return {
        "packages": {
            name: version_of(name) for name in ("glassfit", "keras", "tensorflow", "numpy")
        },
        "python": platform.python_version(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "devices": [device.name for device in tf.config.list_physical_devices()],
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads() or CHOSEN,
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads() or CHOSEN,
        "flags": {name: os.environ[name] for name in FLAGS if name in os.environ},
    }


def version_of(package: str) -> str:
    """The version of a package, as it is installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """The processor's name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
