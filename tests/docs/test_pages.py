"""What the pages show is so: code runs, commands parse, configurations load, links lead somewhere."""

import ast
import doctest
import importlib
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from markdown_pages import COMMAND_LINE, DOCS, PAGES, ROOT, anchors, commands, fenced, links, name, prose

from del_audit.cli import _parser, main
from del_audit.configuration.configuration import Configuration, load_configuration

OWN = [path for path in PAGES if path.parent.name in ("api", "how-to")]
OWN += [DOCS / f"{page}.md" for page in ("index", "quick-start", "concepts", "limits")]
RUN = [*OWN, ROOT / "README.md", DOCS / "sessions.md", DOCS / "rivals.md"]
"""Pages whose Python runs, every block of it that does not say why not."""

CHEAP = ("account", "calibrate", "curve", "key", "plan")
"""Commands that are run where a page shows them, unless they name a file that is not there, or load opacus."""

FIXTURES = ROOT / "tests" / "fixtures" / "certificates"
COMMANDS = {path: list(commands(path.read_text(encoding="utf8"))) for path in PAGES if path != COMMAND_LINE}


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    """A folder to work in, without keys of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEL_AUDIT_CONFIG", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def folder(empty_folder):
    """The same with the kept certificate and its key under the names that the pages use."""
    shutil.copy(FIXTURES / "certificate-5.json", empty_folder / "certificate.json")
    shutil.copy(FIXTURES / "certificate-5.pub", empty_folder / "ci.pem.pub")
    return empty_folder


def python_blocks(path):
    return [block for block in fenced(path.read_text(encoding="utf8")) if block.language in ("python", "pycon")]


@pytest.mark.parametrize("path", [path for path in RUN if python_blocks(path)], ids=name)
def test_python_runs_and_prints_what_is_shown(path, folder):
    names = {"__name__": "page"}
    runner = doctest.DocTestRunner(verbose=False)
    for block in python_blocks(path):
        if not block.run:
            compile(block.text, name(path), "exec")
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, str(path), "exec"), names)
        else:
            test = doctest.DocTestParser().get_doctest(block.text, names, name(path), str(path), block.line - 1)
            assert test.examples, f"{name(path)}, line {block.line}: no prompt in it"
            said = []
            runner.run(test, out=said.append, clear_globs=False)
            names = test.globs
            assert not said, "".join(said)


@pytest.mark.parametrize("path", [path for path in PAGES if python_blocks(path)], ids=name)
def test_what_python_imports_is_there(path):
    for block in python_blocks(path):
        source = block.text
        if block.language == "pycon":
            source = "".join(line[4:] + "\n" for line in source.splitlines() if line.startswith((">>> ", "... ")))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing, f"{name(path)}, line {block.line}: {node.module} has no {missing}"


@pytest.mark.parametrize("path", [path for path, found in COMMANDS.items() if found], ids=name)
def test_commands_are_those_that_there_are(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf8"), re.MULTILINE))
    for line, (program, *words) in COMMANDS[path]:
        where = f"{name(path)}, line {line}: {program} {' '.join(words)}"
        if program == "make":
            assert words[-1] in targets, where
        elif program == "python":
            assert (ROOT / words[0]).is_file(), where
        elif words[-1] not in ("--help", "--version"):
            try:
                _parser().parse_args(words)
            except ValueError as error:
                pytest.fail(f"{where}: {error}")


def runnable():
    for path, found in COMMANDS.items():
        for line, (program, *words) in found:
            if program == "del-audit" and words[0] in CHEAP and "--dp-sgd" not in words and "FILE" not in words:
                yield pytest.param(words, id=f"{name(path)}:{line}")


@pytest.mark.parametrize("words", list(runnable()))
def test_light_commands_run(words, empty_folder, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_CONFIG", str(tmp_path / "config"))
    if list(words[:2]) == ["key", "revoke"]:
        assert main(["key", "new", "--out", words[2].removesuffix(".pub")]) == 0
    if "calibrate" in words or "--proved" in words:
        pytest.importorskip("flint")
    files = [word for before, word in pairwise(words) if before in ("--from", "--session", "--codes")]
    if any(not Path(file).exists() for file in files):
        pytest.skip(f"{files} is the reader's own")
    assert main(words) == 0, capsys.readouterr().err


def test_light_commands_are_there_to_run():
    assert len(list(runnable())) >= 8


def configurations():
    for path in [ROOT / "README.md", *OWN]:
        for block in fenced(path.read_text(encoding="utf8")):
            content = yaml.safe_load(block.text) if block.language == "yaml" else {"": None}
            if set(content) <= set(Configuration.model_fields):
                yield pytest.param(content, id=f"{name(path)}:{block.line}")


@pytest.mark.parametrize("content", list(configurations()))
def test_configurations_load_whole_or_as_parts_of_the_example(content, tmp_path):
    example = yaml.safe_load((ROOT / "examples" / "smollm2-reviews.yaml").read_text(encoding="utf8"))
    whole = content if "model" in content else {**example, **content}
    path = tmp_path / "configuration.yaml"
    path.write_text(yaml.safe_dump(whole), encoding="utf8")
    found = load_configuration(path)
    for key, value in content.items():
        if isinstance(value, str):
            assert getattr(found, key) == value


def test_the_how_tos_show_configurations():
    assert len(list(configurations())) >= 6


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_and_anchors_lead_somewhere(path):
    for target in links(path.read_text(encoding="utf8")):
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{name(path)} links to {target}, which is not there"
        assert found.is_relative_to(ROOT), f"{name(path)} links out of the project: {target}"
        if anchor:
            assert anchor in anchors(found.read_text(encoding="utf8")), f"{name(path)}: no heading for {target}"


@pytest.mark.parametrize("path", [path for path in PAGES if path.is_relative_to(DOCS)], ids=name)
def test_lists_and_tables_begin_after_an_empty_line(path):
    """The site's Markdown takes them for text otherwise, where GitHub's does not."""
    before = ""
    for line in prose(path.read_text(encoding="utf8")).splitlines():
        begins = re.match(r"(?:- |1\. |\|)", line)
        goes_on = not before.strip() or re.match(r"(?:- |\d+\. |\||#|\s)", before)
        assert not begins or goes_on, f"{name(path)}: no empty line before {line!r}"
        before = line
