"""The edge: whatever happens inside ends in an exit code and in words, never in a traceback."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from castsheet.cli.app import COMMANDS
from castsheet.errors import CastsheetError, DependencyError, MemoryLimitError, SceneError
from castsheet.machine.causes import known_cause
from castsheet.machine.edge import at_edge
from castsheet.machine.fault import masked, report
from castsheet.machine.files import require

SRC = Path(__file__).parents[2] / "src"
CASTSHEET = (sys.executable, "-m", "castsheet.cli")


def shell(line, folder, **more):
    """Run a line of a shell in which `$C` is `castsheet`; its exit code and what it said on stderr."""
    environment = {**os.environ, "PYTHONPATH": str(SRC), "C": " ".join(CASTSHEET), **more}
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stderr


def python(program, folder, streams=""):
    """Run a program in a process of its own; its exit code and what it said on stderr."""
    (folder / "program.py").write_text(textwrap.dedent(program))
    return shell(f"{sys.executable} program.py {streams}", folder)


def ended(work, *arguments):
    """The exit code of some work at the edge."""
    with pytest.raises(SystemExit) as left:
        at_edge(work, arguments)
    return left.value.code


def raising(error):
    """Work that ends in an error."""

    def work():
        raise error

    return work


# Streams


@pytest.mark.parametrize("words", ["--version", "--help", "lint --help", "elements -h"])
def test_a_closed_stdout_is_no_fault_and_a_full_one_is_told(tmp_path, words):
    """Red: `castsheet ... >&-` (cron, daemons) is a traceback, or a full disk loses a result in silence."""
    line = f"$C {words} >&- || exit 9; $C {words} >/dev/full; code=$?; $C {words} | head -c 1 >/dev/null; "
    line += "test ${PIPESTATUS[0]} = 0 || exit 8; exit $code"
    code, said = shell(line, tmp_path)
    assert code == 2, said
    assert "cannot write to standard output: No space left on device" in said


def test_a_closed_or_full_stderr_changes_no_exit_code(tmp_path):
    """Red: a refusal whose words nobody can read ends in another exit code than 2."""
    line = "$C lint no 2>&-; a=$?; $C lint no 2>/dev/full; b=$?; $C lint no >&- 2>&- <&-; exit $a$b$?"
    code, _ = shell(line, tmp_path)
    assert code == 222 % 256


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
    """Red: with stdout closed, what a library prints lands in the next file that is opened."""
    program = """
        import os
        from castsheet.machine.streams import guard
        guard()
        handle = os.open("made", os.O_CREAT | os.O_WRONLY)
        assert handle > 2, handle
        print("x", flush=True)
    """
    assert python(program, tmp_path, ">&- 2>&-")[0] == 0


def test_letters_that_the_terminal_lacks_are_written_out(tmp_path):
    """Red: a path with an accent is a UnicodeEncodeError where the locale is ASCII."""
    code, said = shell("$C lint $'h\\xc3\\xa9ro\\xff.png'", tmp_path, PYTHONIOENCODING="ascii")
    assert code == 2
    assert "h\\xe9ro" in said


# Causes


MEMORY = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("NCCL Error 1: Failed to CUDA calloc 16 bytes: out of memory"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]


@pytest.mark.parametrize("error", MEMORY, ids=str)
def test_too_little_memory_is_told_as_that(error, capsys):
    """Red: an allocator's error is a traceback, or passes for a damaged file."""
    assert isinstance(known_cause(error), MemoryLimitError)
    assert ("GPU" in known_cause(error).what) == ("CUDA" in str(error))
    wrapped = SceneError("the file is damaged", remedy="download it again")
    wrapped.__cause__ = error
    assert ended(raising(wrapped)) == 2
    assert "memory ran out" in capsys.readouterr().err


def test_torch_says_out_of_memory_and_is_understood():
    """Red: torch has changed how it says that memory ran out."""
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert isinstance(known_cause(caught.value), MemoryLimitError)
    assert isinstance(known_cause(torch.OutOfMemoryError("CUDA out of memory. Tried to")), MemoryLimitError)


def endless():
    return endless()


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (OSError(errno.EMFILE, "Too many open files", "a.png"), "FileError", "ulimit -n"),
        (OSError(errno.EMFILE, "Too many open files"), "FileError", "ulimit -n"),
        (OSError(errno.ENOSPC, "No space left on device", "out/a"), "OutputError", "free space"),
        (OSError(errno.ENOSPC, "No space left on device"), "OutputError", "free space"),
        (OSError(errno.EROFS, "Read-only file system", "out/a"), "OutputError", "a disk that can be written"),
        (PermissionError(errno.EACCES, "Permission denied", "a.png"), "FileError", "chmod"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.png"), "FileError", "check the path"),
        (RuntimeError("can't start new thread"), "OutputError", "ulimit -u"),
        (
            ModuleNotFoundError("No module named 'nowhere'", name="nowhere"),
            "DependencyError",
            "install nowhere",
        ),
        (ImportError("libx.so: cannot open", name="numpy"), "DependencyError", "--force-reinstall numpy"),
        (RecursionError("maximum recursion depth exceeded"), "NestingError", "nested|values"),
    ],
)
def test_each_cause_has_its_error_and_its_remedy(error, kind, says, capsys):
    """Red: what a user or a machine causes is called a fault of Castsheet, or gets another's remedy."""
    found = known_cause(error)
    assert type(found).__name__ == kind
    assert any(word in found.remedy for word in says.split("|"))
    assert ended(raising(error)) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Packages that fail in several ways while they are imported."""
    for name, text in {
        "lacks_library": "raise ImportError('libcudart.so.12: cannot open shared object file')",
        "other_abi": "raise RuntimeError('module compiled against ABI version 0x1000009')",
        "lacks_package": "import package_that_is_nowhere",
        "no_memory": "raise MemoryError",
    }.items():
        (tmp_path / f"{name}.py").write_text(text + "\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("package", "says", "remedy"),
    [
        ("lacks_library", "libcudart.so.12", "--force-reinstall lacks-library"),
        ("other_abi", "ABI version", "--force-reinstall other-abi"),
        ("lacks_package", "package_that_is_nowhere", "pip install package-that-is-nowhere"),
        ("no_memory", "memory ran out", "close other programs"),
    ],
)
@pytest.mark.usefixtures("packages")
def test_a_package_that_fails_is_not_called_missing(package, says, remedy):
    """Red: a user installs again and again what is installed, and never learns what it lacks."""
    with pytest.raises(DependencyError) as caught:
        require(package, "sheet")
    assert f"the package {package!r} is installed, and fails while it is imported" in caught.value.what
    assert says in caught.value.what
    assert remedy in caught.value.remedy
    with pytest.raises(Exception) as bare:  # noqa: PT011
        __import__(package)
    assert says in known_cause(bare.value).what


def test_a_package_that_is_missing_is_called_missing():
    """Red: the words for a package that fails and for one that is not there are the same."""
    with pytest.raises(DependencyError, match="'nowhere_at_all', which is not installed") as caught:
        require("nowhere_at_all", "sheet")
    assert caught.value.remedy == 'pip install "castsheet[sheet]"'


# Faults of the program


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of this test's own."""
    monkeypatch.setenv("CASTSHEET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_fault_of_the_program_is_called_one_and_saved(cache, capsys, monkeypatch):
    """Red: our own mistake is a traceback, or its report tells what the user wrote or a password."""
    monkeypatch.setenv("SOME_API_KEY", "tell-nobody")
    words = [
        "generate",
        "/home/me/story.yaml",
        "--prompt",
        "a secret story",
        "--steps=30",
        "--action=she waves",
    ]
    error = KeyError("a secret story tell-nobody " + "'" + "long " * 30 + "'")
    assert ended(raising(error), *words) == 70
    said = capsys.readouterr().err
    assert "this is a fault of Castsheet" in said
    assert "Traceback" not in said
    (path,) = (cache / "reports").glob("fault-*.txt")
    assert str(path) in said
    text = path.read_text()
    assert "KeyError" in text
    assert "test_edge.py" in text
    assert "torch " in text
    assert "--steps=30" in text
    for private in ("secret", "story", "waves", "tell-nobody", "/home/me", "long long"):
        assert private not in text
    assert ended(raising(error), *words, "--debug") == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_report_that_cannot_be_saved_is_told(cache, capsys, monkeypatch):
    """Red: a full disk turns our own mistake into a traceback."""
    cache.write_text("no folder")
    monkeypatch.setattr("tempfile.tempdir", str(cache))
    assert ended(raising(ZeroDivisionError("division by zero"))) == 70
    assert "could not be saved: run again with --debug" in capsys.readouterr().err


def test_commands_options_and_numbers_stay_in_a_report():
    """Red: a report does not say which command failed, or says what was written in it."""
    line = list(
        masked(["elements", "add", "mara", "p/a.png", "--importance", "2.5", "--out=x.mp4", "-o", "y"])
    )
    assert line[:2] == ["elements", "add"]
    assert line[4:6] == ["--importance", "2.5"]
    assert "mara" not in " ".join(line)
    assert ".png" in line[3]
    assert report(RecursionError("x"), ["sheet"]).count("\n") < 200


# Signals


def test_a_signal_within_an_import_or_native_code_ends_as_a_signal(tmp_path):
    """Red: SIGTERM during an import is told as a missing package, or as an error of native code."""
    (tmp_path / "slow.py").write_text(
        textwrap.dedent("""
            import os, signal
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                [1 for _ in range(9)]
            except BaseException:
                raise ImportError("the loader has lost it")
        """)
    )
    program = """
        from castsheet.machine.edge import at_edge
        from castsheet.machine.files import require
        at_edge(lambda: require("slow", "sheet"), [])
    """
    assert python(program, tmp_path) == (143, "")


def test_a_signal_within_a_destructor_is_raised_again(tmp_path):
    """Red: Ctrl-C is printed and forgotten, because it came while an object was thrown away."""
    program = """
        import os, signal, time
        from castsheet.machine.edge import at_edge
        class Thing:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
                [1 for _ in range(9)]
        def work():
            Thing()
            time.sleep(60)
        at_edge(work, [])
    """
    assert python(program, tmp_path) == (130, "")


def test_a_deferred_signal_comes_at_the_end_of_the_block(tmp_path):
    """Red: a signal tears a short step on the file system apart, and something is left behind."""
    program = """
        import os, signal
        from castsheet.machine.edge import at_edge
        from castsheet.machine.stopping import deferred
        def work():
            with deferred():
                os.kill(os.getpid(), signal.SIGTERM)
                open("whole", "w").close()
            open("late", "w").close()
        at_edge(work, [])
    """
    assert python(program, tmp_path) == (143, "")
    assert (tmp_path / "whole").exists()
    assert not (tmp_path / "late").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_handlers_are_put_back(number):
    """Red: a program that calls the command line loses its own handlers."""
    before = signal.getsignal(number)
    assert ended(lambda: 1) == 1
    assert signal.getsignal(number) is before


def test_the_library_handles_no_signals_and_no_streams(tmp_path):
    """Red: importing castsheet changes a program's signals, streams or hooks."""
    program = """
        import signal, sys
        def state():
            hooks = (sys.excepthook, sys.unraisablehook)
            return (signal.getsignal(2), signal.getsignal(15), sys.stdout, sys.stderr, *hooks)
        before = state()
        import castsheet, castsheet.cli
        from castsheet import Scene, Sheet
        assert state() == before
    """
    assert python(program, tmp_path) == (0, "")


# The list of commands


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.name)
def test_the_list_of_commands_says_what_each_says_of_itself(command):
    """Red: `castsheet --help` tells of a command what the command's own help does not."""
    from importlib import import_module

    found = getattr(import_module(f"castsheet.cli.{command.home}"), command.name)
    own = found.info.help if hasattr(found, "info") else " ".join(found.__doc__.split("\n\n")[0].split())
    assert own == command.help


def test_every_error_is_of_the_family():
    """Red: an error class escapes the edge's exit code 2."""
    from castsheet import errors

    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)]
    assert all(issubclass(one, CastsheetError) for one in kinds)
