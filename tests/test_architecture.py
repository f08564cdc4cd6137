"""The shape of the code: which way imports point, how long things are, what is forbidden."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ("preprocess.py", "train.py", "query.py")
SOURCES = sorted(
    path for name in ("omnimotion", "preprocess") for path in (ROOT / name).rglob("*.py")
)

# A module imports from the rows above its own only, never from its own row.
LEVELS = (
    "errors archive compositing confidence geometry kernels kinds metrics optimizer seeds signals "
    "colours doctor heap temporary",
    "settings texture importance windows files draws",
    "relay images parser folders",
    "config fused networks parts restricted_pickle tracks",
    "bijection volume schedule resolved scene_index video_decoder plots points measure export "
    "dense overlay ground_truth report_page",
    "scene video video_writer evaluation synthetic masks depth_maps formats known",
    "flow checkpoint rays pins refit",
    "batch cameras correspondences evidence matches masked asking footage memory "
    "views window_store",
    "guard history losses patches pixels pose_graph supervision",
    "compiled_loss past resumed",
    "handover refine step_draws step_loss",
    "tracker",
    "previews clouds depth_pictures health long_tracker steady warps",
    "fitting edits maps propagation",
    "parallel report",
    "budget long_report",
    "runs",
    "restarts plan long_runs",
    "fitted long_refits",
    "viewer",
    "commands",
    "cli whole",
    "__main__ child",
)
LEVEL = {name: row for row, names in enumerate(LEVELS) for name in names.split()}
FOR_PREPROCESS = {
    "archive", "errors", "files", "flow", "folders", "heap", "images", "kinds", "temporary",
    "video", "windows",
}  # fmt: skip
"""What preprocessing needs of the package: files and frames, nothing of the model."""
FOR_TRAINING = {
    "cli", "colours", "config", "history", "plots", "seeds", "settings", "signals", "synthetic",
}  # fmt: skip
"""What training of RAFT needs besides: it is a program of its own, that renders and logs."""
FLOW_COMMANDS = ("preprocess.py", "plan.py")

MAX_FILE, MAX_FUNCTION, MAX_CLASS, MAX_LINE = 300, 50, 150, 99
MAX_POSITIONAL, MAX_NESTING = 6, 4


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def source_id(path):
    return str(path.relative_to(ROOT))


every_source = pytest.mark.parametrize("path", SOURCES, ids=source_id)


def unit(path):
    """The name in `LEVELS`: ``omnimotion/flow.py`` is flow, all of ``commands/`` is commands."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "omnimotion" else "preprocess"


def imported(path):
    """Units of this project that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(tree(path)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            inside = node.module == "omnimotion"
            names = [
                f"{node.module}.{alias.name}" if inside else node.module for alias in node.names
            ]
        for name in names:
            first, _, rest = name.partition(".")
            if first == "omnimotion":
                found.add(rest.partition(".")[0])
            elif first == "preprocess":
                found.add("preprocess")
    return found


@every_source
def test_imports_point_one_way(path):
    name = unit(path)
    if name == "__init__":  # the public surface
        return
    for other in imported(path) - {name}:
        if name == "preprocess":
            allowed = FOR_PREPROCESS | (
                FOR_TRAINING if path.parent.name == "train_raft" else set()
            )
            assert other in allowed, f"preprocess imports omnimotion.{other}"
        elif other == "preprocess":
            assert path.name in FLOW_COMMANDS, f"{name} imports preprocess"
        else:
            assert LEVEL[other] < LEVEL[name], f"{name} imports {other}, which is not below it"


def test_every_module_has_a_level():
    names = {unit(path) for path in SOURCES} - {"__init__", "preprocess"}
    assert names == set(LEVEL)


@every_source
def test_a_file_is_short_and_says_what_it_is(path):
    lines = re.sub(r"  # (type|noqa|fmt):.*", "", path.read_text(encoding="utf-8")).splitlines()
    assert len(lines) <= MAX_FILE
    assert max(map(len, lines), default=0) <= MAX_LINE
    assert not lines or ast.get_docstring(tree(path)), "no docstring"


@every_source
def test_functions_and_classes_are_short(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            limit = MAX_CLASS if isinstance(node, ast.ClassDef) else MAX_FUNCTION
            assert length <= limit, f"{node.name}: {length} lines"
        if isinstance(node, ast.FunctionDef):
            names = [each.arg for each in node.args.posonlyargs + node.args.args]
            count = len([name for name in names if name not in ("self", "cls", "ctx")])
            assert count <= MAX_POSITIONAL, f"{node.name}: {count} positional parameters"
            assert nesting(node) <= MAX_NESTING, f"{node.name} is nested {nesting(node)} deep"


def nesting(node):
    """Depth of blocks inside a function."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        block = isinstance(child, ast.For | ast.While | ast.If | ast.With | ast.Try)
        chained = block and isinstance(node, ast.If) and child in node.orelse  # elif
        deepest = max(deepest, nesting(child) + (block and not chained))
    return deepest


def public(body):
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


def inherited(node, owners):
    """Methods that torch or a base class documents."""
    return node.name in ("forward", "error", "parse_args") and node in owners


@every_source
def test_everything_public_is_documented_and_annotated(path):
    module = tree(path)
    methods = {
        item for node in ast.walk(module) if isinstance(node, ast.ClassDef) for item in node.body
    }
    for node in public(module.body):
        last = node.body[-1]
        stub = isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant)
        documented = ast.get_docstring(node) is not None or stub or inherited(node, methods)
        assert documented, f"{path.name}:{node.lineno}: {node.name} has no docstring"
        if isinstance(node, ast.FunctionDef):
            assert node.returns is not None, f"{node.name} has no return type"


FORBIDDEN_CALLS = {
    "eval", "exec", "input", "breakpoint", "os.system", "yaml.load", "pickle.load", "pickle.loads",
    "cv2.imread", "cv2.imwrite", "cv2.VideoWriter", "torch.save", "torch.load",
    "torch.manual_seed", "np.random.seed", "random.seed",
}  # fmt: skip
ALLOWED = {
    ("raft_weights.py", "torch.load"),  # with weights_only, checked below
}
PRINTS = ("cli.py", "commands")


@every_source
def test_forbidden_calls(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path.name}:{node.lineno}: bare except"
        if isinstance(node, ast.Assert):
            raise AssertionError(f"{path.name}:{node.lineno}: assert in the package")
        if not isinstance(node, ast.Call):
            continue
        name, keywords = ast.unparse(node.func), {k.arg: k.value for k in node.keywords}
        where = f"{path.name}:{node.lineno}: {name}"
        if name == "print":
            assert path.name in PRINTS or path.parent.name in PRINTS, where
        if name == "cv2.VideoCapture":
            assert path.name == "video_decoder.py", where
        if name == "torch.load":
            assert ast.unparse(keywords["weights_only"]) == "True", where
        if name == "np.load":
            assert ast.unparse(keywords["allow_pickle"]) == "False", where
        assert ast.unparse(keywords.get("shell", ast.Constant(None))) != "True", where
        assert name not in FORBIDDEN_CALLS or (path.name, name) in ALLOWED, where


@every_source
def test_only_networks_imports_tinycudann(path):
    for node in ast.walk(tree(path)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert "tinycudann" not in names, "it is imported lazily, by networks.import_tinycudann"
    imports = re.search(r"import_module\(\"tinycudann\"\)", path.read_text(encoding="utf-8"))
    assert not imports or path.name in ("networks.py", "doctor.py")


@every_source
def test_no_paths_of_a_machine(path):
    text = path.read_text(encoding="utf-8")
    # quoted absolute paths, but for those that every Linux has
    assert not re.search(r"[\"'](/(?!dev/|proc/|sys/)[A-Za-z]+/|[A-Z]:\\\\)", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_thin(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert "from omnimotion.cli import run" in text


def test_importing_the_package_is_light_and_silent():
    program = (
        "import sys, omnimotion, omnimotion.cli; import omnimotion.config; "
        "print(sorted({'torch', 'cv2', 'matplotlib', 'tinycudann'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_query_does_not_wait_for_what_draws_reports():
    program = "import sys, omnimotion.long_runs; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def test_every_package_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES}
    assert listed == found


def test_the_public_surface_is_small():
    import omnimotion

    assert len(omnimotion.__all__) <= 12
    assert all(hasattr(omnimotion, name) for name in omnimotion.__all__)
