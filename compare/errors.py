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
