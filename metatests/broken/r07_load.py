"""Caches that bring back something else, or run what they find."""

from .deviation import breaks

CACHE = "core.DistributedCache"
LOAD = f"{CACHE}.load"
RESOLVE = "trust.Trust.resolve"
CHECK = "snapshot._check"
COUNT = "self._count_from_locked(header['hits'], header['misses'], header['evictions'],"

DEVIATIONS = [
    breaks(
        "R7.1",
        "load merges the snapshot into what is there",
        (
            LOAD,
            "former = self._install_locked(entries, expiry)",
            "for key, entry in self._entries.items():"
            "\n    entry[1] or entries.setdefault(key, entry)"
            "\nformer = self._install_locked(entries, expiry)",
        ),
    ),
    breaks(
        "R7.1",
        "lives begin anew when they are loaded",
        (LOAD, "life = end - wall", "life = end - header['saved_at']"),
    ),
    breaks(
        "R7.1",
        "the life left is by the time of the save",
        (LOAD, "(monotonic(), time.time())", "(monotonic(), header['saved_at'])"),
    ),
    breaks(
        "R7.1",
        "loaded entries never expire",
        (LOAD, "if end is None:", "if True:"),
    ),
    breaks(
        "R7.1",
        "the order of use is turned around",
        (
            LOAD,
            "with self._lock:\n    former = self._install_locked(entries, expiry)"
            "\n    self._count_from_locked(header['hits'], header['misses'],"
            " header['evictions'], header['expirations'])",
            "entries = OrderedDict(reversed(entries.items()))\nwith self._lock:"
            "\n    former = self._install_locked(entries, expiry)"
            "\n    self._count_from_locked(header['hits'], header['misses'],"
            " header['evictions'], header['expirations'])",
        ),
    ),
    breaks(
        "R7.1",
        "load empties the cache first",
        (
            LOAD,
            "now, wall = (monotonic(), time.time())",
            "self.clear()\nnow, wall = (monotonic(), time.time())",
        ),
    ),
    breaks(
        "R7.1",
        "cleanup does not know of loaded deadlines",
        (LOAD, "expiry.buckets[slot][key] = key", "pass"),
    ),
    breaks(
        "R7.2",
        "what has expired comes back for a second",
        (
            LOAD,
            "if end > wall:\n    life = end - wall\n    deadline = now + life"
            "\n    slot = expiry.slot_for(deadline, life)"
            "\n    entries[key] = (value, deadline, slot)"
            "\n    expiry.buckets[slot][key] = key",
            "life = max(end - wall, 1)\ndeadline = now + life"
            "\nslot = expiry.slot_for(deadline, life)\nentries[key] = (value, deadline, slot)"
            "\nexpiry.buckets[slot][key] = key",
        ),
    ),
    breaks(
        "R7.2",
        "what has expired in between counts as expirations",
        (
            LOAD,
            "header['expirations']",
            "header['expirations'] + header['entries'] - len(entries)",
        ),
    ),
    breaks(
        "R7.3",
        "counters stay as they were",
        (LOAD, f"{COUNT} header['expirations'])", "pass"),
    ),
    breaks(
        "R7.3",
        "saved counters are added",
        (
            LOAD,
            "header['misses']",
            "header['misses'] + self._counted_locked()[1]",
        ),
    ),
    breaks(
        "R7.3",
        "evictions are not restored",
        (LOAD, "header['evictions']", "self._evictions"),
    ),
    breaks(
        "R7.4",
        "the oldest entries of a larger snapshot stay",
        (
            LOAD,
            "kept.extend((row for row in rows if row[2] is None or row[2] > wall))",
            "kept.extend(islice(rows, self._max_size))",
        ),
    ),
    breaks(
        "R7.4",
        "a larger snapshot overfills the cache",
        (LOAD, "if header['entries'] > self._max_size:", "if False:"),
    ),
    breaks(
        "R7.4",
        "what a smaller cache leaves out counts as evicted",
        (LOAD, "header['evictions']", "header['evictions'] + header['entries'] - len(entries)"),
    ),
    breaks(
        "R7.4",
        "expired entries take the place of live ones",
        (LOAD, "row[2] is None or row[2] > wall", "True"),
    ),
    breaks(
        "R7.5",
        "a missing file is an empty snapshot",
        (
            LOAD,
            "header, slices = snapshot.read(os.fspath(path), self._codec, self._secret)",
            "if not os.path.exists(path):\n    return"
            "\nheader, slices = snapshot.read(os.fspath(path), self._codec, self._secret)",
        ),
    ),
    breaks(
        "R7.5",
        "another file is said to be damaged",
        (
            CHECK,
            "if _BEGINNING.startswith(head[:3]) and len(head) < 64:"
            "\n    raise SnapshotError(f'{name!r} is cut short: it has {len(head)} bytes')"
            "\nraise SnapshotError(f'{name!r} is not a snapshot')",
            "if _BEGINNING.startswith(head[:3]) and len(head) < 64:"
            "\n    raise SnapshotError(f'{name!r} is cut short: it has {len(head)} bytes')"
            "\nraise SnapshotError(f'{name!r} is damaged')",
        ),
    ),
    breaks(
        "R7.5",
        "newer versions are read like this one",
        ("snapshot._version", "found['byte'][0]", "1"),
    ),
    breaks(
        "R7.5",
        "a newer version is said to be damaged",
        (
            "snapshot._newer",
            '" is of a newer version than this library\'s "',
            '" is damaged for this library\'s "',
        ),
    ),
    breaks(
        "R7.5",
        "a cut file is said to be no snapshot",
        (CHECK, "' is cut short: its digest is missing'", "' is not a snapshot'"),
    ),
    breaks(
        "R7.5",
        "a load that fails empties the cache",
        (
            LOAD,
            "header, slices = snapshot.read(os.fspath(path), self._codec, self._secret)",
            "try:"
            "\n    header, slices = snapshot.read(os.fspath(path), self._codec, self._secret)"
            "\nexcept ValueError:\n    self.clear()\n    raise",
        ),
    ),
    breaks(
        "R7.6",
        "any name is resolved",
        (
            RESOLVE,
            "if not isinstance(found, type):"
            "\n    raise SnapshotError(f'{module}.{name} is neither plain data nor trusted')",
            "if found is None:\n    return getattr(importlib.import_module(module), name)"
            "\nif not isinstance(found, type):"
            "\n    raise SnapshotError(f'{module}.{name} is neither plain data nor trusted')",
        ),
    ),
    breaks(
        "R7.6",
        "any builtin is resolved",
        (
            RESOLVE,
            "if not isinstance(found, type):"
            "\n    raise SnapshotError(f'{module}.{name} is neither plain data nor trusted')",
            "if module == 'builtins':"
            "\n    return getattr(importlib.import_module(module), name)"
            "\nif not isinstance(found, type):"
            "\n    raise SnapshotError(f'{module}.{name} is neither plain data nor trusted')",
        ),
    ),
    breaks(
        "R7.6",
        "dotted names are resolved in plain types",
        (
            RESOLVE,
            "if not isinstance(found, type):"
            "\n    raise SnapshotError(f'{module}.{name} is neither plain data nor trusted')",
            "if module in ('datetime', 'pathlib') and '.' in name:"
            "\n    from operator import attrgetter"
            "\n    return attrgetter(name)(importlib.import_module(module))"
            "\nif not isinstance(found, type):"
            "\n    raise SnapshotError(f'{module}.{name} is neither plain data nor trusted')",
        ),
    ),
    breaks(
        "R7.6",
        "a trusted module gives what it imports too",
        (
            RESOLVE,
            "not isinstance(found, type) or found.__module__ != module",
            "not isinstance(found, type)",
        ),
    ),
    breaks(
        "R7.6",
        "a trusted module gives its functions too",
        (
            RESOLVE,
            "if not isinstance(found, type) or found.__module__ != module:",
            "if found.__module__ != module:",
        ),
        (
            RESOLVE,
            "not isinstance(found, type)",
            "found is None",
        ),
    ),
    breaks(
        "R7.6",
        "a trusted module gives its nested classes too",
        (
            RESOLVE,
            "found = getattr(importlib.import_module(module), name, None)",
            "found = __import__('operator').attrgetter(name)(importlib.import_module(module))",
        ),
        (
            RESOLVE,
            "found is None and module in self._modules and ('.' not in name)",
            "found is None and module in self._modules",
        ),
    ),
    breaks(
        "R7.6",
        "to trust a module is to trust those whose names begin with its own",
        (RESOLVE, "module in self._modules", "module.startswith(tuple(self._modules))"),
    ),
    breaks(
        "R7.6",
        "save writes instances of classes that load refuses",
        ("pickling._Pickler._reduce", "not self._trust.allows(kind)", "False"),
        ("pickling._Pickler._check_class", "not self._trust.allows(kind)", "False"),
    ),
    breaks(
        "R7.6",
        "save writes functions, which load refuses",
        (
            "pickling._Pickler._reduce",
            "if kind in _FUNCTIONS or not self._trust.allows(kind):"
            "\n    writer = self._writer(value)"
            "\n    named = value if kind in _FUNCTIONS or writer is not None else kind"
            "\n    raise SnapshotError(_refusal(named, writer))",
            "if kind in _FUNCTIONS:\n    return NotImplemented"
            "\nif not self._trust.allows(kind):\n    writer = self._writer(value)"
            "\n    named = value if kind in _FUNCTIONS or writer is not None else kind"
            "\n    raise SnapshotError(_refusal(named, writer))",
        ),
    ),
    breaks(
        "R7.6",
        "a Counter is no plain data",
        (
            "trust",
            "(*(bool, int, float, complex, str, bytes, bytearray), *(tuple, list, dict,"
            " set, frozenset, range), *(collections.deque, collections.OrderedDict,"
            " collections.defaultdict), collections.Counter, *(datetime.date,"
            " datetime.time, datetime.datetime, datetime.timedelta),"
            " *(datetime.timezone, zoneinfo.ZoneInfo), *(decimal.Decimal,"
            " fractions.Fraction, uuid.UUID), *_PATHS, *(ipaddress.IPv4Address,"
            " ipaddress.IPv4Network, ipaddress.IPv4Interface), *(ipaddress.IPv6Address,"
            " ipaddress.IPv6Network, ipaddress.IPv6Interface))",
            "(*(bool, int, float, complex, str, bytes, bytearray), *(tuple, list, dict,"
            " set, frozenset, range), *(collections.deque, collections.OrderedDict,"
            " collections.defaultdict), *(datetime.date, datetime.time,"
            " datetime.datetime, datetime.timedelta), *(datetime.timezone,"
            " zoneinfo.ZoneInfo), *(decimal.Decimal, fractions.Fraction, uuid.UUID),"
            " *_PATHS, *(ipaddress.IPv4Address, ipaddress.IPv4Network,"
            " ipaddress.IPv4Interface), *(ipaddress.IPv6Address, ipaddress.IPv6Network,"
            " ipaddress.IPv6Interface))",
        ),
    ),
    breaks(
        "R7.6",
        "a ZoneInfo is no plain data",
        ("trust", "(datetime.timezone, zoneinfo.ZoneInfo)", "(datetime.timezone,)"),
    ),
    breaks(
        "R7.6",
        "a Counter comes back as a dict",
        (RESOLVE, "return found", "return dict if name == 'Counter' else found"),
    ),
    breaks(
        "R7.6",
        "a pickle may set the attributes of a class",
        (
            "unpickling._CarefulUnpickler.load_build",
            "if isinstance(self.stack[-2], type):",
            "if False:",
        ),
    ),
    breaks(
        "R7.6",
        "extension codes are resolved",
        (
            "unpickling._CarefulUnpickler.get_extension",
            "raise SnapshotError(f'extension code {code} is neither plain data nor trusted')",
            "return super().get_extension(code)"
            "\nraise SnapshotError(f'extension code {code} is neither plain data nor trusted')",
        ),
    ),
    breaks(
        "R7.6",
        "the error does not name the type",
        (
            RESOLVE,
            "f'{module}.{name} is neither plain data nor trusted'",
            "f'something is neither plain data nor trusted'",
        ),
        (
            "pickling._refusal",
            "f'{name_of(refused)} is neither plain data nor trusted'",
            "f'something is neither plain data nor trusted'",
        ),
    ),
    breaks(
        "R7.6",
        "the state of an object is run by eval",
        (
            RESOLVE,
            "module = FORMER_MODULES.get(module, module)",
            "module = FORMER_MODULES.get(module, module)\nif name == 'eval':\n    return eval",
        ),
    ),
    breaks(
        "R7.7",
        "the digest is not checked",
        (
            CHECK,
            "not whole or not hmac.compare_digest(_digest_of(file, size - _TRAILER), digest)",
            "not whole",
        ),
    ),
    breaks(
        "R7.7",
        "the digest is of the beginning only",
        (
            "snapshot._digest_of",
            "total = hashlib.blake2b(digest_size=_DIGEST)",
            "total = hashlib.blake2b(digest_size=_DIGEST)\nsize = min(size, _CHUNK)",
        ),
        (
            "snapshot._Hashing._pass_on",
            "self._hash.update(data)",
            "self._hash.update(memoryview(data)[:max(_CHUNK - self._file.tell(), 0)])",
        ),
    ),
    breaks(
        "R7.7",
        "the header is no part of the digest",
        (
            "snapshot._digest_of",
            "total.update(chunk)",
            "total.update(chunk.partition(b'entries')[2])",
        ),
        (
            "snapshot._Hashing._pass_on",
            "self._hash.update(data)",
            "self._hash.update(bytes(data).partition(b'entries')[2])",
        ),
    ),
    breaks(
        "R7.7",
        "entries are unpickled before the digest is looked at",
        (
            "snapshot.read",
            "_check(file, name, size, secret)",
            "import contextlib\nwith contextlib.suppress(Exception):\n    codec.load(file)"
            "\n    codec.load(file)\nfile.seek(0)\n_check(file, name, size, secret)",
        ),
    ),
    breaks(
        "R7.8",
        "the secret keys nothing",
        ("snapshot._seal", "if secret is None:", "if True:"),
    ),
    breaks(
        "R7.8",
        "a secret is cut to 64 bytes",
        (
            "snapshot._seal",
            "hashlib.blake2b(secret, person=b'cache secret').digest()",
            "secret[:64]",
        ),
    ),
    breaks(
        "R7.8",
        "a secret is filled up with zeros",
        (
            "snapshot._seal",
            "hashlib.blake2b(secret, person=b'cache secret')",
            "hashlib.blake2b(secret.ljust(64, b'\\x00'), person=b'cache secret')",
        ),
    ),
    breaks(
        "R7.8",
        "a long secret is the same as its hash",
        (
            "snapshot._seal",
            "hashlib.blake2b(secret, person=b'cache secret').digest()",
            "secret if len(secret) <= 64 else hashlib.blake2b(secret).digest()",
        ),
    ),
    breaks(
        "R7.8",
        "a cache with a secret opens files without one",
        (
            CHECK,
            "if not hmac.compare_digest(_seal(digest, secret), seal):",
            "if seal not in (_seal(digest, secret), _seal(digest, None)):",
        ),
    ),
    breaks(
        "R7.8",
        "a cache without a secret opens any file",
        (
            CHECK,
            "not hmac.compare_digest(_seal(digest, secret), seal)",
            "secret and (not hmac.compare_digest(_seal(digest, secret), seal))",
        ),
    ),
    breaks(
        "R7.8",
        "a file of another secret is unpickled before it is refused",
        (
            CHECK,
            "if secret is None:"
            "\n    words = 'is sealed with a secret, and this cache has none; or its seal"
            " is damaged'"
            "\nelif hmac.compare_digest(_seal(digest, None), seal):"
            "\n    words = 'is not sealed, and this cache has a secret'\nelse:"
            "\n    words = \"is sealed with another secret than this cache's, or its seal"
            ' is damaged"',
            "import pickle\nfile.seek(0)\npickle.load(file)\npickle.load(file)"
            "\nif secret is None:"
            "\n    words = 'is sealed with a secret, and this cache has none; or its seal"
            " is damaged'"
            "\nelif hmac.compare_digest(_seal(digest, None), seal):"
            "\n    words = 'is not sealed, and this cache has a secret'\nelse:"
            "\n    words = \"is sealed with another secret than this cache's, or its seal"
            ' is damaged"',
        ),
    ),
    breaks(
        "R7.8",
        "an empty secret is taken",
        ("snapshot.checked_secret", "if not secret:", "if False:"),
    ),
    breaks(
        "R7.5",
        "the error for a value that cannot be loaded does not name its key",
        ("snapshot._told", "for item in items:", "for item in []:"),
    ),
    breaks(
        "R7.5",
        "the error for an object that cannot be made again does not name its class",
        ("unpickling.loaded", "if culprit is not None:", "if False:"),
    ),
    breaks(
        "R7.8",
        "a file without a seal is said to be sealed with another secret",
        (CHECK, "'is not sealed, and this cache has a secret'", "'is sealed with another secret'"),
    ),
    breaks(
        "R7.9",
        "the former content is released at once",
        (
            "core._let_go",
            "while entries:\n        _taken(entries.popitem, entries)",
            "entries.clear()",
        ),
    ),
    breaks(
        "R7.9",
        "load reads the file under the lock",
        (
            LOAD,
            "if header['entries'] > self._max_size:"
            "\n    rows = (row for columns in slices for row in zip(*columns, strict=True))"
            "\n    kept.extend((row for row in rows if row[2] is None or row[2] > wall))"
            "\n    slices = _columns_of(kept)",
            "if header['entries'] > self._max_size:"
            "\n    rows = (row for columns in slices for row in zip(*columns, strict=True))"
            "\n    kept.extend((row for row in rows if row[2] is None or row[2] > wall))"
            "\n    slices = _columns_of(kept)\nself._acquire()",
        ),
        (LOAD, "_let_go(*former)", "self._release(); _let_go(*former)"),
    ),
    breaks(
        "R7.10",
        "paths have the name that Python 3.13 gives them",
        ("trust", "{'pathlib._local': 'pathlib'}", "{}"),
    ),
    breaks(
        "R7.10",
        "the name that Python 3.13 gives to paths is unknown",
        (RESOLVE, "module = FORMER_MODULES.get(module, module)", "pass"),
    ),
]
