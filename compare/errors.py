"""How a comparison can end: exit statuses, and the errors raised where there is no verdict."""

from enum import IntEnum


class Outcome(IntEnum):
    """How a comparison ended: the exit status of every command."""

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

    Attributes:
        outcome: The exit status.
    """

    outcome = Outcome.DIFFERENT


class ScenarioError(CannotCompareError):
    """The scenario cannot be built, or the reference cannot train it."""

    outcome = Outcome.NO_SCENARIO


class CandidateError(CannotCompareError):
    """The candidate raised an error that the reference does not raise."""

    outcome = Outcome.CANDIDATE_FAILED


class CrashError(CandidateError):
    """The process that trained a model ended before the training did."""


class NeverTrainedError(CannotCompareError):
    """The candidate changed no weight, and the reference did."""

    outcome = Outcome.NEVER_TRAINED


class NoHistoryError(CannotCompareError):
    """The candidate returned neither a History nor a dict of lists."""

    outcome = Outcome.NO_HISTORY


class UnrepeatableError(CannotCompareError):
    """The reference does not give the same bits when it runs again."""

    outcome = Outcome.UNREPEATABLE


class UnreadableScriptError(CannotCompareError):
    """The script does not exist, or is not valid Python."""

    outcome = Outcome.UNREADABLE_SCRIPT


class ScriptError(CannotCompareError):
    """The script fails under Keras."""

    outcome = Outcome.SCRIPT_FAILED
