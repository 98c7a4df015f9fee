"""The device that fits run on: chosen before TensorFlow runs anything, and named in reports."""

from typing import Any

import tensorflow as tf

DEVICES = ("cpu", "gpu")


def is_here(device: str) -> bool:
    """Return whether this machine has a device: "cpu" or "gpu"."""
    return device == "cpu" or bool(tf.config.list_physical_devices("GPU"))


def use(device: str) -> None:
    """Make TensorFlow compute on a device in this process.

    Processes share a GPU: each takes its memory as it needs it.

    Args:
        device: "cpu" or "gpu".
    """
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)


def in_words(device: str) -> str:
    """Return `described` as a line for the head of a report."""
    about = described(device)
    if device == "cpu":
        return "device: CPU"
    return f"device: GPU, {about['name']}, TF32 {'on' if about['tf32'] else 'off'}"


def described(device: str) -> dict[str, Any]:
    """Return what times and bits depend on: the kind of device, its name, and whether TF32 is on.

    Returns:
        "device" ("cpu" or "gpu"), "name" (None for a CPU: the environment names the processor) and
        "tf32": whether float32 matrix products and convolutions may round to TF32; False on a CPU.
    """
    if device == "cpu":
        return {"device": device, "name": None, "tf32": False}
    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    name = ", ".join(found.get("device_name", "GPU") for found in details)
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    return {"device": device, "name": name, "tf32": tf32}
