"""No code of the product can unpickle anything."""

import ast
import re
from pathlib import Path

import release

SOURCES = sorted(Path(release.__file__).parent.rglob("*.py"))
WORDS = re.compile(
    r"torch\.load|pickle\.loads?|Unpickler|weights_only|pickle_module|find_class"
)
MODULES = {
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve",
    "marshal", "copyreg", "multiprocessing",
}  # fmt: skip


def test_words_of_unpickling_are_nowhere():
    found = [path for path in SOURCES if WORDS.search(path.read_text())]

    assert len(SOURCES) > 100
    assert found == []


def imported_by(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_modules_that_unpickle_are_not_imported():
    found = {
        (path.name, module)
        for path in SOURCES
        for module in imported_by(path)
        if module.split(".")[0] in MODULES
    }

    assert found == set()
