"""Caches whose snapshots are not whole, not plain or not of one moment."""

from .deviation import breaks

CACHE = "core.DistributedCache"
SAVE = f"{CACHE}.save"
WRITE = "atomic_file.write"

DEVIATIONS = [
    breaks(
        "R6.4",
        "the snapshot is written in place",
        (
            WRITE,
            "os.replace(unfinished, target)",
            "open(target, 'wb').write(open(unfinished, 'rb').read()); os.unlink(unfinished)",
        ),
    ),
    breaks(
        "R6.1",
        "the header does not tell of expirations",
        (
            f"{CACHE}._header_locked",
            "{'saved_at': time.time(), 'hits': hits, 'misses': misses, 'evictions':"
            " self._evictions, 'expirations': self._expirations}",
            "{'saved_at': time.time(), 'hits': hits, 'misses': misses, 'evictions':"
            " self._evictions}",
        ),
    ),
    breaks(
        "R6.1",
        "the header has other counters than the moment",
        (
            f"{CACHE}._header_locked",
            "{'saved_at': time.time(), 'hits': hits, 'misses': misses, 'evictions':"
            " self._evictions, 'expirations': self._expirations}",
            "{'saved_at': time.time(), 'hits': misses, 'misses': 0, 'evictions':"
            " self._evictions, 'expirations': self._expirations}",
        ),
    ),
    breaks(
        "R6.1",
        "expires_at stands before the value",
        (SAVE, "zip(part, values, deadlines, strict=True)", "zip(part, deadlines, values)"),
    ),
    breaks(
        "R6.1",
        "keys are written as bytes",
        (
            SAVE,
            "zip(part, values, deadlines, strict=True)",
            "zip(map(str.encode, part), values, deadlines, strict=True)",
        ),
    ),
    breaks(
        "R6.1",
        "there is no digest behind the entries",
        ("snapshot.write", "file.write(_MARK + digest + _seal(digest, secret) + _MARK)", "pass"),
    ),
    breaks(
        "R6.1",
        "the first entries only are written where there are many",
        ("snapshot.write", "size = min(size * 2, _MOST_ROWS)", "size = 2 * size; rows(size)"),
    ),
    breaks(
        "R6.2",
        "expired entries are written",
        (SAVE, "if expired:", "if False:"),
    ),
    breaks(
        "R6.2",
        "expires_at is by the monotonic clock",
        (SAVE, "end + epoch", "end"),
    ),
    breaks(
        "R6.2",
        "expires_at is the life left",
        (SAVE, "end + epoch", "end - now"),
    ),
    breaks(
        "R6.2",
        "expires_at is left out where most entries have none",
        (SAVE, "deadlines.count(None) < len(deadlines)", "deadlines.count(None) == 0"),
        (
            SAVE,
            "return list(zip(part, values, deadlines, strict=True))",
            "deadlines = [end and min(end, 0) for end in deadlines] if None in deadlines"
            " else deadlines"
            "\nreturn list(zip(part, values, deadlines, strict=True))",
        ),
    ),
    breaks(
        "R6.3",
        "entries are written from most to least recently used",
        (SAVE, "keys.reverse()\nentries.reverse()", "pass"),
    ),
    breaks(
        "R6.3",
        "entries are written in the order in which they were stored",
        (
            f"{CACHE}._walk_locked",
            "order = iter(entries)",
            "order = iter(list(dict.keys(entries)))",
        ),
    ),
    breaks(
        "R6.3",
        "entries are written by key",
        (
            f"{CACHE}._walk_locked",
            "return (keys, found)",
            "return (sorted(keys), [entries[key] for key in sorted(keys)])",
        ),
    ),
    breaks(
        "R6.4",
        "the file is not flushed to disk",
        (WRITE, "os.fsync(descriptor)", "pass"),
    ),
    breaks(
        "R6.4",
        "the file is flushed to disk before all of it has left the process",
        (
            WRITE,
            "os.fsync(descriptor)\nos.replace(unfinished, target)",
            "os.replace(unfinished, target)",
        ),
        (WRITE, "fill(file)", "fill(file); os.fsync(descriptor)"),
    ),
    breaks(
        "R6.4",
        "the folder is not flushed",
        (WRITE, "_flush_folder(folder)", "pass"),
    ),
    breaks(
        "R6.4",
        "the file is flushed after it was renamed",
        (
            WRITE,
            "os.fsync(descriptor)\nos.replace(unfinished, target)",
            "os.replace(unfinished, target)\nos.fsync(descriptor)",
        ),
    ),
    breaks(
        "R6.4",
        "the old file is removed first",
        (WRITE, "fill(file)", "os.path.exists(target) and os.unlink(target); fill(file)"),
    ),
    breaks(
        "R6.4",
        "a symbolic link is replaced by the file",
        (WRITE, "os.path.realpath", "os.path.abspath"),
        ("atomic_file._refuse_unless_file", "if stat.S_ISLNK(mode):", "if False:"),
    ),
    breaks(
        "R6.5",
        "a value that is refused is left out",
        (
            "snapshot._write_slice",
            "raise SnapshotError(f'the value at {key!r} cannot be saved: {error}') from error",
            "return stream.write(codec.dumps_rows([(key, None, rows[0][2])], False))",
        ),
    ),
    breaks(
        "R6.5",
        "the error for a refused value does not name the key",
        (
            "snapshot._write_slice",
            "f'the value at {key!r} cannot be saved: {error}'",
            "f'a value cannot be saved: {error}'",
        ),
    ),
    breaks(
        "R6.5",
        "a save that fails drops the entry that it could not write",
        (
            SAVE,
            "snapshot.write(target, header, rows, self._codec, self._secret)",
            "try:\n    snapshot.write(target, header, rows, self._codec, self._secret)"
            "\nexcept ValueError:\n    self.clear()\n    raise",
        ),
    ),
    breaks(
        "R6.5",
        "a save that fails leaves an empty file",
        (WRITE, "os.unlink(unfinished)", "os.truncate(target, 0); os.unlink(unfinished)"),
    ),
    breaks(
        "R6.5",
        "a missing folder is made",
        (
            WRITE,
            "_remove_litter(folder, start)",
            "os.makedirs(folder, exist_ok=True); _remove_litter(folder, start)",
        ),
    ),
    breaks(
        "R6.5",
        "a full disk goes unsaid",
        (
            WRITE,
            "with contextlib.suppress(OSError):\n    os.unlink(unfinished)\nraise",
            "with contextlib.suppress(OSError):\n    os.unlink(unfinished)"
            "\nif not os.path.exists(target):\n    raise",
        ),
        (WRITE, "_flush_folder(folder)", "os.path.exists(folder) and _flush_folder(folder)"),
    ),
    breaks(
        "R6.6",
        "values are read while the file is written",
        (
            SAVE,
            "[entry[0] for entry in held]",
            "[self._entries.get(key, entry)[0] for key, entry in zip(part, held)]",
        ),
    ),
    breaks(
        "R6.6",
        "set_many stores its entries one by one",
        (
            f"{CACHE}.set_many",
            "with self._lock:\n    for key, value in pairs:"
            "\n        self._store_locked(key, value, life, gone)",
            "for key, value in pairs:"
            "\n    time.sleep(0)"  # part of the defect: hands the interpreter over
            "\n    with self._lock:"
            "\n        self._store_locked(key, value, life, gone)",
        ),
    ),
    breaks(
        "R6.7",
        "the file is written under the lock",
        (
            SAVE,
            "snapshot.write(target, header, rows, self._codec, self._secret)",
            "with self._lock: snapshot.write(target, header, rows, self._codec, self._secret)",
        ),
    ),
    breaks(
        "R6.7",
        "hits wait until the order of use was walked",
        (f"{CACHE}._walk_locked", "self._touch = self._note", "self._touch = self._touch_waiting"),
    ),
    breaks(
        "R6.7",
        "hits during the walk are forgotten",
        (f"{CACHE}._replay_locked", "entries.move_to_end", "entries.get"),
    ),
    breaks(
        "R6.7",
        "the whole file is made in memory first",
        (
            "snapshot._Hashing.write",
            "if len(data) >= _CHUNK:",
            "if False:",
        ),
        ("snapshot._Hashing.write", "if len(self._pending) >= _CHUNK:", "if False:"),
    ),
    breaks(
        "R6.7",
        "values are copied before they are written",
        (
            SAVE,
            "header['entries'] = len(keys)",
            "header['entries'] = len(keys)"
            "\nentries = [(bytes(bytearray(e[0])), *e[1:]) if type(e[0]) is bytes else e"
            " for e in entries]",
        ),
    ),
    breaks(
        "R6.8",
        "everybody may read the file",
        (WRITE, "384", "420"),
    ),
    breaks(
        "R6.8",
        "the umask takes from the mode",
        (WRITE, "os.fchmod(descriptor, 384)", "pass"),
    ),
    breaks(
        "R6.9",
        "a save that fails leaves its temporary file",
        (WRITE, "os.unlink(unfinished)", "pass"),
    ),
    breaks(
        "R6.9",
        "what a killed save has left stays",
        (WRITE, "_remove_litter(folder, start)", "pass"),
    ),
    breaks(
        "R6.9",
        "the file of a save under way is taken for litter",
        (
            "atomic_file._remove_unless_in_use",
            "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
            "pass",
        ),
    ),
    breaks(
        "R6.9",
        "all saves of a path write to one temporary file",
        ("atomic_file._create", "secrets.token_hex(8)", "'one'"),
    ),
    breaks(
        "R6.10",
        "a value that changes meanwhile raises what pickle raises",
        ("pickling._dumped", "except Exception as error:", "except TypeError as error:"),
    ),
    breaks(
        "R6.10",
        "Python code takes each frame of a large value",
        (
            "pickling._Memory",
            "full = False",
            "full = False\ndef write(self, data):\n    return super().write(data)",
        ),
    ),
    breaks(
        "R6.10",
        "the objects in a container are pickled while it is walked",
        ("pickling._Pickler.met_inside", "return inside", "return []"),
    ),
    breaks(
        "R6.10",
        "a value that changes meanwhile is left out",
        (
            "snapshot._write_slice",
            "raise SnapshotError(f'the value at {key!r} cannot be saved: {error}') from error",
            "if 'again and again' not in str(error):\n    raise"
            "\nreturn stream.write(codec.dumps_rows([(key, None, rows[0][2])], False))",
        ),
    ),
    breaks(
        "R6.5",
        "the error for a refused value names no remedy",
        (
            "pickling._refusal",
            "f'{text}; to save it pass trust=[{name}] or trust=[Portable({name}, dump, load)]'",
            "f'{text} or trust=[Portable({name}, dump, load)]'",
        ),
    ),
]
