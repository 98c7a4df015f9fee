"""What the commands print: tables whole at 80 columns, progress where there is no terminal."""

import io

import numpy as np
import pytest
from rich.console import Console

from compare import SCENARIOS, Difference, Outcome, Parity, Scenario, Throughput
from compare.cli.answers import ProgressLines
from compare.cli.doctor import Finding, print_findings
from compare.execution.runner import Failure, Row
from compare.execution.script import ComparedCall, ScriptCall, ScriptVerdict
from compare.output.report import print_report, print_script


def row(name="dataset_of_unknown_size", times=True, xla=False, differing=0):
    scenario = Scenario(name, "", None, None, xla=xla)
    found = [Difference("history/loss/0", 0.5, 0.25)] * differing
    samples = np.array([123_456.0, 123_999.0, 124_000.0])
    throughput = Throughput(name, 100, list(samples), list(samples / 123), list(samples))
    return Row(
        scenario,
        Parity(name, scenario.exactness, 1_234_567, found),
        throughput if times else None,
    )


def printed(print_to, width=80):
    out = io.StringIO()
    print_to(Console(file=out, width=width))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "\N{HORIZONTAL ELLIPSIS}" not in out.getvalue()
    return out.getvalue()


@pytest.mark.parametrize("times", [True, False])
def test_the_table_of_scenarios_is_whole_at_80_columns(times):
    longest = max((scenario.name for scenario in SCENARIOS), key=len)
    rows = [row(longest, times), row(times=times, xla=True), row(times=times, differing=1_000)]
    text = printed(lambda console: print_report(console, rows))
    assert longest in text
    assert "1,234,567" in text
    assert ("123,999" in text) == times
    assert "2 of 3 scenarios identical" in text


def test_the_table_of_a_scripts_calls_is_whole_at_80_columns():
    call = ScriptCall("train_on_batch", "a_script.py:1234", 1234.5678, 100_000, {})
    verdict = ScriptVerdict("train.py", [ComparedCall(call, call, 123_456, [])], (1, 1))
    text = printed(lambda console: print_script(console, verdict))
    assert "train_on_batch" in text
    assert "1234.57" in text


def test_the_doctors_findings_are_whole_at_80_columns_and_advice_stands_below():
    findings = [Finding("processor", "x" * 120), Finding("TF32", "True", "turn it off")]
    text = printed(lambda console: print_findings(console, findings))
    assert text.count("x") == 120
    assert "TF32: turn it off" in text


def test_a_line_is_printed_every_ten_scenarios_and_at_the_end(capsys):
    lines = ProgressLines(23)
    failed = Row(SCENARIOS[0], error=Failure("no memory"))
    assert failed.outcome is Outcome.CANDIDATE_FAILED
    for place in range(23):
        lines.count("proved", failed if place == 4 else row())
    for _place in range(23):
        lines.count("timed", row())
    assert capsys.readouterr().err.splitlines() == [
        "10 of 23 scenarios, 9 identical, 0:00",
        "20 of 23 scenarios, 19 identical, 0:00",
        "23 of 23 scenarios, 22 identical, 0:00",
        "10 of 23 timed, 0:00",
        "20 of 23 timed, 0:00",
        "23 of 23 timed, 0:00",
    ]
