"""The child process: where it finds its code, its limits, its deaths."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import release
from release.errors import CheckpointError
from release.formats.input import InputFile
from release.formats.pickled import isolation

ROOT = Path(release.__file__).parents[1]
HEAVY = {"torch", "numpy", "cryptography", "xxhash", "pickle", "zipfile", "safetensors"}


def run_child(content_path, program, root=ROOT):
    """Run a program as the child is run; its output, and how it ended."""
    with content_path.open("rb") as file:
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", program, str(root)],
            stdin=file,
            capture_output=True,
            check=False,
            text=True,
        )


@pytest.fixture
def good(kit, tmp_path):
    path = tmp_path / "m.ckpt"
    path.write_bytes(kit.file(kit.GOOD))
    return path


@pytest.fixture
def child_is(monkeypatch):
    """Put another program in the child's place."""

    def replace(program):
        monkeypatch.setattr(isolation, "_PROGRAM", program)

    return replace


def plan_of(path):
    with InputFile(path) as file:
        return isolation.read_plan(file, stub_globals=False)


def test_child_loads_nothing_heavy_and_little_at_all(good):
    show = "; print('', *sys.modules, file=sys.stderr)"

    done = run_child(good, isolation._PROGRAM + show)

    modules = {name.split(".")[0] for name in done.stderr.split()}
    assert done.returncode == 0
    assert '"views":[["w","F32"' in done.stdout
    assert "release" in modules
    assert not HEAVY & modules
    # What makes it start at once, on a machine that does something else, too.
    assert len(modules) < 120


def test_child_finds_its_code_wherever_the_package_lies(good, tmp_path, monkeypatch):
    elsewhere = tmp_path / "some place" / "site-packages"
    shutil.copytree(
        ROOT / "release",
        elsewhere / "release",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for module in ("json", "struct", "resource"):  # nothing beside it is believed
        (elsewhere / f"{module}.py").write_text("raise SystemExit(9)")
    monkeypatch.setenv("PYTHONPATH", str(elsewhere))
    monkeypatch.setattr(isolation, "_ROOT", elsewhere)
    monkeypatch.chdir(elsewhere)

    assert [view.name for view in plan_of(good).views] == ["w"]


def test_limits_are_in_force(good):
    show = (
        "; import resource as r; print('', *(r.getrlimit(k)[0] for k in (r.RLIMIT_AS, "
        "r.RLIMIT_CPU, r.RLIMIT_FSIZE, r.RLIMIT_CORE, r.RLIMIT_NOFILE)), "
        "file=sys.stderr)"
    )

    done = run_child(good, isolation._PROGRAM + show)

    assert done.stderr.split() == [str(2**30), "60", "0", "0", "16"]


def test_child_cannot_write_a_file(good, tmp_path):
    target = tmp_path / "written"
    write = f"; import os; os.write(os.open({str(target)!r}, 65), b'x')"

    done = run_child(good, isolation._PROGRAM + write)

    assert done.returncode == 1
    assert target.read_bytes() == b""


def test_pickle_that_asks_for_too_much_memory_is_refused(kit, tmp_path):
    path = tmp_path / "m.ckpt"
    lists = b"]" * 900_000
    path.write_bytes(kit.file(kit.program(lists)))
    lower = "from release.formats.pickled import child; child._MEMORY_NBYTES = 2**26; "

    done = run_child(path, isolation._PROGRAM.replace("main()", lower + "main()"))

    assert done.returncode == 0
    assert done.stdout.startswith('{"refusal":["resource-limit"')


DEATHS = {
    "killed": ("import os; os.kill(os.getpid(), 9)", "resource-limit", "SIGKILL"),
    "out of time": (
        "import resource as r\nr.setrlimit(r.RLIMIT_CPU, (1, 1))\nwhile True: pass",
        "resource-limit",
        "SIG",
    ),
    "broken memory": ("import os; os.kill(os.getpid(), 11)", "resource-limit", "SEGV"),
    "failing": (
        "raise ValueError('of its own')",
        "pickle-reader",
        "ended with 1: ValueError: of its own",
    ),
    "failing without a word": (
        "raise SystemExit(3)",
        "pickle-reader",
        "reads the pickle ended with 3",
    ),
    "failing in colours": (
        r"import os; os.write(2, b'\x1b[31m\xff\n \n'); raise SystemExit(3)",
        "pickle-reader",
        "ended with 3: \\u001b[31m\ufffd",
    ),
    "failing with many words": (
        "raise ValueError('x' * 300)",
        "pickle-reader",
        "x" * 188 + "… (112 more)",
    ),
    "failing without an end": (
        "import sys\nfor _ in range(99): sys.stderr.write('y' * 2**20)",
        "pickle-reader",
        "ended with 120: " + "y" * 200 + "… (",
    ),
    "silent": ("pass", "pickle-reader", "not JSON"),
    "babbling": ("print('hello')", "pickle-reader", "not JSON"),
    "endless": (
        "import sys\nwhile True: sys.stdout.write('x' * 2**20)",
        "pickle-reader",
        "does not stop",
    ),
    "answering and dying": (
        "import os; print('{}', flush=True); os.kill(os.getpid(), 9)",
        "resource-limit",
        "SIGKILL",
    ),
}


@pytest.mark.parametrize("case", DEATHS)
def test_child_that_does_not_answer_is_an_error_of_the_file(good, child_is, case):
    program, code, text = DEATHS[case]
    child_is(program)

    with pytest.raises(CheckpointError) as caught:
        plan_of(good)

    assert caught.value.code == code
    assert caught.value.exit_code == 4
    assert text in str(caught.value)


def test_child_that_hangs_is_ended(good, child_is, monkeypatch):
    child_is("import time; time.sleep(60)")
    monkeypatch.setattr(isolation, "_WAIT_FACTOR", 0.01)

    with pytest.raises(CheckpointError) as caught:
        plan_of(good)

    assert caught.value.code == "resource-limit"


def test_interrupt_leaves_no_child(good, child_is, monkeypatch):
    child_is("import time; time.sleep(60)")
    started = []

    def interrupted(process):
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(isolation, "_read", interrupted)

    with pytest.raises(KeyboardInterrupt):
        plan_of(good)

    assert started[0].returncode is not None


def test_python_that_is_missing_is_an_error_with_a_name(good, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/does/not/exist")

    with pytest.raises(CheckpointError) as caught:
        plan_of(good)

    assert caught.value.code == "pickle-reader"


def test_refused_file_is_closed(kit, opened):
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(CheckpointError):
        opened(kit.file(kit.LIST))

    assert len(list(Path("/proc/self/fd").iterdir())) == before
