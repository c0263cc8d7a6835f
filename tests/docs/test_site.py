"""The site: what its navigation and its API pages name is there, and it builds strictly and without a network."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from markdown_pages import DOCS, ROOT, links

CURATED = (
    "del_audit.accounting",
    "del_audit.evidence.verification",
    "del_audit.testing",
    "mechanisms",
    "mechanisms.rivals",
    "attacks.inversion",
    "attacks.attribute",
)
"""Packages that gather their public names: each of them is on an API page."""

API = "\n".join(path.read_text(encoding="utf8") for path in sorted((DOCS / "api").glob("*.md")))
TARGETS = re.findall(r"^::: (\S+)$", API, re.MULTILINE)
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^\"'> ]+"
    r"|<link\b(?![^>]*\brel=[\"']?canonical)[^>]*\bhref=[\"']?(?:https?:)?//[^\"'> ]+"
    r"|url\([\"']?(?:https?:)?//[^)]+|@import\s+[\"'](?:https?:)?//[^\"']+"
)


def test_every_page_is_in_the_navigation_once():
    configuration = (ROOT / "mkdocs.yml").read_text(encoding="utf8")
    named = sorted(re.findall(r"^ +- (?:.+: )?(\S+\.md)$", configuration, re.MULTILINE))
    assert named == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def test_the_configuration_is_strict_and_fetches_nothing():
    configuration = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf8"))
    assert configuration["strict"] is True
    assert configuration["theme"]["font"] is False
    assert not re.search(r"https?://", (ROOT / "mkdocs.yml").read_text(encoding="utf8"))


@pytest.mark.parametrize("target", TARGETS)
def test_names_on_the_api_pages_are_there_and_say_what_they_are(target):
    module, _, attribute = target.rpartition(".")
    found = getattr(importlib.import_module(module), attribute)
    assert (found.__doc__ or "").strip(), f"{target} has no docstring"


def test_no_name_is_on_two_api_pages():
    assert len(TARGETS) == len(set(TARGETS)) > 100


@pytest.mark.parametrize("package", CURATED)
def test_every_gathered_name_is_on_an_api_page(package):
    shown = {target.rpartition(".")[2] for target in TARGETS} | set(re.findall(r"`(\w+)`", API))
    public = importlib.import_module(package).__all__
    missing = [one for one in public if one not in shown and not (one.endswith("Spec") and one[:-4] in shown)]
    assert not missing, f"{package}: {missing}"


LIGHT = re.findall(
    r"^\| \[\w+\]\((\w+)\.md\) \| .* \| no \|$", (DOCS / "api" / "index.md").read_text(encoding="utf8"), re.M
)


def test_the_api_page_names_packages_without_torch():
    assert "accounting" in LIGHT


@pytest.mark.parametrize("page", LIGHT)
def test_packages_that_are_said_to_need_no_torch_import_none(page):
    text = (DOCS / "api" / f"{page}.md").read_text(encoding="utf8")
    modules = sorted({target.rpartition(".")[0] for target in re.findall(r"^::: (\S+)$", text, re.MULTILINE)})
    script = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_docstrings_examples_become_code():
    namespace = {}
    source = (DOCS / "doctests.py").read_text(encoding="utf8").replace("from griffe import", "# ")
    exec(source.replace("class Doctests(Extension)", "class Doctests").replace("obj: Object", "obj: Any"), namespace)
    text = "One.\n\n>>> 1 + 1\n2\n\nTwo.\n>>> 3\n3"
    assert namespace["fenced"](text) == "One.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nTwo.\n```pycon\n>>> 3\n3\n```"


@pytest.mark.parametrize("html", ['<script src="https://x/y.js">', "<link href=//x/y.css>", "url(http://x/f.woff)"])
def test_what_would_be_fetched_is_recognised(html):
    assert FETCHED.search(html)
    assert not FETCHED.search('<a href="https://x"><link rel="canonical" href="https://x"><script src="a.js">')


@pytest.fixture(scope="module")
def built_site(tmp_path_factory):
    """The site, built strictly where no network can be reached."""
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[docs]'")
    site = tmp_path_factory.mktemp("site")
    nowhere = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **nowhere}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return site


@pytest.mark.slow
def test_the_site_has_its_pages_and_fetches_nothing(built_site):
    built = [path for path in built_site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(built) > len(list(DOCS.rglob("*.md")))
    for path in built:
        assert not (found := FETCHED.search(path.read_text(encoding="utf8"))), f"{path.name} fetches {found[0]}"
    assert not list(built_site.rglob("*.py")), "no script of this folder is published"


@pytest.mark.slow
def test_the_site_shows_members_and_examples_as_code(built_site):
    accounting = (built_site / "api" / "accounting.html").read_text(encoding="utf8")
    assert 'id="del_audit.accounting.Accountant.epsilon"' in accounting
    assert "&gt;&gt;&gt; " not in re.sub(r"<code>.*?</code>", "", accounting, flags=re.DOTALL)


def test_the_site_is_built_where_git_does_not_look():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf8"))["site_dir"]
    assert Path(site).parts[0] == "out"
    assert "out/" in (ROOT / ".gitignore").read_text(encoding="utf8").splitlines()


@pytest.mark.slow
def test_files_that_pages_link_to_are_published(built_site):
    for page in DOCS.rglob("*.md"):
        for target in links(page.read_text(encoding="utf8")):
            file = (page.parent / target.partition("#")[0]).resolve()
            if not file.is_relative_to(DOCS):
                assert (built_site / "project" / file.relative_to(ROOT)).read_bytes() == file.read_bytes(), target
