"""The command `glassfit`, and the way it runs scripts: as `python train.py` would.

    glassfit run train.py [arguments]      a script, with model.fit and its friends on this engine
    glassfit explain train.py [arguments]  the same, and each fit is explained before it runs
    glassfit ...                           every other command is in `compare/cli.py`

A script may have modules of its own called `loop` or `compare`. `import loop` in a script gives
what `python train.py` would give it, and our package only where Python finds no other. A script
may also set environment variables before it imports TensorFlow. So nothing of ours is imported
before the script itself imports Keras. For the same reasons this module stands outside of the two
packages and imports nothing but the standard library: importing them imports TensorFlow.
"""

import builtins
import contextlib
import copy
import importlib
import importlib.abc
import io
import os
import pkgutil
import random
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import cast

FOLDER = os.path.dirname(os.path.abspath(__file__))
"""Where `loop` and `compare` are."""

PACKAGES = ("loop", "compare")

AtEnd = Callable[[], None]


def main() -> None:
    """Run the command line: `run` and `explain` here, every other command in `compare.cli`."""
    command, arguments = sys.argv[1:2], sys.argv[2:]
    if command == ["run"] and arguments and not arguments[0].startswith("-"):
        run(arguments)
    elif command == ["explain"] and arguments and not arguments[0].startswith("-"):
        explain(arguments)
    elif command == ["--explain"]:
        step, html, *script = arguments
        explain(script, step == "step", html or None)
    elif command == ["--record"]:
        record(*arguments)
    else:
        sys.path[:1] = [] if sys.flags.safe_path else [FOLDER]
        importlib.import_module("compare.cli").main()


def run(arguments: Sequence[str]) -> None:
    """Run a script in this process, with `model.fit` and its friends on this engine.

    Args:
        arguments: The script and its arguments, as they stand behind `python`.

    Raises:
        SystemExit: There is no such file (status 2), or the script exits.
    """
    _run(arguments, _install)


def explain(arguments: Sequence[str], step: bool = False, html: str | None = None) -> None:
    """Run a script as `run` does, and explain each fit on standard error before it runs.

    Args:
        arguments: The script and its arguments, as they stand behind `python`.
        step: Whether to show the first step of each fit in numbers.
        html: The file for a page with all explanations; None for none.

    Raises:
        SystemExit: There is no such file (status 2), or the script exits.
    """
    page = html and os.path.abspath(html)  # the script may change the folder
    script = os.path.abspath(arguments[0])

    def explain_fits() -> AtEnd:
        worker = importlib.import_module("compare.execution.explained_script")
        return cast(AtEnd, worker.begin(script, step, page))

    _run(arguments, explain_fits)


def replace_process(arguments: Sequence[str], explained: Sequence[str] | None = None) -> None:
    """Run a script as `run` or `explain` does, in a process that has imported nothing yet.

    Args:
        arguments: The script and its arguments, as they stand behind `python`.
        explained: To explain each fit: "step" or "", and the file for a page or ""; None to run.

    Raises:
        SystemExit: On Windows, where a process cannot be replaced: the status of the new one.
    """
    how = ["run"] if explained is None else ["--explain", *explained]
    command = [sys.executable, os.path.abspath(__file__), *how, *arguments]
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "nt":
        raise SystemExit(subprocess.call(command))
    os.execv(command[0], command)


def recording(recorder: str, engine: str, out: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs a script and writes down its calls of fit and its friends.

    Args:
        recorder: The module whose `begin(engine, out, script)` starts the recording once Keras is
            imported, and returns a function that writes `out`.
        engine: "keras" or "loop".
        out: The file to write.
        arguments: The script and its arguments.
    """
    python = [sys.executable, os.path.abspath(__file__)]
    return [*python, "--record", recorder, engine, out, *arguments]


def record(recorder: str, engine: str, out: str, *arguments: str) -> None:
    """Run a script and write down its calls: the process that `recording` describes.

    The random numbers of Python and NumPy are seeded before the script begins, so that it may seed
    them anew; those of TensorFlow and Keras are seeded by the recorder.
    """
    random.seed(0)
    importlib.import_module("numpy").random.seed(0)
    _run(arguments, lambda: importlib.import_module(recorder).begin(engine, out, arguments[0]))


@contextlib.contextmanager
def modules_of_script() -> Iterator[None]:
    """Let `import loop` and `import compare` mean what they mean in a script; Keras is imported.

    Our packages are out of `sys.modules` while the block runs: it must not import more of them.
    """
    imports = ScriptImports(lambda: None)
    sys.meta_path.insert(0, imports)
    try:
        imports.keras_is_imported()
        yield
    finally:
        sys.meta_path.remove(imports)
        imports.give_back()


def _install() -> None:
    importlib.import_module("loop").install()


def _run(arguments: Sequence[str], on_keras: Callable[[], AtEnd | None]) -> None:
    script = arguments[0]
    if not os.path.exists(script):
        hint = (
            " (a script from standard input cannot be run: save it first)" if script == "-" else ""
        )
        print(f"glassfit: there is no file {script!r}{hint}", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = list(arguments)
    imports = ScriptImports(on_keras)
    sys.meta_path.insert(0, imports)
    try:
        if "keras" in sys.modules:
            imports.keras_is_imported()
        if pkgutil.get_importer(script):  # a folder or a zip file with a `__main__.py`
            sys.path[:1] = []
            runpy.run_path(script, run_name="__main__")
        else:
            execute(script)
    finally:
        imports.end()


def execute(script: str) -> None:
    """Execute a file as the module `__main__`, the way Python does it for `python FILE`.

    Replaces the first entry of `sys.path` and `sys.modules["__main__"]`, for good.

    Raises:
        BaseException: Whatever the script raises, SystemExit included.
    """
    sys.path[:1] = [] if sys.flags.safe_path else [os.path.dirname(os.path.realpath(script))]
    file = os.path.join(os.getcwd(), script)
    module = ModuleType("__main__")
    kind = SourcelessFileLoader if file.endswith(".pyc") else SourceFileLoader
    loader = kind("__main__", file)
    vars(module).update(
        __file__=file, __loader__=loader, __builtins__=builtins, __annotations__={}, __cached__=None
    )
    sys.modules["__main__"] = module
    try:
        exec(_compiled(loader, file), vars(module))
    except SystemExit:
        raise
    except BaseException:
        sys.excepthook = _without_frames_before(module, sys.excepthook)
        raise


def _compiled(loader: SourceFileLoader | SourcelessFileLoader, file: str) -> CodeType:
    if isinstance(loader, SourcelessFileLoader):
        return cast(CodeType, loader.get_code("__main__"))  # raises ImportError, returns no None
    with io.open_code(file) as source:  # unlike `get_code`, writes no `__pycache__`
        return loader.source_to_code(source.read(), file)


def _without_frames_before(module: ModuleType, hook: Callable[..., object]) -> Callable[..., None]:
    """Return an exception hook whose tracebacks begin in the script: its callers are left out."""

    def show(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        while traceback and traceback.tb_frame.f_globals is not vars(module):
            traceback = traceback.tb_next
        hook(kind, error.with_traceback(traceback), traceback)

    return show


class ScriptImports(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Decides what `import loop`, `import compare` and `import keras` do in a script.

    Our modules are taken out of `sys.modules` while the script runs, and put back by the script's
    own `import loop` where Python finds our package, or none, under that name.

    Args:
        on_keras: Called once, right after Keras is imported; `import loop` and `import compare`
            give our packages there. What it returns is called when the script ends.
    """

    def __init__(self, on_keras: Callable[[], AtEnd | None]):
        self._on_keras = on_keras
        self._at_end: AtEnd | None = None
        self._keras_expected = True
        self._only_ours = False
        self._ours = _taken_out()

    def keras_is_imported(self) -> None:
        """Call `on_keras`."""
        self._keras_expected = False
        with self._our_packages(), _same_random_numbers():
            self._at_end = self._on_keras()

    def end(self) -> None:
        """Call what `on_keras` returned."""
        if self._at_end:
            with self._our_packages():
                self._at_end()

    def give_back(self) -> None:
        """Put our packages back into `sys.modules`, in the place of the script's own."""
        _taken_out()
        sys.modules.update(self._ours)

    @contextlib.contextmanager
    def _our_packages(self) -> Iterator[None]:
        """Let `import loop` and `import compare` give our packages while the block runs."""
        of_script = _taken_out()
        sys.modules.update(self._ours)
        self._only_ours = True
        try:
            yield
        finally:
            self._only_ours = False
            self._ours = _taken_out()
            sys.modules.update(of_script)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find Keras, to be told when it is imported, and our packages; leave the rest alone."""
        package = name.partition(".")[0]
        if name == "keras" and self._keras_expected:
            return self._keras_spec()
        if package not in PACKAGES:
            return None
        if self._only_ours:
            return PathFinder.find_spec(name, path or [FOLDER])
        if name != package:
            ours = name in self._ours and sys.modules.get(package) is self._ours[package]
            return self._ready(name) if ours else None
        if self._script_has(name):
            return None
        importlib.import_module("keras")  # calls `on_keras`, which imports our `loop`
        return self._ready(name) if name in self._ours else PathFinder.find_spec(name, [FOLDER])

    def _keras_spec(self) -> ModuleSpec | None:
        spec = self._found_by_others("keras")
        if spec is not None and spec.loader is not None:
            spec.loader = _LoaderThenCall(spec.loader, self.keras_is_imported)
        return spec

    def _script_has(self, name: str) -> bool:
        """Whether Python finds another module than ours under the name of one of our packages."""
        spec = self._found_by_others(name)
        ours = os.path.realpath(os.path.join(FOLDER, name, "__init__.py"))
        return spec is not None and (not spec.origin or os.path.realpath(spec.origin) != ours)

    def _found_by_others(self, name: str) -> ModuleSpec | None:
        """Return what Python would find without this finder."""
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, None)) is not None:
                return spec
        return None

    def _ready(self, name: str) -> ModuleSpec | None:
        """Return the spec of a module of ours that is imported already: this object loads it."""
        spec = copy.copy(self._ours[name].__spec__)
        if spec is not None:
            spec.loader = self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return our module, imported before, in the place of a new one."""
        return self._ours[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Put all modules of our package back, executing none again."""
        if module.__spec__ and isinstance(module.__loader__, importlib.abc.Loader):
            # The import system has set the copy that `_ready` made.
            module.__spec__.loader = module.__loader__
        package = module.__name__.partition(".")[0]
        for name, ours in self._ours.items():
            if name.partition(".")[0] == package:
                sys.modules[name] = ours


class _LoaderThenCall(importlib.abc.Loader):
    """Loads a module with another loader, and calls a function when the module is executed."""

    def __init__(self, loader: importlib.abc.Loader, then: Callable[[], None]):
        self._loader = loader
        self._then = then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return what the other loader creates."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Hand the module back to its own loader, execute it, and call the function."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._then()


@contextlib.contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Restore the states of Python's and NumPy's generators: the script may have set seeds."""
    numpy_random = importlib.import_module("numpy.random")
    states = random.getstate(), numpy_random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        numpy_random.set_state(states[1])


def _taken_out() -> dict[str, ModuleType]:
    """Take every module called like one of our packages out of `sys.modules`, and return them."""
    names = [name for name in sys.modules if name.partition(".")[0] in PACKAGES]
    return {name: sys.modules.pop(name) for name in names}


if __name__ == "__main__":
    main()
