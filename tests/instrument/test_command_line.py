"""`python -m compare` as a person or a script meets it: output, files and exit statuses."""

import dataclasses
import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from children import quick_start
from typer.testing import CliRunner

import loop
from compare import find
from compare.cli import answers, commands
from compare.diagnosis.answer import Diagnosis
from compare.errors import CannotCompareError, Outcome
from compare.execution.runner import run
from compare.location.tapped import run_tapped
from compare.location.taps import ENDS
from compare.output.as_json import write_json
from compare.recording.recorder import record
from compare.scenario import Scenario

runner = sys.modules[run.__module__]
SOME = ["no_shuffle", "no_epochs_left"]


def broken_fit(model, **arguments):
    """Forgets the last epoch."""
    return loop.fit(model, **{**arguments, "epochs": arguments["epochs"] - 1})


def failing_fit(model, **arguments):
    raise RuntimeError("no such engine")


def silent_fit(model, **arguments):
    model.fit(**arguments)


def exiting_fit(model, **arguments):
    model.fit(**arguments)
    sys.exit(0)


def array_fit(model, **arguments):
    return {name: np.array(log) for name, log in model.fit(**arguments).history.items()}


def idle_fit(model, epochs, **arguments):
    return {"loss": [0.0] * epochs}


def talkative_fit(model, **arguments):
    history = model.fit(**arguments)
    history.history["accuray"] = list(history.history["loss"])
    return history


def off_by_an_ulp(model, **arguments):
    history = model.fit(**arguments)
    weights = model.get_weights()
    model.set_weights([np.nextafter(weights[0], np.float32(9)), *weights[1:]])
    return history


def line():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def points():
    x = np.random.default_rng(3).normal(size=(8, 3)).astype("float32")
    return {"x": x, "y": x[:, :1], "batch_size": 4, "epochs": 2}


def another_line():
    keras.utils.set_random_seed(np.random.SeedSequence().entropy % 2**31)
    return line()


SMALL = Scenario("small", "a line", line, points)
NO_MODEL = dataclasses.replace(SMALL, build=lambda: 1 / 0)
NO_DATA = dataclasses.replace(SMALL, data=lambda: points() | {"y": np.ones(3)})
NO_DICT = dataclasses.replace(SMALL, data=lambda: (np.ones((4, 3)), np.ones(4)))
NEVER_THE_SAME = dataclasses.replace(SMALL, build=another_line)


class SharedWorker:
    """A worker that outlives a command: it forgets the models it has trained, and stays."""

    def __init__(self):
        (self.worker,) = runner.workers(1)
        self.ask = self.worker.ask

    def close(self):
        self.ask(forget)


def forget():
    runner._trained.clear()


@pytest.fixture(scope="module")
def shared_worker():
    """Starts TensorFlow in one worker for all tests of this file, not in two for each command."""
    shared = SharedWorker()
    yield shared
    shared.worker.close()


@pytest.fixture
def one_worker(shared_worker, monkeypatch):
    monkeypatch.setattr(runner, "workers", lambda count: [shared_worker])


@pytest.mark.long
def test_proofs_of_some_scenarios_as_a_table_and_as_json(tmp_path):
    report, table = tmp_path / "deep" / "report.json", tmp_path / "table.md"
    command = [sys.executable, "-m", "compare", "parity", *SOME]
    command += ["--json", str(report), "--markdown", str(table)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, cwd=tmp_path,
        env=quick_start(keeps="matplotlib"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 of 2 scenarios identical" in done.stdout
    assert "\x1b[" not in done.stdout, "no colours into a pipe"
    written = json.loads(report.read_text())
    assert written["environment"]["packages"]["keras"].startswith("3.15.")
    by_name = {one["scenario"]: one for one in written["scenarios"]}
    assert set(by_name) == set(SOME)
    assert by_name["no_shuffle"]["parity"]["class"] == "exact"
    assert all(one["parity"]["identical"] for one in by_name.values())
    assert re.search(r"^\| `no_shuffle` \| exact \| [\d,]+ \| 0 \|", table.read_text(), re.M)


@pytest.mark.long
@pytest.mark.usefixtures("one_worker")
def test_times_come_in_pairs_with_their_spread_where_there_is_a_step_to_time():
    row, nothing = run([SMALL, *find(["no_epochs_left"])], loop.fit, proofs=False)
    assert nothing.throughput is None
    assert nothing.holds
    times = row.throughput
    assert times.steps == 2 * 2
    assert len(times.reference) == len(times.candidate) >= 3
    assert times.ratio.low <= times.ratio.median <= times.ratio.high


def status_of(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["glassfit", *words])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    return Outcome(int(ended.value.code))


@pytest.mark.long
@pytest.mark.parametrize(
    ("scenario", "candidate", "outcome", "words"),
    [
        ("SMALL", "talkative_fit", Outcome.OTHER_LOGS, "history/accuray is (absent)"),
        ("SMALL", "off_by_an_ulp", Outcome.DIFFERENT, "(1 ulp apart)"),
        ("SMALL", "broken_fit", Outcome.OTHER_EPOCHS, "epoch 1, step 0, steps: the number of"),
        ("SMALL", "failing_fit", Outcome.CANDIDATE_FAILED, "RuntimeError: no such engine"),
        ("SMALL", "exiting_fit", Outcome.CANDIDATE_FAILED, "raised SystemExit: 0"),
        ("SMALL", "array_fit", Outcome.NO_HISTORY, "a dict of lists, got {'loss': array("),
        ("SMALL", "idle_fit", Outcome.NEVER_TRAINED, "left every weight as it was"),
        ("SMALL", "silent_fit", Outcome.NO_HISTORY, "got None"),
        ("NO_MODEL", "silent_fit", Outcome.NO_SCENARIO, "ZeroDivisionError"),
        ("NO_DICT", "silent_fit", Outcome.NO_SCENARIO, "as a dict, got <class 'tuple'>"),
        ("NO_DATA", "silent_fit", Outcome.NO_SCENARIO, "the reference raised ValueError"),
        ("NEVER_THE_SAME", "broken_fit", Outcome.UNREPEATABLE, "does not repeat itself"),
        ("SMALL", "no_fit", Outcome.WRONG_USAGE, "has no 'no_fit'"),
        ("SMALL", "SMALL", Outcome.WRONG_USAGE, "cannot be called"),
        ("line", "silent_fit", Outcome.WRONG_USAGE, "has to be a compare.Scenario"),
    ],
)
def test_every_way_to_end_has_a_status_of_its_own_and_says_why(
    monkeypatch, capsys, scenario, candidate, outcome, words
):
    named = [f"test_command_line:{scenario}", "--candidate", f"test_command_line:{candidate}"]
    assert status_of(monkeypatch, "locate", *named) is outcome
    told = capsys.readouterr()
    assert words in " ".join((told.out + told.err).replace("│", "").split())


@pytest.mark.parametrize(
    ("text", "outcome", "words"),
    [
        ("def", Outcome.UNREADABLE_SCRIPT, ["cannot read"]),
        (
            "import no_such_package",
            Outcome.SCRIPT_FAILED,
            ["fails under Keras itself", "No module named 'no_such_package'"],
        ),
        ("print('hello')", Outcome.NEVER_TRAINED, ["trains nothing"]),
    ],
)
def test_a_script_that_cannot_be_compared_has_a_status(
    monkeypatch, capsys, tmp_path, text, outcome, words
):
    script = tmp_path / "train.py"
    script.write_text(text)
    assert status_of(monkeypatch, "script", str(script)) is outcome
    told = capsys.readouterr().err
    assert all(word in told for word in words), told


@pytest.mark.usefixtures("one_worker")
def test_where_a_reference_fails_there_is_nothing_to_time():
    named = ["test_command_line:SMALL", "--reference", "test_command_line:failing_fit"]
    done = CliRunner().invoke(commands.app, ["throughput", *named])
    assert done.exit_code == Outcome.NO_SCENARIO
    assert "small: the reference raised RuntimeError: no such engine" in done.stdout


@pytest.mark.long
@pytest.mark.usefixtures("one_worker")
def test_a_crash_takes_nothing_else_with_it_and_lambdas_may_be_compared():
    def of(samples):
        return dataclasses.replace(
            SMALL,
            name=f"of {samples}",
            data=lambda: points() | {"x": np.ones((samples, 3)), "y": np.ones(samples)},
        )

    def crashes_on_8(model, **arguments):
        if len(arguments["x"]) == 8:
            os._exit(1)
        return loop.fit(model, **arguments)

    crashed, *others = run([of(8), of(9), of(10)], crashes_on_8)
    assert len(others) == 2
    assert "the process that trained it ended" in str(crashed.error)
    assert crashed.outcome is Outcome.CANDIDATE_FAILED
    assert all(row.parity.identical and row.throughput for row in others)


def test_json_has_words_for_what_is_no_number(tmp_path):
    found = {"loss": [np.float32(0.5), np.nan, -np.inf], 3: Outcome.DIFFERENT}
    write_json(tmp_path / "report.json", history=found, place=np.arange(2))
    told = (tmp_path / "report.json").read_text()
    read = json.loads(told, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert read["history"] == {"loss": [0.5, "nan", "-inf"], "3": 1}
    assert read["place"] == [0, 1]


@pytest.mark.long
def test_what_is_the_same_ends_with_zero(monkeypatch, capsys):
    assert status_of(monkeypatch, "locate", "test_command_line:SMALL") is Outcome.IDENTICAL
    assert "small: nothing differs" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.usefixtures("one_worker")
def test_a_table_ends_with_a_status_and_says_what_differs_and_what_failed():
    broken, failed = (
        CliRunner().invoke(
            commands.app,
            ["parity", "test_command_line:SMALL", "--candidate", f"test_command_line:{candidate}"],
        )
        for candidate in ("broken_fit", "failing_fit")
    )
    assert broken.exit_code == Outcome.OTHER_EPOCHS
    assert "small: the candidate raised RuntimeError: no such engine" in failed.stdout
    assert failed.exit_code == Outcome.CANDIDATE_FAILED
    assert "0 of 1 scenarios identical" in failed.stdout


def test_the_doctor_knows_the_keras_that_is_mirrored():
    done = CliRunner().invoke(commands.app, ["doctor"])
    assert done.exit_code == 0
    assert f"{keras.__version__}: all" in done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("side", "'side' names no function: write side:function."),
        ("side:", "'side:' names no function: write side:function."),
        (":fit", "':fit' names no module: write module:fit."),
    ],
)
def test_a_name_that_is_not_whole_is_refused_before_its_module_runs(
    monkeypatch, capsys, tmp_path, name, words
):
    (tmp_path / "side.py").write_text("print('the whole script ran')")
    monkeypatch.syspath_prepend(tmp_path)
    for option in ("--candidate", "--reference"):
        assert status_of(monkeypatch, "locate", "no_shuffle", option, name) is Outcome.WRONG_USAGE
        printed = capsys.readouterr()
        assert "the whole script ran" not in printed.out
        assert words in " ".join(printed.err.replace("│", "").split())


def test_a_run_of_the_whole_table_first_says_how_much_it_is_and_how_to_stop(monkeypatch, capsys):
    def stop(*_, **__):
        raise CannotCompareError("training would begin here")

    monkeypatch.setattr(answers, "train", stop)
    status_of(monkeypatch)
    first, then, _ = capsys.readouterr().err.split("\n")
    assert first.startswith(f"{len(find())} scenarios, then times: ")
    assert first.endswith("Ctrl-C stops; `glassfit --help` lists the commands.")
    assert "training would begin here" in then


def test_an_unknown_scenario_is_answered_with_the_closest():
    done = CliRunner().invoke(commands.app, ["parity", "no_shufle"])
    assert done.exit_code == 2
    assert "no_shuffle" in done.output


def test_a_scenario_named_twice_is_refused_by_its_name():
    done = CliRunner().invoke(commands.app, ["parity", "no_shuffle", "no_shuffle"])
    assert done.exit_code == 2
    assert "has the name no_shuffle" in " ".join(done.output.replace("│", "").split())


def test_a_file_named_before_the_command_is_refused_not_forgotten(tmp_path):
    report = str(tmp_path / "report.json")
    done = CliRunner().invoke(commands.app, ["--json", report, "parity", "no_epochs_left"])
    assert done.exit_code == 2
    assert "behind the command" in done.output


def test_list_says_what_each_scenario_shows():
    done = CliRunner().invoke(commands.app, ["list"])
    assert done.exit_code == 0
    for scenario in find():
        assert scenario.name in done.stdout


@pytest.mark.long
def test_a_page_of_a_diagnosis_trains_each_engine_once_for_each_set_of_hooks(monkeypatch, tmp_path):
    recorded, tapped = [], []

    def counted(scenario, fit, watched="batches"):
        recorded.append((fit, watched))
        return record(scenario, fit, watched)

    def counted_tapped(scenario, fit, first=0, keep=None, ends=ENDS[0], prints_wanted=True):
        if prints_wanted:
            tapped.append((fit, first, ends))
        return run_tapped(scenario, fit, first, keep, ends, prints_wanted)

    monkeypatch.setattr("compare.recording.trials.record", counted)
    monkeypatch.setattr("compare.location.tapped.run_tapped", counted_tapped)
    monkeypatch.setattr(
        "compare.cli.answers.diagnose_in", lambda retraining, on_progress: Diagnosis()
    )
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # no second process
    command = ["diagnose", "test_command_line:SMALL", "--html", str(tmp_path / "page.html")]
    command += ["--candidate", "test_command_line:off_by_an_ulp"]
    assert CliRunner().invoke(commands.app, command).exit_code == Outcome.DIFFERENT
    assert len(recorded) == len(set(recorded))
    assert len(tapped) == len(set(tapped)) > 0


EXPLAINED = """
import sys
import keras
import numpy as np

keras.utils.set_random_seed(1)
x = np.random.default_rng(0).normal(size=(70, 4))
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
print(sys.argv[1:], repr(model.fit(x, x.sum(1), epochs=2, verbose=0).history))
print(model.evaluate(x, x.sum(1), verbose=0), np.random.rand())
model.fit(x, x.sum(1), batch_size=7, verbose=0)
try:
    model.fit(x, x[:3], verbose=0)
except ValueError:
    print("refused")
"""


@pytest.mark.long
def test_explain_says_before_each_fit_of_a_script_what_it_will_do_and_changes_nothing(tmp_path):
    script, page = tmp_path / "train.py", tmp_path / "deep" / "fits.html"
    script.write_text(EXPLAINED)
    command = [sys.executable, "-m", "compare"]
    environment = quick_start(keeps="matplotlib")
    options = {"capture_output": True, "text": True, "timeout": 240, "env": environment}
    ran = subprocess.run([*command, "run", str(script), "--epochs"], **options)
    done = subprocess.run(
        [*command, "explain", "--step", "--html", str(page), str(script), "--epochs"], **options
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ran.stdout, "the same bits, and nothing else on standard output"
    assert "['--epochs'] {'loss': [" in done.stdout
    titles = re.findall(r"^fit \d, train.py:(\d+)$", done.stderr, re.M)
    fits = [place for place, line in enumerate(EXPLAINED.splitlines(), 1) if "model.fit(" in line]
    assert titles == list(map(str, fits))
    assert "2 with 32 samples and a short last one with 6" in done.stderr
    assert "10 with 7 samples" in done.stderr
    assert "cannot be explained: ValueError" in done.stderr
    assert "One weight by hand" in done.stderr
    written = page.read_text()
    assert written.count("as a timeline") == 2
    assert "fit 2, train.py" in written


@pytest.mark.long
def test_explain_runs_before_anything_of_ours_is_imported_and_needs_a_file(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("import sys; print('keras' in sys.modules, 'loop' in sys.modules, sys.argv)")
    glassfit_py = os.path.join(os.path.dirname(answers.__file__), "..", "..", "glassfit.py")
    command = [sys.executable, os.path.realpath(glassfit_py), "explain"]
    done = subprocess.run([*command, str(script), "-x"], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"False False ['{script}', '-x']\n", done.stderr
    missing = subprocess.run([*command, "no.py"], capture_output=True, text=True, timeout=60)
    assert missing.returncode == 2
    assert "there is no file 'no.py'" in missing.stderr
