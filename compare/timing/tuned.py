"""`model.fit` with the settings that are quickest on a scenario."""

import itertools

import keras

from compare.scenario import Scenario
from compare.timing.engines import MODEL_FIT, Engine, as_compiled
from compare.timing.training import Training, first_fits, new_training


def tuned(scenario: Scenario) -> keras.Model:
    """Return a new model with the `steps_per_execution` and `jit_compile` that are quickest.

    Tried are 1, 10 and all steps of an epoch, each with and without XLA, by the third fit.
    """
    plain = new_training(scenario, MODEL_FIT)
    epochs = int(scenario.data().get("epochs", 1))
    in_an_epoch = max(1, first_fits(plain).steps // epochs)
    choices = list(itertools.product(sorted({1, min(10, in_an_epoch), in_an_epoch}), (False, True)))
    return _with_choice(scenario, *min(choices, key=lambda choice: _third(scenario, *choice)))


def _third(scenario: Scenario, together: int, jit: bool) -> float:
    """Return the seconds of the third fit."""
    training = Training(scenario, MODEL_FIT, _with_choice(scenario, together, jit))
    for _ in range(2):
        training.seconds()
    return training.seconds()


def _with_choice(scenario: Scenario, together: int, jit: bool) -> keras.Model:
    model = as_compiled(scenario)
    model.steps_per_execution, model.jit_compile = together, jit
    return model


TUNED = Engine("model.fit, tuned", keras.Model.fit, tuned)
