"""Memoized functions that return somebody else's result, or cannot be told to forget one."""

from .deviation import breaks

CALL = "memoize.Memoized.__call__"
KEYS = "memoize._Keys"
MAKE = "results.make"

DEVIATIONS = [
    breaks(
        "R11.1",
        "the keys of recent calls are found by value alone",
        (CALL, "shape = type(values)", "shape = 1"),
        (
            CALL,
            "(type(args[0]), type(args[1])) if len(args) == 2 else tuple(map(type, args))",
            "len(args)",
        ),
    ),
    breaks(
        "R11.1",
        "the second argument's type does not count",
        (CALL, "(type(args[0]), type(args[1]))", "(type(args[0]), 2)"),
    ),
    breaks(
        "R11.1",
        "a float's sign of zero is lost in what is remembered",
        ("memoize", "lambda value: value != 0 and value == value", "lambda value: True"),
    ),
    breaks(
        "R11.1",
        "bools are ints",
        ("fingerprint._bool", "b'T' if value else b'F'", "b'i%x;' % value"),
    ),
    breaks(
        "R11.1",
        "floats are complex",
        (
            "fingerprint._float",
            "write(struct.pack('>cd', b'f', value))",
            "_complex(complex(value), write)",
        ),
    ),
    breaks("R11.1", "tuples are lists", ("fingerprint._tuple", "b'('", "b'['")),
    breaks("R11.1", "bytearrays are bytes", ("fingerprint._bytearray", "b'B%x:%b'", "b'b%x:%b'")),
    breaks(
        "R11.1",
        "it does not count where a container ends",
        ("fingerprint._sequence", "write(b'%b%x:' % (tag, len(items)))", "pass"),
    ),
    breaks(
        "R11.1",
        "texts have no length",
        ("fingerprint._str", "b's%x:%b' % (len(raw), raw)", "b's%b' % raw"),
    ),
    breaks(
        "R11.1",
        "numbers are packed whatever their types",
        (
            "fingerprint._sequence",
            "(kind is int or kind is float) and [*map(type, items)].count(kind) == len(items)",
            "kind is int or kind is float",
        ),
    ),
    breaks(
        "R11.1", "the order of a dict counts", ("fingerprint._unordered", "parts.sort()", "pass")
    ),
    breaks(
        "R11.1",
        "keys and values are mixed up",
        (
            "fingerprint._dict",
            "_encoded(key, item)",
            "b''.join(sorted([_encoded(key), _encoded(item)]))",
        ),
    ),
    breaks(
        "R11.1",
        "defaults do not count",
        ("memoize._Parameters.bound", "bound.apply_defaults()", "pass"),
    ),
    breaks(
        "R11.1",
        "the order of keywords counts",
        (
            "memoize._Parameters.bound",
            "{each: item for each, item in value.items() if each not in ignore}",
            "[*value.items()]",
        ),
    ),
    breaks(
        "R11.1",
        "Decimals are numbers",
        ("fingerprint", "value.as_tuple()[:]", "(value.normalize().as_tuple()[:],)"),
    ),
    breaks(
        "R11.1",
        "one moment is one in every zone",
        ("fingerprint._time", "value.tzinfo", "None"),
    ),
    breaks("R11.1", "the fold of a time is lost", ("fingerprint._time", "value.fold", "0")),
    breaks(
        "R11.1",
        "the factory of a defaultdict is lost",
        ("fingerprint", "(value.default_factory, dict(value))", "(dict(value),)"),
    ),
    breaks(
        "R11.1",
        "the bound of a deque is lost",
        ("fingerprint", "(value.maxlen, list(value))", "(list(value),)"),
    ),
    breaks(
        "R11.1",
        "long texts are cut",
        (
            "fingerprint._str",
            "raw = value.encode('utf-8', 'surrogatepass')",
            "raw = value.encode('utf-8', 'replace')",
        ),
    ),
    breaks(
        "R11.2",
        "what is unknown counts by its repr",
        ("fingerprint._other", "_refuse(kind)", "_str(repr(value), write)"),
    ),
    breaks(
        "R11.2",
        "what is unknown counts by its class",
        ("fingerprint._other", "_refuse(kind)", "write(b'c' + _class(kind))"),
    ),
    breaks(
        "R11.2",
        "what is unknown counts by its hash",
        ("fingerprint._other", "_refuse(kind)", "_int(hash(value), write)"),
    ),
    breaks(
        "R11.2",
        "a subclass counts as its base",
        (
            "fingerprint.encode",
            "encoder = _ENCODERS.get(kind)",
            "encoder = next((_ENCODERS[base] for base in kind.__mro__ if base in _ENCODERS), None)",
        ),
    ),
    breaks(
        "R11.2",
        "a lambda counts by its name",
        ("fingerprint._function", "if not naming.leads_back(value):", "if False:"),
    ),
    breaks(
        "R11.2",
        "the error does not name the remedies",
        (
            "fingerprint.canonical",
            "raise TypeError(_refusal(name, refused)) from None",
            "raise TypeError(name) from None",
        ),
    ),
    breaks(
        "R11.2",
        "a refusal is a ValueError",
        (
            "fingerprint.canonical",
            "TypeError(_refusal(name, refused))",
            "ValueError(_refusal(name, refused))",
        ),
    ),
    breaks(
        "R11.2",
        "a list that contains itself breaks the key",
        ("fingerprint.canonical", "except RecursionError:", "except MemoryError:"),
        (
            "fingerprint.canonical",
            "encode(value, write)",
            "encode(value, write) if type(value) is not list or value is not value[0] else None",
        ),
    ),
    breaks(
        "R11.2",
        "an error of the fingerprint names no argument",
        ("fingerprint.fingerprint", "(name, kwargs[name])", "('keyword', kwargs[name])"),
    ),
    breaks(
        "R11.3",
        "hashes of the process are in the key",
        (
            "fingerprint._str",
            "write(b's%x:%b' % (len(raw), raw))",
            "write(b's%x:%b%x' % (len(raw), raw, hash(value)))",
        ),
    ),
    breaks(
        "R11.3",
        "sets are in the order of their hashes",
        ("fingerprint._unordered", "parts.sort()", "pass"),
    ),
    breaks("R11.3", "64 bits have to do", ("fingerprint", "_BITS = 128", "_BITS = 64")),
    breaks(
        "R11.3",
        "the arguments stand in the key",
        (f"{KEYS}.make", "return key", "return key + repr(args)"),
    ),
    breaks(
        "R11.3",
        "every function of a process has a token",
        (f"{KEYS}.__init__", "closures = is_global(function)", "closures = False"),
    ),
    breaks(
        "R11.4",
        "a prefix stands before the function's name",
        (
            f"{KEYS}.__init__",
            "self._prefix = prefix",
            "self._prefix = prefix = prefix + ('' if closures else _named(function))",
        ),
    ),
    breaks(
        "R11.4",
        "what key= makes is digested",
        (f"{KEYS}._given", "return str.__str__(made)", "return digest(made.encode())"),
    ),
    breaks(
        "R11.4",
        "what key= makes is asked for its text",
        (f"{KEYS}._given", "str.__str__(made)", "str(made)"),
    ),
    breaks(
        "R11.4",
        "a tuple from key= counts by its repr",
        (f"{KEYS}._given", "canonical([('key=', made)])", "repr(made).encode()"),
    ),
    breaks(
        "R11.4",
        "anything that key= makes will do",
        (
            f"{KEYS}._given",
            "raise TypeError(f'key= must return a str or a tuple, not {type(made).__name__}')",
            "return repr(made)",
        ),
    ),
    breaks(
        "R11.4",
        "ignored parameters count",
        ("memoize._Parameters.bound", "if name not in ignore:", "if True:"),
    ),
    breaks(
        "R11.4",
        "keywords that the rest takes are not ignored",
        ("memoize._Parameters.bound", "each not in ignore", "True"),
    ),
    breaks(
        "R11.4",
        "ignore= may name what is no parameter",
        ("memoize._Parameters.__init__", "if unknown:", "if False:"),
    ),
    breaks(
        "R11.5",
        "the code does not count",
        (
            f"{KEYS}.make",
            "self._identity.digest + canonical(self._parameters.bound(args, kwargs))",
            "canonical(self._parameters.bound(args, kwargs))",
        ),
    ),
    breaks(
        "R11.5",
        "constants are no code",
        ("functions._bytecode", "tuple((_constant(each) for each in code.co_consts))", "()"),
    ),
    breaks(
        "R11.5",
        "names are no code",
        ("functions._bytecode", "code.co_names", "()"),
    ),
    breaks(
        "R11.5",
        "what a closure holds does not count",
        ("functions.Identity._add_held", "values if self._closures else ()", "()"),
    ),
    breaks(
        "R11.5",
        "what a closure holds counts by its fingerprint or not at all",
        (
            "functions.Identity._add_argument",
            "[b'object', naming.token_of(value).encode()] if self._closures else []",
            "[]",
        ),
    ),
    breaks(
        "R11.5",
        "a lambda has a name that others have",
        ("functions.is_global", "'<' in name", "False"),
    ),
    breaks(
        "R11.5",
        "a partial counts by its function's name",
        (
            f"{KEYS}.__init__",
            "is_global(function)",
            "is_global(getattr(function, 'func', function))",
        ),
        ("memoize._named", "type(function).__qualname__", "'partial'"),
        ("functions.Identity._add_argument", "self._pieces.append(b''.join(pieces))", "pass"),
    ),
    breaks(
        "R11.5",
        "one object has a token each time",
        ("naming.token_of", "if known is not None and known[0]() is thing:", "if False:"),
        ("naming.token_of", "stored = _tokens.setdefault(place, entry)", "stored = entry"),
    ),
    breaks(
        "R11.5",
        "a prefix does not make local functions share",
        (f"{KEYS}.__init__", "if prefix is None:", "if not is_global(function) or prefix is None:"),
    ),
    breaks(
        "R11.6",
        "a method is no descriptor",
        ("memoize.Memoized.__get__", "instance is None or bind is None", "True"),
    ),
    breaks(
        "R11.6",
        "the helpers of a bound method forget it",
        (
            "memoize._Bound.invalidate",
            "self.__func__.invalidate(self.__self__, *args, **kwargs)",
            "self.__func__.invalidate(type(self.__self__), *args, **kwargs)",
        ),
    ),
    breaks(
        "R11.6",
        "a static method is bound",
        ("memoize._unwrapped", "(given.__func__, None)", "(given.__func__, 'instance')"),
    ),
    breaks(
        "R11.6",
        "a class method is bound to its instance",
        ("memoize._unwrapped", "(given.__func__, 'owner')", "(given.__func__, 'instance')"),
    ),
    breaks(
        "R11.6",
        "self does not count",
        (
            "memoize._Parameters.bound",
            "if name not in ignore:",
            "if name not in (*ignore, 'self'):",
        ),
        ("memoize._Parameters.bound", "n not in ignore", "n not in (*ignore, 'self')"),
    ),
    breaks(
        "R11.7",
        "invalidate_all knows no other function's end",
        (f"{KEYS}.__init__", "escape(prefix) + '*'", "prefix + '*'"),
    ),
    breaks(
        "R11.7",
        "invalidate_all removes what has the present code",
        (
            "memoize.Memoized.invalidate_all",
            "return self._cache.delete_pattern(self._keys.pattern)",
            "return self._cache.delete_pattern(self._keys.pattern) if self._keys.remembered else 0",
        ),
    ),
    breaks(
        "R11.7",
        "refresh returns what is stored",
        (
            "memoize.Memoized.refresh",
            "if keep:",
            "if keep and not self._cache.exists(key):",
        ),
    ),
    breaks(
        "R11.7",
        "invalidate always says yes",
        (
            "memoize.Memoized.invalidate",
            "return self._cache.delete(self.key_for(*args, **kwargs))",
            "return self._cache.delete(self.key_for(*args, **kwargs)) or True",
        ),
    ),
    breaks(
        "R11.7",
        "cache_info counts misses as hits",
        (CALL, "next(self._misses)", "next(self._hits)"),
    ),
    breaks(
        "R11.7",
        "bare, it takes the function for a ttl",
        (
            "mixin.CacheMixin.memoize",
            "return decorate(ttl) if bare else decorate",
            "return decorate",
        ),
    ),
    breaks(
        "R11.7",
        "the ttl is forgotten",
        (CALL, "settings.ttl", "None"),
    ),
    breaks(
        "R11.8",
        "iterators are stored",
        (MAKE, "hasattr(kind, '__next__')", "False"),
    ),
    breaks(
        "R11.8",
        "awaitables are stored",
        (MAKE, "hasattr(kind, '__await__') or inspect.isawaitable(value)", "False"),
    ),
    breaks(
        "R11.8",
        "only coroutines are awaitables",
        (
            MAKE,
            "hasattr(kind, '__await__') or inspect.isawaitable(value)",
            "inspect.iscoroutine(value)",
        ),
    ),
    breaks(
        "R11.8",
        "coroutine functions are taken",
        ("memoize._unwrapped", "inspect.iscoroutinefunction(part)", "False"),
    ),
    breaks(
        "R11.8",
        "objects with an asynchronous call are taken",
        ("memoize._unwrapped", "(function, type(function).__call__)", "(function,)"),
    ),
    breaks(
        "R11.8",
        "waiters erase the leader's traceback",
        (
            "flights.Flights.wait",
            "raise flight.error.with_traceback(flight.traceback)",
            "raise flight.error.with_traceback(None)",
        ),
    ),
    breaks(
        "R11.8",
        "an exception is stored for a moment",
        (
            "core.DistributedCache._missed",
            "self._flights.fail(flight, error)",
            "self.set(key, error, 1); self._flights.fail(flight, error)",
        ),
    ),
    breaks(
        "R11.9",
        "store_if is not asked",
        (MAKE, "store_if is None or bool(store_if(value))", "True"),
    ),
    breaks(
        "R11.9",
        "store_if is asked the other way round",
        (MAKE, "bool(store_if(value))", "not store_if(value)"),
    ),
    breaks(
        "R11.9",
        "what store_if refuses is not returned",
        (
            MAKE,
            "(value, store_if is None or bool(store_if(value)))",
            "(value, True) if store_if is None or store_if(value) else (None, False)",
        ),
    ),
    breaks(
        "R11.9",
        "refresh does not ask store_if",
        ("memoize.Memoized.refresh", "if keep:", "if True:"),
    ),
    breaks(
        "R11.9",
        "an error in store_if is a yes",
        (
            MAKE,
            "return (value, store_if is None or bool(store_if(value)))",
            "try:\n    return (value, store_if is None or bool(store_if(value)))"
            "\nexcept Exception:\n    return (value, True)",
        ),
    ),
]
