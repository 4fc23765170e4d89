"""Clients that read and write while servers fail, what they were told, and whether that is one history.

Every client keeps one session with an ephemeral node, goes to another server when a connection is lost, and
writes its own and shared registers by setData with the version it last saw, each time with a value that nobody
else writes, and creates nodes of its own. All answers are remembered with the times of question and answer.
"""
import collections
import contextlib
import itertools
import random
import threading
import time

from live import Expired, Failed, Lost, Malformed, Session

# kind: set, read, sync (a read behind a sync), miss (a set refused for its version), create.
# done is None where the answer never came; version is that of the answer (of the question for a miss).
Did = collections.namedtuple("Did", "kind key asked done version value expected")
SHARED = 3
numbers = itertools.count(1)


class Client(threading.Thread):
    """One session under load until `end` is set."""

    def __init__(self, load, number):
        super().__init__(daemon=True, name="client %d" % number)
        self.load, self.number = load, number
        self.random = random.Random("%s/%d" % (load.seed, number))
        self.session = Session(timeout=10000, wait=load.patience)
        self.done, self.problems = [], []
        # key -> the version to expect at the next write, and the highest that this session saw
        self.seen, self.floor = {}, {}
        self.moves = 0
        self.last = self.count = 0
        self.ephemeral = "%s/ephemeral-%d" % (load.root, number)
        self.born = None

    def attach(self):
        """Any server that takes the session, beginning with a random one."""
        order = list(self.load.addresses)
        self.random.shuffle(order)
        end = time.monotonic() + 40
        while not self.load.ended.is_set() or time.monotonic() < end:
            for address in order:
                with contextlib.suppress(Lost):
                    self.session.attach(address, 1.0)
                    self.moves += 1
                    return True
            if time.monotonic() > end:
                self.problems.append("no server took the session for 40 s")
                return False
            time.sleep(0.02)
        return False

    def run(self):
        try:
            if not self.attach():
                return
            self.start_nodes()
            while not self.load.ended.is_set():
                try:
                    self.step()
                except Lost:
                    if not self.attach():
                        return
                time.sleep(self.load.pause * self.random.uniform(0.5, 1.5))
        except Expired as error:
            self.problems.append("lost its session, %.1f s after its last answer: %s"
                                 % (time.monotonic() - self.last, error))
        except (Failed, Malformed, AssertionError) as error:
            self.problems.append("%s: %s" % (type(error).__name__, error))

    def start_nodes(self):
        """The client's own nodes; safe to repeat after a lost connection."""
        for path, flags in ((self.ephemeral, 1), (self.own(), 0), (self.nodes(), 0)):
            while True:
                try:
                    with contextlib.suppress(Failed):
                        self.session.create(path, b"start", flags)
                    break
                except Lost:
                    self.attach()
        while self.born is None:
            try:
                self.born = self.session.exists(self.ephemeral)
            except Lost:
                self.attach()
        self.last = time.monotonic()

    def own(self):
        return "%s/own-%d" % (self.load.root, self.number)

    def nodes(self):
        return "%s/nodes-%d" % (self.load.root, self.number)

    def note(self, kind, key, asked, version=None, value=None, expected=None, known=True):
        now = time.monotonic() if known else None
        self.done.append(Did(kind, key, asked, now, version, value, expected))
        if known:
            self.last = now
        if known and version is not None and kind != "miss":
            if version < self.floor.get(key, -1):
                self.problems.append("%s %s went back from version %d to %d" % (kind, key, self.floor[key], version))
            self.seen[key] = self.floor[key] = version

    def step(self):
        choice = self.random.random()
        key = self.random.choice(self.load.shared + [self.own()] * SHARED)
        if choice < 0.15 or key not in self.seen:
            self.read(key, "read")
        elif choice < 0.25:
            self.read(key, "sync")
        elif choice < 0.4:
            self.create()
        else:
            self.set(key)

    def read(self, key, kind):
        asked = time.monotonic()
        if kind == "sync":
            self.session.sync(key)
        value, stat = self.session.get(key)
        self.note(kind, key, asked, stat.version, value)

    def create(self):
        path = "%s/%06d" % (self.nodes(), self.count)
        self.count += 1
        asked = time.monotonic()
        try:
            self.session.create(path, b"x" * self.random.randrange(200))
        except Lost:
            self.note("create", path, asked, known=False)
            raise
        self.note("create", path, asked)

    def set(self, key):
        expected = self.seen[key]
        self.count += 1
        value = b"%d.%d" % (self.number, self.count)
        asked = time.monotonic()
        try:
            stat = self.session.set(key, value, expected)
        except Lost:
            self.note("set", key, asked, None, value, expected, known=False)
            # What became of it is not known: look before the next write.
            self.seen.pop(key, None)
            raise
        except Failed as error:
            if error.code != -103:
                raise
            self.note("miss", key, asked, expected)
            self.read(key, "read")
            return
        self.note("set", key, asked, stat.version, value, expected)


class Load:
    """Clients on an ensemble from `with` to its end; afterwards `verdict` checks what they were told."""

    def __init__(self, ensemble, clients=4, pause=0.008, patience=2.0, seed=1):
        root = "/load-%d" % next(numbers)
        self.ensemble, self.root, self.seed, self.pause, self.patience = ensemble, root, seed, pause, patience
        self.addresses = ensemble.addresses()
        self.shared = ["%s/shared-%d" % (root, n) for n in range(SHARED)]
        self.ended = threading.Event()
        session = Session().attach_any(ensemble.addresses(ensemble.running()))
        for path in [root, *self.shared]:
            session.create(path, b"start")
        session.close()
        self.clients = [Client(self, n) for n in range(clients)]
        self.began = time.monotonic()

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for client in self.clients:
            client.join(60)

    def acknowledged(self):
        """The times at which writes were acknowledged, in order."""
        return sorted(did.done for client in self.clients for did in list(client.done)
                      if did.kind in ("set", "create") and did.done is not None)

    def progress(self, seconds=20.0, writes=10):
        """Waits until this many more writes have been acknowledged."""
        count = len(self.acknowledged())
        end = time.monotonic() + seconds
        while len(self.acknowledged()) < count + writes:
            if time.monotonic() > end:
                raise TimeoutError("no progress of writes within %d s" % seconds)
            time.sleep(0.05)

    def pauses(self, least=0.1):
        """Gaps between acknowledged writes of all clients together that were longer than `least` seconds."""
        times = self.acknowledged()
        return [after - before for before, after in zip(times, times[1:]) if after - before > least]

    def verdict(self, tree, strict=True):
        """What contradicts one history, given the tree at the end. `strict` also holds reads behind a sync to it,
        which ZooKeeper does not promise while an old leader may still be believed."""
        problems = []
        for client in self.clients:
            problems += ["%s %s" % (client.name, problem) for problem in client.problems]
            if client.is_alive():
                problems.append("%s did not end" % client.name)
            node = tree.get(client.ephemeral)
            if client.born is None:
                problems.append("%s never had its ephemeral" % client.name)
            elif node is None or node[2].owner != client.session.id or node[2].czxid != client.born.czxid:
                problems.append("%s: its ephemeral is %s" % (client.name, node))
        history = [did for client in self.clients for did in client.done]
        created = {did.key for did in history if did.kind == "create" and did.done is not None}
        asked = {did.key for did in history if did.kind == "create"}
        problems += ["acknowledged create is lost: " + path for path in sorted(created - set(tree))]
        problems += ["nobody created " + path for path in sorted(
            path for path in tree if "/nodes-" in path and path.count("/") == 3 and path not in asked)]
        for key in sorted({did.key for did in history if did.kind != "create"}):
            if key not in tree:
                problems.append("register is lost: " + key)
                continue
            value, _, stat = tree[key]
            now = time.monotonic()
            final = Did("sync", key, now, now, stat.version, value, None)
            problems += check_register(key, [did for did in history if did.key == key] + [final], strict)
        return problems

    def close(self):
        """Ends the sessions, after the verdict."""
        for client in self.clients:
            with contextlib.suppress(Lost, Expired):
                if client.session.socket is None:
                    client.session.attach_any(self.addresses, 5.0)
                client.session.close()

    def figures(self):
        times = self.acknowledged()
        span = times[-1] - times[0] if len(times) > 1 else 0
        return "%d writes acknowledged in %.1f s, %d in doubt, %d moves of sessions" % (
            len(times), span, sum(did.done is None for c in self.clients for did in c.done),
            sum(client.moves for client in self.clients))


def check_register(key, history, strict=True):
    """What contradicts linearizability of one register, whose versions say in which order its writes happened.
    Each value is written once; the value at version 0 is the creation's."""
    problems = []
    # version -> when its write was asked, and when somebody first knew that it had happened
    asked, known, values = {0: 0.0}, {0: 0.0}, {0: b"start"}
    doubtful = {}
    for did in history:
        if did.kind != "set":
            continue
        if did.done is None:
            doubtful[did.value] = did
        elif did.version in values:
            problems.append("%s: version %d acknowledged twice" % (key, did.version))
        else:
            if did.version != did.expected + 1:
                problems.append("%s: version %d follows %d" % (key, did.version, did.expected))
            asked[did.version], known[did.version], values[did.version] = did.asked, did.done, did.value
    in_doubt = len(doubtful)
    for did in history:
        if did.kind not in ("read", "sync"):
            continue
        version = did.version
        if version not in values and did.value in doubtful:
            write = doubtful.pop(did.value)
            if version != write.expected + 1:
                problems.append("%s: version %d follows %d" % (key, version, write.expected))
            asked[version], known[version], values[version] = write.asked, did.done, did.value
        if values.get(version) != did.value:
            problems.append("%s: read %r at version %d, written was %r" % (key, did.value, version,
                                                                            values.get(version)))
            continue
        known[version] = min(known[version], did.done)
    # A write that was asked after a higher version was known came too late for its place.
    earliest, by = float("inf"), None
    for version in sorted(values, reverse=True):
        if known[version] < earliest:
            earliest, by = known[version], version
        if earliest < asked[version]:
            problems.append("%s: version %d was asked after version %d was known" % (key, version, by))
    final = max((did.version for did in history if did.kind in ("read", "sync")), default=0)
    if max(values) > final:
        problems.append("%s: acknowledged version %d is lost, the last is %d" % (key, max(values), final))
    missing = final + 1 - len(values)
    if not 0 <= missing <= in_doubt:
        problems.append("%s: %d versions that nobody wrote" % (key, missing))
    for did in history:
        if did.kind == "miss" and did.version + 1 in asked and asked[did.version + 1] > did.done:
            problems.append("%s: refused at version %d before there was another" % (key, did.version))
    if strict:
        steps = sorted((when, version) for version, when in known.items())
        highest, at = 0, 0
        for did in sorted((did for did in history if did.kind == "sync"), key=lambda did: did.asked):
            while at < len(steps) and steps[at][0] < did.asked:
                highest, at = max(highest, steps[at][1]), at + 1
            if did.version < highest:
                problems.append("%s: a read behind a sync gave version %d when %d was known"
                                % (key, did.version, highest))
    return problems[:5]
