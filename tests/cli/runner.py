"""The command line as its users meet it: a process, its exit code and all that it says."""

import subprocess
import sys
from collections.abc import Sequence

import attrs
import pytest
import trio

from atalaia.cli.main import app
from tests.stack import Stack

PUMP = """datetime;Volume Flow RateRMS;Pressure;state;note
2020-03-09 10:14:33;32.0;0.05;ok;1
2020-03-09 10:14:34;;0.06;ok;x
2020-03-09 10:14:35;33.5;oops;ok;3
soon;1;1;ok;4
2020-03-09 10:14:35;34.0;0.07;ok;5
"""


class Runner:
    """Runs the real command against the stack's server."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    async def __call__(
        self,
        *arguments: object,
        server: bool = True,
        python: Sequence[str] = ("-m", "atalaia"),
        stderr: bool = True,
    ) -> tuple[int, str]:
        """server: name the stack's own. python: what the interpreter is told to run. stderr: hear
        what it says there, too.
        """
        where = ["--url", self.stack.url, "--key", self.stack.api_key] if server else []
        command = [sys.executable, *python, *map(str, arguments), *where]
        done = await trio.run_process(
            command,
            capture_stdout=True,
            stderr=subprocess.STDOUT if stderr else subprocess.DEVNULL,
            check=False,
        )
        return done.returncode, " ".join(done.stdout.decode().split())


@attrs.frozen(eq=False)
class Here:
    """Runs the command in this process, for what needs no server: no start of an interpreter."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            app(arguments)
        said = self.capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, " ".join((said.out + said.err).split())
