"""The README's examples do what their comments say."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_every_line_of_the_examples_gives_what_its_comment_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = "\n".join(EXAMPLES)
    lines, names, checked = source.splitlines(), {"__name__": "readme"}, 0
    for node in ast.parse(source).body:
        code = ast.unparse(node)
        comment = lines[node.end_lineno - 1].partition("  # ")[2]
        if isinstance(node, ast.Expr) and comment:
            assert eval(code, names) == ast.literal_eval(comment), code
            checked += 1
        else:
            exec(code, names)

    assert checked == source.count("  # ") - 1  # one says units
    names["cache"].close()
    names["restarted"].close()
