"""What bits and times depend on, on this machine: `glassfit doctor`."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf
from rich.console import Console
from rich.markup import escape

from compare.release.environment import FLAGS, processor, version_of
from compare.release.mirrors import changed, mirrored, reference_release
from compare.timing.tables import new_table


@dataclass(frozen=True)
class Finding:
    """One fact about this machine or its software.

    Attributes:
        what: The name of the fact.
        found: Its value here.
        advice: What to know or do about it; empty for nothing.
        is_wrong: Whether it has to change before results can be relied on.
    """

    what: str
    found: str
    advice: str = ""
    is_wrong: bool = False


def examine() -> list[Finding]:
    """Return versions, devices, threads, flags, and whether this Keras is the mirrored one."""
    return [*_versions(), _keras(), _backend(), *_devices(), *_threads(), *_flags()]


def _versions() -> list[Finding]:
    names = ("glassfit", "tensorflow", "keras", "numpy")
    python = Finding("python", platform.python_version())
    return [python, *(Finding(name, version_of(name)) for name in names)]


def _keras() -> Finding:
    differing, release = changed(), reference_release()
    if not differing:
        found = f"{release}: all {len(mirrored())} mirrored functions are unchanged"
        return Finding("this Keras is mirrored", found)
    found = f"no: {len(differing)} of {len(mirrored())} mirrored functions differ from {release}"
    advice = f"pip install keras=={release}, or see what differs: python -m compare.drift"
    return Finding("this Keras is mirrored", found, advice, is_wrong=True)


def _backend() -> Finding:
    name = keras.backend.backend()
    policy = f"{name}, {keras.config.floatx()}, {keras.config.dtype_policy().name}"
    advice = "" if name == "tensorflow" else "set KERAS_BACKEND=tensorflow"
    return Finding("backend, floatx, policy", policy, advice, is_wrong=bool(advice))


def _devices() -> list[Finding]:
    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in gpus]
    cpu = Finding("processor", f"{processor()}, {os.cpu_count()} cores")
    if not gpus:
        return [cpu, Finding("gpu", "none that TensorFlow sees")]
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    advice = "bits are proved on CPU only; set TF_DETERMINISTIC_OPS=1 here"
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


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print a table of findings, and below it what to do about some of them."""
    table = new_table("what bits and times depend on", "what", "here")
    for finding in findings:
        table.add_row(finding.what, escape(finding.found))
    console.print(table)
    for finding in findings:
        if finding.advice:
            advice = f"[yellow]{escape(f'{finding.what}: {finding.advice}')}[/]"
            console.print(advice, highlight=False, soft_wrap=True)
