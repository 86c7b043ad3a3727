"""The pages of the documentation as their reader uses them: block by block."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Explaining an example after an ETL takes a minute and has tests of its own.
VACPANEL = """#!{python}
import sys
import etl.examples
from vacpanel.cli import main
etl.examples.explain_example = lambda *_: 0
main(sys.argv[1:])
"""


@dataclass
class Reader:
    """Types what a page says.

    Parameters
    ----------
    folder
        Where.
    environment
        Variables beside those of this process.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self._bin = self.folder / ".bin"
        self._bin.mkdir(parents=True)
        command = self._bin / "vacpanel"
        command.write_text(VACPANEL.format(python=sys.executable))
        command.chmod(0o755)

    def sections(self, page: str) -> dict[str, list[tuple[str, str]]]:
        """Headings of a page, with the language and the text of each block below it."""
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        found = {}
        for section in re.split(r"^#+ (?=.*\n\n)", text, flags=re.MULTILINE)[1:]:
            blocks = re.findall(r"^```(\S[^\n]*)\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
            found[section.splitlines()[0]] = blocks
        return found

    def follow(self, blocks: list[tuple[str, str]]) -> None:
        """Write the files and run the rest, except commands that serve; five commands are the most."""
        for language, text in blocks:
            lines = [line for line in text.splitlines() if line.strip()]
            if title := re.search(r'title="(.*)"', language):
                (self.folder / title[1]).write_text(text)
            elif language == "python":
                self.run(f"{sys.executable} -c {shlex.quote(text)}")
            elif language == "console":
                assert len(lines) <= 5
                self.run(*(line.removeprefix("$ ") for line in lines if " serve " not in line))

    def run(self, *commands: str) -> str:
        """Run shell commands; return what they print."""
        environment = {
            **os.environ,
            "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).strip(":"),
            **self.environment,
        }
        script = "set -e\n" + "\n".join(commands)
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, script + "\n" + done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Reader:
    """Somebody who follows a page in an empty folder."""
    return Reader(tmp_path_factory.mktemp("reader"))
