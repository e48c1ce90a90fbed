"""What the documents and the kit say of `RedisCache` is what its docstring says."""

import inspect
import pathlib
import re

import cache
from cache.redis_cache import RedisCache
from tests.redis import kit

DOCS = pathlib.Path(__file__).parents[2] / "docs"
CANNOT = "These clauses of the contract it cannot keep."
RESTRICTED = "These clauses it keeps, with a restriction:"


def lists() -> str:
    """Return the two lists of clauses in the docstring."""
    documented = inspect.getdoc(RedisCache) or ""
    return documented[documented.index(CANNOT) :]


def clauses(text: str) -> list[str]:
    """Return the clauses that the items of a list are about."""
    items = re.findall(r"^- ((?:R[\d.]+(?:, )?)+):", text, re.MULTILINE)
    return [clause for item in items for clause in item.split(", ")]


def test_the_suites_leave_out_the_clauses_that_it_cannot_keep_and_no_others():
    cannot, _, restricted = lists().partition(RESTRICTED)

    assert sorted(clauses(cannot)) == sorted(kit.EXCEPTED.split(","))
    assert set(clauses(cannot)).isdisjoint(clauses(restricted))


def test_each_item_of_the_lists_is_about_clauses_of_the_contract():
    contract = (DOCS / "contract.md").read_text("utf-8")
    named = clauses(lists())

    assert lists().count("\n- ") == len(re.findall(r"^- R\d", lists(), re.MULTILINE))
    assert len(named) == len(set(named)) > 15
    for clause in named:
        requirement = clause.partition(".")[0]
        assert re.search(rf"\b{requirement}\b", contract), clause


def test_the_document_has_the_lists_of_the_docstring():
    document = (DOCS / "redis.md").read_text("utf-8")

    assert document.count(lists()) == 1
    assert document.count(CANNOT) == document.count(RESTRICTED) == 1


def test_the_document_says_where_it_is_imported_from():
    document = (DOCS / "redis.md").read_text("utf-8")

    assert "from cache import RedisCache" in document
    assert cache.RedisCache is RedisCache
