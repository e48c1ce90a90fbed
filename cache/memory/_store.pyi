# The compiled store has the types of its twin.
from ._store_py import Snapshot as Snapshot
from ._store_py import Store as Store
from ._store_py import Walk as Walk
from ._store_py import specialize as specialize

KIND: str
