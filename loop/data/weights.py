"""Class weights and sample weights: the weight of each sample in the objective."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from loop.types import Batch, Structure


def class_to_sample_weight(y: Structure, class_weight: dict[int, float]) -> np.ndarray:
    """Return the class weight of each sample, `[samples]` of `floatx`; 1 for classes not listed.

    Args:
        y: Integer classes `[samples]` or `[samples, 1]`, or one-hot `[samples, classes]`.
        class_weight: Weights by integer class.

    Mirrors: keras.src.trainers.data_adapters.data_adapter_utils.class_weight_to_sample_weights
    """
    _require_single_output(y)
    classes = keras.ops.convert_to_numpy(y)
    if classes.ndim > 1:
        one_hot = classes.shape[-1] != 1
        classes = np.argmax(classes, axis=-1) if one_hot else np.squeeze(classes, axis=-1)
    if classes.ndim != 1:
        raise TypeError(
            "`class_weight` needs one class for each sample: expected `y` of shape [samples], "
            f"[samples, 1] or [samples, classes], got {keras.ops.shape(y)}."
        )
    present, which = np.unique(np.round(classes).astype("int32"), return_inverse=True)
    weights = [class_weight.get(int(label), 1.0) for label in present]
    return np.asarray(weights, keras.config.floatx())[which]


def weight_for_each_output(y: Structure, sample_weight: Structure) -> Structure:
    """Return sample weights in the structure of `y`; a single array is repeated for each output.

    Mirrors: keras.src.trainers.data_adapters.array_data_adapter.ArrayDataAdapter
    """
    if not keras.tree.is_nested(y):
        return sample_weight
    if keras.tree.is_nested(sample_weight):
        try:
            keras.tree.assert_same_structure(y, sample_weight)
        except ValueError as error:
            raise ValueError(
                "You should provide one `sample_weight` array per output in `y`. The two "
                f"structures did not match:\n- y: {_shapes(y)}\n"
                f"- sample_weight: {_shapes(sample_weight)}"
            ) from error
        return sample_weight
    if len(sample_weight.shape) != 1 and tuple(sample_weight.shape[1:]) != (1,):
        raise ValueError(
            "For a model with multiple outputs, a single `sample_weight` array should have one "
            f"scalar per sample: expected shape [samples], got {tuple(sample_weight.shape)}. "
            "For other weights pass one array per output, in the structure of `y`."
        )
    return keras.tree.map_structure(lambda _: sample_weight, y)


def with_class_weight(dataset: tf.data.Dataset, class_weight: dict[int, float]) -> tf.data.Dataset:
    """Map a dataset of `(x, y)` to one of `(x, y, sample_weight)`.

    The weights are `[batch]` float32, or int32 if all class weights are ints.

    Mirrors: keras.src.trainers.data_adapters.tf_dataset_adapter.make_class_weight_map_fn
    """
    # Matches Keras: the table ends at the largest class listed; a larger class in the data fails.
    table = tf.constant([class_weight.get(c, 1.0) for c in range(max(class_weight) + 1)])

    def add_weights(*data: Any) -> Batch:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if sample_weight is not None:
            raise ValueError(
                "You cannot pass `class_weight` with a dataset that yields sample weights: "
                "expected `(x, y)`, got `(x, y, sample_weight)`."
            )
        _require_single_output(y)
        return x, y, tf.gather(table, _classes(y))

    return dataset.map(add_weights).prefetch(tf.data.AUTOTUNE)


def _classes(y: tf.Tensor) -> tf.Tensor:
    """Return the class of each sample, `[batch]` int32, from `[batch]`, `[batch, 1]` or one-hot."""
    if y.shape.rank < 2:
        return tf.cast(tf.round(y), tf.int32)
    column = tf.cast(tf.round(y[..., 0]), tf.int32)
    if y.shape[-1] == 1:
        return column
    hottest = tf.argmax(y, axis=-1, output_type=tf.int32)
    return hottest if y.shape[-1] else tf.where(tf.shape(y)[-1] > 1, hottest, column)


def _require_single_output(y: Structure) -> None:
    if keras.tree.is_nested(y):
        raise ValueError(
            "`class_weight` is only supported for Models with a single output: expected one array "
            f"of classes, got {_shapes(y)}. Use `sample_weight` with one array per output."
        )


def _shapes(values: Structure) -> str:
    return str(keras.tree.map_structure(lambda leaf: f"shape {tuple(leaf.shape)}", values))
