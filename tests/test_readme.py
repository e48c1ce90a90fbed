"""The README's example does what its comments say."""

import ast
import pathlib
import re

README = pathlib.Path(__file__).parent.parent / "README.md"


def test_every_line_of_the_example_gives_what_its_comment_says(tmp_path):
    example = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert example is not None
    names = {}
    checked = 0
    for line in example[1].replace("/tmp", str(tmp_path)).splitlines():
        code, _, comment = line.partition("  #")
        try:
            expected = ast.literal_eval(comment.strip())
        except SyntaxError:
            exec(code, names)
        else:
            assert eval(code, names) == expected
            checked += 1

    assert checked == 5
    names["cache"].close()
