"""What tracing reads of a model, as a list that can be compared: equal lists, equal graphs.

Tracing runs Python, which may read every attribute of every object that the model leads to. The
list has all of them, in the order in which they are met; an object stands in it as the number of
objects met before it, so models that are built alike have equal lists, and shared objects are told
from equal ones. A model that leads to something else than objects of Keras and plain values
(objects and functions of the user, tensors, arrays) cannot be compared.
"""

import types
import weakref
from collections.abc import Hashable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

BY_VALUE = (bytes, complex, np.generic, np.dtype, tf.DType, tf.TensorShape, types.CodeType)
"""Types whose values compare as equal only if they are."""

NOT_COMPARED = (
    keras.optimizers.Muon,  # treats variables by their paths, which are left out here
    keras.dtype_policies.DTypePolicyMap,  # treats layers by their paths
    keras.optimizers.ScheduleFreeAdamW,  # assigns to variables where they are made
)
"""Types of Keras for which equal lists could still mean other graphs or other variables."""

LABELLED = (
    keras.Operation,
    keras.KerasTensor,
    keras.Variable,
    keras.optimizers.Optimizer,
    keras.random.SeedGenerator,
)
"""Types whose names Keras numbers on: the second model has `dense_2` where the first has `dense`.

They label the graph. What data and logs are named by is compared apart: see `reuse`.
"""

LABELS = frozenset({"name", "_name", "_path", "_parent_path"})

NOT_READ = frozenset(
    {
        # what saving, cloning and checking a model need
        *("_tracker", "_tracked", "_auto_config", "_compile_config", "_call_signature"),
        *("_saved_model_inputs_spec", "_saved_model_arg_spec"),
        # in which other models the layers are; a model has a list of its own nodes
        *("_inbound_nodes", "_outbound_nodes", "_keras_history", "_nodes"),
        # by the identity of variables: their places in a list that is compared; what follows from
        # `exclude_from_weight_decay`, whose patterns and sets are compared, never as equal
        *("_trainable_variables_indices", "_exclude_from_weight_decay_cache"),
        # what is read between steps only
        *("train_function", "test_function", "predict_function", "history", "_initial_epoch"),
        *("stop_training", "stop_evaluating", "stop_predicting"),
        "_called",
        # compared apart, where anything is named by them
        *("output_names", "_resolved_output_names"),
        # values of variables, and how they were made
        *("_value", "_initializer"),
    }
)
"""Attributes that tracing does not read in a model that is built."""

NONE_IF_MISSING = frozenset({"_dropout_mask", "_recurrent_dropout_mask"})
"""Attributes that a recurrent cell sets to None, if they are missing, as soon as it is called."""


MAX_LENGTH = 10_000
"""The most items of a container that are compared, lest that takes longer than tracing."""


class IncomparableError(Exception):
    """A model leads to something whose part in its graph cannot be compared."""


class Likeness:
    """All that tracing reads of an object and of the objects it leads to.

    Args:
        root: The object.
        of_user: Whether it may lead to functions of the user. What they read are their defaults,
            the variables they close over, and the globals that they name.

    Attributes:
        parts: What there is to read, in the order of meeting.
        variables: The variables, in the same order.
        texts: All strings, other than the names of attributes.
        code_names: All names in the code of functions of the user.

    Raises:
        IncomparableError: The object leads to something that cannot be compared.
    """

    def __init__(self, root: Any, of_user: bool = False):
        self.parts: list[Any] = []
        self.variables: list[keras.Variable] = []
        self.texts: set[str] = set()
        self.code_names: set[str] = set()
        self._of_user = of_user
        self._numbers: dict[int, int] = {}
        self._met: list[Any] = []
        self._add(root)
        for value in self._met:  # it grows meanwhile
            self._read(value)

    def _add(self, *values: Any) -> None:
        self.parts.extend([self._part(value) for value in values])

    def _part(self, value: Any) -> Hashable:
        """Return a value itself if it is plain, otherwise the number of the object."""
        kind = type(value)
        if value is None:
            return value
        if kind is str:
            self.texts.add(value)
            return value
        if kind is bool or kind is int:
            return kind, value  # because True == 1
        if kind is float:
            return kind, value.hex()  # because 0.0 == -0.0
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._met)
            self._met.append(value)
        return number

    def _read(self, value: Any) -> None:
        """Add the type of an object and what it consists of."""
        kind = type(value)
        self.parts.append(kind)
        if isinstance(value, BY_VALUE):
            self.parts.append(value.tobytes() if isinstance(value, np.generic) else value)
        elif kind is types.FunctionType:
            self._read_function(value)
        elif kind is types.MethodType:
            self._add(value.__self__, value.__func__)
        elif kind is weakref.ref:
            self._add(value())
        elif isinstance(value, types.ModuleType):
            self.parts.append(_known(value, value.__name__))
        elif isinstance(value, type | types.BuiltinFunctionType):
            self.parts.append(_known(value, value.__module__))
        else:
            self._read_contents(_known(value, kind.__module__))

    def _read_contents(self, value: Any) -> None:
        """Add the contents of a container, or the attributes of an object of Keras."""
        if isinstance(value, dict | list | tuple) and len(value) > MAX_LENGTH:
            raise IncomparableError(f"it leads to {len(value)} items in a row")
        if isinstance(value, dict):
            self._add(len(value), *value.keys(), *value.values())
        elif isinstance(value, list | tuple):
            fields = value._fields if hasattr(value, "_fields") else range(len(value))
            parts = zip(fields, value, strict=True)
            self._add(*(part for field, part in parts if field not in LABELS), len(value))
        elif isinstance(value, set | frozenset) and all(type(part) is str for part in value):
            self._add(*sorted(value), len(value))
        elif isinstance(value, keras.Variable):
            self.variables.append(value)
            self._read_attributes(value)
        elif isinstance(value, keras.Initializer) or value is tf.distribute.get_strategy():
            pass  # all variables exist; and the strategy is the default one
        elif isinstance(value, NOT_COMPARED) or not _is_keras(value):
            raise IncomparableError(
                f"it leads to a {type(value).__module__}.{type(value).__qualname__}"
            )
        else:
            self._read_attributes(value)

    def _read_attributes(self, value: Any) -> None:
        left_out = NOT_READ | LABELS if isinstance(value, LABELLED) else NOT_READ
        for name, attribute in vars(value).items():
            # TensorFlow's names begin with `_self_`: what it needs for checkpoints.
            if name in left_out or name.startswith("_self_"):
                continue
            if attribute is not None or name not in NONE_IF_MISSING:
                self.parts.append(name)
                self._add(attribute)

    def _read_function(self, function: types.FunctionType) -> None:
        """Add the code of a function, its defaults, and what it closes over."""
        module = function.__globals__.get("__name__")
        if self._of_user and not _is_known(module):
            names = sorted(_names_in(function.__code__))
            self.code_names.update(names)
            self._add(*(function.__globals__[n] for n in names if n in function.__globals__))
        else:  # what it reads of its module is compared apart: `reuse.current_code`
            _known(function, module)
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        self._add(function.__code__, function.__defaults__, function.__kwdefaults__, cells)


def _is_keras(value: Any) -> bool:
    return hasattr(value, "__dict__") and type(value).__module__.startswith("keras.")


def _names_in(code: types.CodeType) -> set[str]:
    """Return the globals and attributes that code names, that of functions within it included."""
    inner = [_names_in(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return {*code.co_names}.union(*inner)


def _is_known(module: str | None) -> bool:
    """Return whether a module is Keras's, `loop`'s or one that Keras is made from."""
    root = (module or "").partition(".")[0]
    return root in ("keras", "builtins", "collections", "tensorflow", "numpy", "math", "loop")


def _known(value: Any, module: str | None) -> Any:
    """Return a value if its module is Keras's or one that Keras is made from.

    Raises:
        IncomparableError: It is not: the value is the user's.
    """
    if _is_known(module):
        return value
    raise IncomparableError(f"it leads to a {type(value).__qualname__} of module {module}")
