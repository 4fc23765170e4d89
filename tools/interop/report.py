"""Lines of results, and their count for the exit code."""
import threading

results = []
lock = threading.Lock()


def check(name, good, details=""):
    """One result: a line, and the details of a failure."""
    with lock:
        results.append(bool(good))
        print("%s %s%s" % ("ok  " if good else "FAIL", name, "" if good else "\n" + details), flush=True)
    return bool(good)


def note(text):
    """A figure or a remark that decides nothing."""
    with lock:
        print("     " + text, flush=True)


def finish():
    """The closing line; the exit code."""
    print("%d passed, %d failed" % (results.count(True), len(results) - results.count(True)))
    return 0 if results and all(results) else 1
