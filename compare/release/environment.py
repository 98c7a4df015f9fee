"""What results depend on: versions, processor, threads and flags."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tensorflow as tf

FLAGS = (
    "TF_DETERMINISTIC_OPS",
    "TF_ENABLE_ONEDNN_OPTS",
    "ONEDNN_MAX_CPU_ISA",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
    "CUDA_VISIBLE_DEVICES",
    "KERAS_BACKEND",
)
"""Environment variables that change bits or times."""

DEFAULT = "as TensorFlow chooses"


def environment() -> dict[str, Any]:
    """Return versions, processor, devices, threads and flags, by name."""
    return {
        "packages": {
            name: version_of(name) for name in ("glassfit", "keras", "tensorflow", "numpy")
        },
        "python": platform.python_version(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "devices": [device.name for device in tf.config.list_physical_devices()],
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads() or DEFAULT,
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads() or DEFAULT,
        "flags": {name: os.environ[name] for name in FLAGS if name in os.environ},
    }


def version_of(package: str) -> str:
    """Return the installed version of a package, or "not installed"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """Return the name of the processor, or at least its kind."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
