"""`python -m compare` as a person or a script meets it: output, files and exit statuses."""

import json
import re
import subprocess
import sys

from typer.testing import CliRunner

import loop
from compare import __main__ as command_line
from compare import find
from compare.runner import run

SOME = ["no_shuffle", "jit_compile"]


def broken_fit(model, **arguments):
    """Forgets the last epoch."""
    return loop.fit(model, **{**arguments, "epochs": arguments["epochs"] - 1})


def failing_fit(model, **arguments):
    raise RuntimeError("no such engine")


def test_proofs_and_times_of_some_scenarios_as_a_table_and_as_json(tmp_path):
    report, table = tmp_path / "deep" / "report.json", tmp_path / "table.md"
    command = [sys.executable, "-m", "compare", "parity", *SOME]
    command += ["--json", str(report), "--markdown", str(table)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 scenarios identical" in done.stdout
    assert "\x1b[" not in done.stdout, "no colours into a pipe"
    written = json.loads(report.read_text())
    assert written["environment"]["packages"]["keras"].startswith("3.15.")
    by_name = {one["scenario"]: one for one in written["scenarios"]}
    assert set(by_name) == set(SOME)
    assert by_name["jit_compile"]["parity"]["class"] == "exact-xla"
    assert all(one["parity"]["identical"] for one in by_name.values())
    assert re.search(r"^\| `no_shuffle` \| exact \| [\d,]+ \| 0 \|", table.read_text(), re.M)


def test_times_come_in_pairs_with_their_spread_where_there_is_a_step_to_time():
    row, nothing = run(find(["no_shuffle", "no_epochs_left"]), loop.fit, proofs=False)
    assert nothing.throughput is None
    assert nothing.holds
    times = row.throughput
    assert times.steps == 3 * 4
    assert len(times.reference) == len(times.candidate) >= 3
    assert times.ratio.low <= times.ratio.median <= times.ratio.high


def test_an_engine_that_differs_or_fails_does_not_hold():
    (differs,) = run(find(["no_shuffle"]), broken_fit, times=False)
    assert not differs.holds
    assert differs.parity.differences[0].where == "history/accuracy/(length)"
    (fails,) = run(find(["no_shuffle"]), failing_fit, times=False)
    assert not fails.holds
    assert fails.error == "RuntimeError: no such engine"


def test_the_exit_status_says_so(monkeypatch):
    monkeypatch.setattr(command_line.loop, "fit", failing_fit)
    done = CliRunner().invoke(command_line.app, ["parity", "no_shuffle"])
    assert done.exit_code == 1
    assert "0 of 1 scenarios identical" in done.stdout


def test_an_unknown_scenario_is_answered_with_the_closest():
    done = CliRunner().invoke(command_line.app, ["parity", "no_shufle"])
    assert done.exit_code == 2
    assert "no_shuffle" in done.output


def test_a_file_named_before_the_command_is_refused_not_forgotten(tmp_path):
    report = str(tmp_path / "report.json")
    done = CliRunner().invoke(command_line.app, ["--json", report, "parity", "no_epochs_left"])
    assert done.exit_code == 2
    assert "behind the command" in done.output


def test_list_says_what_each_scenario_shows():
    done = CliRunner().invoke(command_line.app, ["list"])
    assert done.exit_code == 0
    for scenario in find():
        assert scenario.name in done.stdout
