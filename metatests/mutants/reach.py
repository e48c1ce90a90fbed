"""Which tests reach which line of `cache/`.

Coverage contexts tell it for what runs in this process, threads included. A test that starts other
processes may reach anything in them, so it counts as reaching every line, and comes last.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys

import coverage

from .operators import Mutant

CONFIG = """
[run]
source = cache
data_file = {folder}/reach
disable_warnings = no-data-collected, module-not-measured
core = ctrace
"""


@dataclasses.dataclass
class Reach:
    """The tests by line of each module, and those that start other processes."""

    lines: dict[str, dict[int, set[str]]]
    outside: set[str]

    def of_lines(self, path: str, lines: range) -> set[str]:
        """Return the tests that run any of these lines after import."""
        reached = self.lines.get(path, {})
        return set().union(*(reached.get(line, set()) for line in lines))

    def ranked(self, mutant: Mutant, functions: dict[str, list[range]]) -> list[set[str]]:
        """Return the tests that may notice a mutant, the likelier ones first.

        For what is run at import, these are the tests that reach the functions that use it, then
        all that reach the module. `functions` gives those functions' lines by what they name.
        """
        path = mutant.path
        everywhere = range(1, max(self.lines.get(path, {}), default=0) + 1)
        if not mutant.at_import:
            near = self.of_lines(path, mutant.lines) or self.of_lines(path, mutant.body)
            return [near, self.outside]
        near = self.of_lines(path, mutant.body)
        for name in mutant.names:
            for lines in functions.get(name, []):
                near |= self.of_lines(path, lines)
        return [near, self.of_lines(path, everywhere), self.outside]


def measured(project: pathlib.Path, folder: pathlib.Path, suites: list[str]) -> Reach:
    """Run `suites` of `project` under coverage, and return what each test reaches."""
    (folder / "coveragerc").write_text(CONFIG.format(folder=folder))
    run = [sys.executable, "-m", "metatests.mutants.reach", folder / "coveragerc", folder, *suites]
    with open(folder / "reach.log", "wb") as log:
        subprocess.run(run, cwd=project, check=True, stdout=log, stderr=log)
    data = coverage.CoverageData(str(folder / "reach"))
    data.read()
    lines: dict[str, dict[int, set[str]]] = {}
    for file in data.measured_files():
        path = pathlib.Path(file).relative_to(project).as_posix()
        lines[path] = {
            line: set(contexts) - {""} for line, contexts in data.contexts_by_lineno(file).items()
        }
    return Reach(lines, set(json.loads((folder / "outside.json").read_text())))


def _main(config: str, folder: str, *suites: str) -> None:
    measuring = coverage.Coverage(config_file=config)
    measuring.start()
    import pytest

    from .plugin import ARGUMENTS, settle
    from .plugin import Reach as Plugin

    settle()
    plugin = Plugin()
    pytest.main([*ARGUMENTS, *suites], plugins=[plugin])
    measuring.stop()
    measuring.save()
    (pathlib.Path(folder) / "outside.json").write_text(json.dumps(sorted(plugin.outside)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
