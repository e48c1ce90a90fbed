"""Mutants of `cache/`: every small edit of the source, each of which some test has to notice.

    python -m metatests.mutants                     # of all modules; writes metatests/results/
    python -m metatests.mutants expiry remote/link  # of these only; prints what survives

operators   what is edited, and how
reach       which tests reach which line, and what each test costs
workers     one patched copy of the project for each process, in which a mutant meets its tests
verdicts    what is known from former runs, and what is listed as equivalent
report      the tables
"""
