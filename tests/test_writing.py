"""Only `fashioncnn.files` writes files: other code would leave incomplete ones after a kill.

One library writes a file itself: Optuna appends to the journal of a search, which
`fashioncnn.tuning.journal` repairs.
"""

import ast
from pathlib import Path

import pytest

import fashioncnn

SOURCES = Path(fashioncnn.__file__).parent
WRITER = SOURCES / "files.py"
METHODS = {"write_text", "write_bytes", "touch", "mkstemp", "NamedTemporaryFile"}
"""Functions that create or write a file."""
OPENERS = {"open", "fdopen", "FileIO", "ZipFile", "GzipFile", "TarFile"}
SAVERS = {"save", "savez", "savez_compressed", "savefig", "save_file", "dump", "tofile", "savetxt"}
"""Functions that take a path or an open file."""
COPIERS = {"copy", "copy2", "copyfile", "copytree", "move"}
"""Functions of shutil."""
NULL_DEVICES = {"os.devnull", "_null(os.O_RDONLY)", "_null(os.O_WRONLY)", "os.dup(2)"}
"""What standard streams are replaced by, which are closed or discarded."""


def name_of(call):
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def receiver_of(call):
    return ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""


def is_write_mode(call):
    """Return whether a call of `open` may write: by its mode, or by flags of `os.open`."""
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    flags = " ".join(ast.unparse(a) for a in arguments)
    if any(flag in flags for flag in ("O_WRONLY", "O_RDWR", "O_CREAT")):
        return True
    modes = [a.value for a in arguments if isinstance(a, ast.Constant) and type(a.value) is str]
    return any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)


def open_files(tree):
    """Return the names of buffers in memory, and of files that `atomic_file` opened."""
    values = [(n.value, n.targets) for n in ast.walk(tree) if isinstance(n, ast.Assign)]
    values += [
        (n.context_expr, [n.optional_vars])
        for n in ast.walk(tree)
        if isinstance(n, ast.withitem) and n.optional_vars is not None
    ]
    return {
        ast.unparse(target)
        for value, targets in values
        if isinstance(value, ast.Call) and name_of(value) in ("atomic_file", "BytesIO")
        for target in targets
    }


def find_writes(source):
    """Return the calls in a module that may write a file, as text."""
    tree = ast.parse(source)
    buffers = open_files(tree)
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name, receiver = name_of(call), receiver_of(call)
        first = ast.unparse(call.args[0]) if call.args else ""
        if (
            name in METHODS
            or (name in OPENERS and first not in NULL_DEVICES and is_write_mode(call))
            or (name in SAVERS and first and first not in buffers and not is_state(call))
            or (name in COPIERS and receiver == "shutil")
        ):
            found.append(ast.unparse(call))
    return found


def is_state(call):
    """Return whether a call serializes tensors to bytes, or saves a `TrainState`."""
    first = call.args[0]
    return isinstance(first, ast.Dict | ast.DictComp) or ast.unparse(first) == "state"


@pytest.mark.parametrize(
    "path", sorted(SOURCES.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCES))
)
def test_module_writes_files_only_through_the_module_for_that(path):
    if path != WRITER:
        assert find_writes(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "open(path, 'w')",
        "path.open('xb')",
        "path.open(mode='a')",
        "gzip.open(path, 'wt')",
        "os.fdopen(handle, 'r+b')",
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
        "path.write_text(text)",
        "path.write_bytes(content)",
        "path.touch()",
        "image.save(path)",
        "image.save(folder / name, 'PNG')",
        "np.savez(path, a=1)",
        "np.save(str(path), a)",
        "figure.savefig(path)",
        "torch.save(x, path)",
        "json.dump(value, file)",
        "shutil.copy(a, b)",
        "tempfile.NamedTemporaryFile()",
    ],
)
def test_writes_are_found(source):
    assert find_writes(source) == [source]


@pytest.mark.parametrize(
    "source",
    [
        "open(path)",
        "path.open('rb')",
        "os.open(folder, os.O_RDONLY)",
        "open(os.devnull, 'w')",
        "buffer = io.BytesIO()\nnp.savez(buffer, a=1)\nimage.save(buffer, 'PNG')",
        "with atomic_file(path) as file:\n    image.save(file, 'PNG')",
        "values.copy()",
    ],
)
def test_other_calls_are_not_found(source):
    assert find_writes(source) == []
