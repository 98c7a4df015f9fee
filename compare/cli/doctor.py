"""What a figure or a bit may depend on, on this machine: `glassfit doctor`."""

import os
import platform
from dataclasses import dataclass

import keras
import tensorflow as tf

from compare.release.environment import FLAGS, processor, version_of
from compare.release.mirrors import changed, mirrored, reference_release


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: What it is.
        found: How it is here.
        advice: What to know or do about it.
        is_ill: Whether it has to change before anything here can be relied on.
    """

    what: str
    found: str
    advice: str = ""
    is_ill: bool = False


def examine() -> list[Finding]:
    """Looks at versions, devices, threads, flags, and whether this Keras is the one we mirror."""
    return [*_versions(), _keras(), _backend(), *_devices(), *_threads(), *_flags()]


def _versions() -> list[Finding]:
    names = ("glassfit", "tensorflow", "keras", "numpy")
    python = Finding("python", platform.python_version())
    return [python, *(Finding(name, version_of(name)) for name in names)]


def _keras() -> Finding:
    differing, release = changed(), reference_release()
    if not differing:
        found = f"{release}: all {len(mirrored())} functions that we mirror are as they were"
        return Finding("this Keras is the one we mirror", found)
    found = (
        f"no: {len(differing)} of {len(mirrored())} mirrored functions are not those of {release}"
    )
    advice = f"pip install keras=={release}, or see what parts: python -m compare.drift"
    return Finding("this Keras is the one we mirror", found, advice, is_ill=True)


def _backend() -> Finding:
    name = keras.backend.backend()
    policy = f"{name}, {keras.config.floatx()}, {keras.config.dtype_policy().name}"
    advice = "" if name == "tensorflow" else "set KERAS_BACKEND=tensorflow"
    return Finding("backend, floatx, policy", policy, advice, is_ill=bool(advice))


def _devices() -> list[Finding]:
    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in gpus]
    cpu = Finding("processor", f"{processor()}, {os.cpu_count()} cores")
    if not gpus:
        return [cpu, Finding("gpu", "none that TensorFlow sees")]
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    advice = "bits are proved on CPU only; with TF_DETERMINISTIC_OPS=1 they should hold here"
    return [cpu, Finding("gpu", ", ".join(map(str, names)), advice), Finding("TF32", str(tf32))]


def _threads() -> list[Finding]:
    threading = tf.config.threading
    kinds = {
        "threads within an op": threading.get_intra_op_parallelism_threads(),
        "threads between ops": threading.get_inter_op_parallelism_threads(),
    }
    return [
        Finding(what, str(count) if count else "as many as cores") for what, count in kinds.items()
    ]


def _flags() -> list[Finding]:
    return [Finding(name, os.environ.get(name, "not set")) for name in FLAGS]
