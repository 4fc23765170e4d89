"""Lines of results, and their count for the exit code."""
import threading

results = []
skipped = []
lock = threading.Lock()


def check(name, good, details=""):
    """One result: a line, and the details of a failure."""
    with lock:
        results.append(bool(good))
        print("%s %s%s" % ("ok  " if good else "FAIL", name, "" if good else "\n" + details), flush=True)
    return bool(good)


def skip(name, why):
    """What could not be looked at on this machine."""
    with lock:
        skipped.append(name)
        print("skip %s: %s" % (name, why), flush=True)


def note(text):
    """A figure or a remark that decides nothing."""
    with lock:
        print("     " + text, flush=True)


def finish():
    """The closing line; the exit code."""
    print("%d passed, %d failed, %d skipped"
          % (results.count(True), len(results) - results.count(True), len(skipped)))
    return 0 if results and all(results) else 1
