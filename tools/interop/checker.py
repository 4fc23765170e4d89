"""The checker of histories is tried itself: histories that are one, and histories that must be refused."""
from load import Did, check_register

KEY = "/r"


def write(asked, done, version, value, expected=None):
    return Did("set", KEY, asked, done, version, value, version - 1 if expected is None else expected)


def doubt(asked, expected, value):
    return Did("set", KEY, asked, None, None, value, expected)


def read(asked, done, version, value, kind="read"):
    return Did(kind, KEY, asked, done, version, value, None)


def miss(asked, done, expected):
    return Did("miss", KEY, asked, done, expected, None, expected)


FIRST = write(1, 2, 1, b"a")
SECOND = write(3, 4, 2, b"b")

# name, history with the final read, what the refusal says (None: it is one history)
TRIALS = (
    ("nothing but the start", [read(9, 9, 0, b"start", "sync")], None),
    ("two writes in order", [FIRST, SECOND, read(9, 9, 2, b"b", "sync")], None),
    ("writes at the same time, in either order", [write(1, 4, 2, b"a"), write(1, 4, 1, b"b"),
                                                  read(9, 9, 2, b"a", "sync")], None),
    ("a stale read that promised nothing", [FIRST, SECOND, read(5, 6, 1, b"a"), read(9, 9, 2, b"b", "sync")], None),
    ("a write in doubt that happened", [FIRST, doubt(3, 1, b"b"), read(9, 9, 2, b"b", "sync")], None),
    ("a write in doubt that did not", [FIRST, doubt(3, 1, b"b"), read(9, 9, 1, b"a", "sync")], None),
    ("a write in doubt beneath others", [FIRST, doubt(3, 1, b"b"), write(5, 6, 3, b"c"),
                                         read(9, 9, 3, b"c", "sync")], None),
    ("a refusal after another's write", [FIRST, miss(1, 3, 0), read(9, 9, 1, b"a", "sync")], None),
    ("a lost write", [FIRST, SECOND, read(9, 9, 1, b"a", "sync")], "version 2 is lost"),
    ("a lost write, written over", [FIRST, write(5, 6, 1, b"c"), read(9, 9, 1, b"c", "sync")], "acknowledged twice"),
    ("a version that nobody wrote", [FIRST, write(5, 6, 3, b"c"), read(9, 9, 3, b"c", "sync")], "nobody wrote"),
    ("a write at the wrong version", [FIRST, write(5, 6, 2, b"c", 0), read(9, 9, 2, b"c", "sync")], "follows 0"),
    ("writes against time", [write(5, 6, 1, b"a"), write(1, 2, 2, b"b"), read(9, 9, 2, b"b", "sync")],
     "was asked after version 2 was known"),
    ("a value of nobody", [FIRST, read(5, 6, 1, b"x"), read(9, 9, 1, b"a", "sync")], "written was"),
    ("a read before its write", [write(5, 6, 1, b"a"), read(1, 2, 1, b"a"), read(9, 9, 1, b"a", "sync")],
     "was asked after version 1 was known"),
    ("a stale read behind a sync", [FIRST, SECOND, read(5, 6, 1, b"a", "sync"), read(9, 9, 2, b"b", "sync")],
     "behind a sync"),
    ("a refusal before there was a reason", [miss(1, 2, 0), write(5, 6, 1, b"a"), read(9, 9, 1, b"a", "sync")],
     "before there was another"),
)


def trials():
    """Yields (name, problem or empty)."""
    for name, history, wanted in TRIALS:
        found = check_register(KEY, history)
        if wanted is None:
            yield "one history: " + name, "; ".join(found)
        else:
            yield "refused: " + name, "" if any(wanted in line for line in found) else "found only %s" % found
