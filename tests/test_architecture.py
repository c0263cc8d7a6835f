"""Dependencies run one way: del_audit -> attacks -> mechanisms, and commands -> rooms; one module draws randomness."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {"mechanisms": {"attacks", "del_audit"}, "attacks": {"del_audit"}, "del_audit/accounting": {"torch"}}
DRAWS = {"np.random", "numpy.random", "torch.rand", "torch.randn", "torch.randint", "torch.bernoulli", "random.random"}


def _modules(folder):
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths, f"no modules in {folder}"
    return [(path, ast.parse(path.read_text(encoding="utf8"))) for path in paths]


def _imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_dependencies_run_one_way(folder):
    for path, tree in _modules(folder):
        wrong = {name for name in _imported(tree) if name.split(".")[0] in FORBIDDEN[folder]}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_no_room_knows_its_command():
    """del_audit: entry -> cli -> commands -> rooms."""
    above = {"del_audit.cli", "del_audit.commands", "del_audit.entry"}
    tops = {ROOT / "del_audit" / name for name in ("__main__.py", "entry.py", "cli.py")}
    for path, tree in _modules("del_audit"):
        if path in tops or path.parent == ROOT / "del_audit" / "commands":
            continue
        wrong = {name for name in _imported(tree) if ".".join(name.split(".")[:2]) in above}
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("folder", ["mechanisms", "attacks", "del_audit"])
def test_randomness_is_drawn_in_one_module(folder):
    for path, tree in _modules(folder):
        if path == ROOT / "mechanisms" / "randomness.py":
            continue
        drawn = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        wrong = {name for name in drawn if name in DRAWS or name.startswith(("np.random.", "numpy.random."))}
        assert not wrong, f"{path.relative_to(ROOT)} draws from {sorted(wrong)}"


@pytest.mark.parametrize("folder", ["mechanisms", "attacks", "del_audit"])
def test_nothing_unpickles_or_catches_everything(folder):
    for path, tree in _modules(folder):
        assert "pickle" not in set(_imported(tree)), path
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler) and n.type is None], path
