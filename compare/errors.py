"""How a comparison can end: exit statuses, and the errors raised where there is no verdict."""

from enum import IntEnum


class Outcome(IntEnum):
    """How a comparison ended: the exit status of every command.

        >>> parity(scenario).outcome
        <Outcome.IDENTICAL: 0>

    Every status from 2 on has a meaning of its own: docs/compare.md.
    """

    IDENTICAL = 0
    DIFFERENT = 1
    PARTED = 1  # the former name of DIFFERENT
    WRONG_USAGE = 2
    NO_SCENARIO = 3
    CANDIDATE_FAILED = 4
    NEVER_TRAINED = 5
    NO_HISTORY = 6
    OTHER_EPOCHS = 7
    OTHER_LOGS = 8
    UNREPEATABLE = 9
    UNREADABLE_SCRIPT = 10
    SCRIPT_FAILED = 11
    NEEDS_INPUT = 12
    EXITED = 13
    SEVERAL_TRAININGS = 14
    OTHER_BACKEND = 15
    NO_GPU = 16
    TIME_LIMIT = 17
    OTHER_WEIGHTS = 18
    TRAINED_OUTSIDE = 19


class CannotCompareError(Exception):
    """Two trainings cannot be compared, because one of them is missing or does not repeat itself.

        try:
            print(parity(scenario, my_fit))
        except CannotCompareError as error:
            print(error, error.outcome)

    Attributes:
        outcome: The exit status.
    """

    outcome = Outcome.DIFFERENT


class ScenarioError(CannotCompareError):
    """The scenario cannot be built, or the reference cannot train it.

        >>> parity(Scenario("empty", "no data", build, dict))
        Traceback (most recent call last):
        compare.errors.ScenarioError: ...

    The exit status is 3.
    """

    outcome = Outcome.NO_SCENARIO


class CandidateError(CannotCompareError):
    """The candidate raised an error that the reference does not raise.

        >>> parity(scenario, lambda model, **arguments: 1 / 0)
        Traceback (most recent call last):
        compare.errors.CandidateError: ...

    The exit status is 4.
    """

    outcome = Outcome.CANDIDATE_FAILED


class CrashError(CandidateError):
    """The process that trained a model ended before the training did.

        >>> from compare.execution.workers import Worker
        >>> Worker().ask(os._exit, 1)
        Traceback (most recent call last):
        compare.errors.CrashError: the process that trained it ended...

    The exit status is 4.
    """


class NeverTrainedError(CannotCompareError):
    """The candidate changed no weight, and the reference did.

        >>> parity(scenario, lambda model, **arguments: {"loss": [0.0]})
        Traceback (most recent call last):
        compare.errors.NeverTrainedError: ...

    The exit status is 5.
    """

    outcome = Outcome.NEVER_TRAINED


class NoHistoryError(CannotCompareError):
    """The candidate returned neither a History nor a dict of lists.

        >>> parity(scenario, lambda model, **arguments: None)
        Traceback (most recent call last):
        compare.errors.NoHistoryError: ...

    The exit status is 6.
    """

    outcome = Outcome.NO_HISTORY


class UnrepeatableError(CannotCompareError):
    """The reference does not give the same bits when it runs again.

        >>> def other_data():
        ...     x = np.random.default_rng().normal(size=(70, 5))
        ...     return {"x": x, "y": x[:, :1]}
        >>> locate(Scenario("unseeded", "other data each time", build, other_data))
        Traceback (most recent call last):
        compare.errors.UnrepeatableError: ...

    The exit status is 9.
    """

    outcome = Outcome.UNREPEATABLE


class UnreadableScriptError(CannotCompareError):
    """The script does not exist, or is not valid Python.

        >>> from compare.execution.script import compare_script
        >>> compare_script("missing.py")
        Traceback (most recent call last):
        compare.errors.UnreadableScriptError: cannot read missing.py: No such file or directory

    The exit status is 10.
    """

    outcome = Outcome.UNREADABLE_SCRIPT


class ScriptError(CannotCompareError):
    """The script fails under Keras.

        >>> from compare.execution.script import compare_script
        >>> compare_script("fails.py")
        Traceback (most recent call last):
        compare.errors.ScriptError: ...

    The exit status is 11.
    """

    outcome = Outcome.SCRIPT_FAILED


class NeedsInputError(CannotCompareError):
    """The script asks for input, or for arguments that it was not given.

        >>> two_scripts("asks.py", "with_loop.py")
        Traceback (most recent call last):
        compare.errors.NeedsInputError: ...

    The exit status is 12.
    """

    outcome = Outcome.NEEDS_INPUT


class ExitedError(CannotCompareError):
    """The script exits before it trains.

        >>> two_scripts("exits.py", "with_loop.py")
        Traceback (most recent call last):
        compare.errors.ExitedError: ...

    The exit status is 13.
    """

    outcome = Outcome.EXITED


class SeveralTrainingsError(CannotCompareError):
    """The script trains more than once, so it must be said which training is meant.

        >>> two_scripts("fits_twice.py", "with_loop.py")
        Traceback (most recent call last):
        compare.errors.SeveralTrainingsError: ...

    The exit status is 14.
    """

    outcome = Outcome.SEVERAL_TRAININGS


class OtherBackendError(CannotCompareError):
    """The script trains with another backend of Keras than TensorFlow.

        >>> two_scripts("with_jax.py", "with_loop.py")
        Traceback (most recent call last):
        compare.errors.OtherBackendError: ...

    The exit status is 15.
    """

    outcome = Outcome.OTHER_BACKEND


class NoGpuError(CannotCompareError):
    """The script needs a GPU, and TensorFlow sees none here.

        >>> two_scripts("on_gpu.py", "with_loop.py")
        Traceback (most recent call last):
        compare.errors.NoGpuError: ...

    The exit status is 16.
    """

    outcome = Outcome.NO_GPU


class TimeLimitError(CannotCompareError):
    """The script takes longer than the limit.

        >>> two_scripts("waits.py", "with_loop.py", limit=1)
        Traceback (most recent call last):
        compare.errors.TimeLimitError: ...

    The exit status is 17.
    """

    outcome = Outcome.TIME_LIMIT


class OtherWeightsError(CannotCompareError):
    """The loop trains a model whose weights have other shapes than those of the fit.

        >>> parity(*two_scripts("with_fit.py", "wider_loop.py"))
        Traceback (most recent call last):
        compare.errors.OtherWeightsError: ...

    The exit status is 18.
    """

    outcome = Outcome.OTHER_WEIGHTS


class TrainedOutsideError(CannotCompareError):
    """The script trains in a loop of its own only, which cannot be compared call by call.

        >>> from compare.execution.script import compare_script
        >>> compare_script("with_loop.py")
        Traceback (most recent call last):
        compare.errors.TrainedOutsideError: ...

    The exit status is 19.
    """

    outcome = Outcome.TRAINED_OUTSIDE
