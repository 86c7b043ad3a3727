"""The site builds, and every link in it and in the pages beside it leads somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]


def _build(root: Path, site: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_the_site_builds_without_a_warning(tmp_path):
    done = _build(ROOT, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("warehouse", "etl", "vacpanel"):
        reference = (tmp_path / "reference" / name / "index.html").read_text(encoding="utf-8")
        assert reference.count('class="doc doc-object') > 10
        assert not re.search(r":(class|func|meth):", reference)
    pages = {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("index.html")}
    assert pages >= {"tour", "sql", "own", "plug-ins", "deployment", "benchmarks", "methods/bbmp"}


@pytest.mark.parametrize("link", ["[gone](gone.md)", "[gone](sql.md#gone)", "![gone](images/gone.png)"])
def test_a_broken_link_fails(tmp_path, link):
    (tmp_path / "docs").mkdir()
    shutil.copytree(ROOT / "docs" / ".hooks", tmp_path / "docs" / ".hooks")
    shutil.copy(ROOT / "docs" / "sql.md", tmp_path / "docs")
    (tmp_path / "docs" / "index.md").write_text(f"# Home\n\n{link}\n")
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text(re.sub(r"^nav:\n(?:  .*\n)+", "", config, flags=re.MULTILINE))
    done = _build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert "gone" in done.stderr
    (tmp_path / "docs" / "index.md").write_text("# Home\n\n[here](sql.md#models)\n")
    done = _build(tmp_path, tmp_path / "site")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_pages_beside_it_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
