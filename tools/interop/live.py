"""A client for servers that fail: a session that its owner keeps and attaches to one server after another, and the
dump of a whole tree for comparison. Uses the encoders of wire.py; nothing is masked here.
"""
import collections
import contextlib
import socket
import struct
import time

from wire import ANY, END, buf, header, i32, i64, vec

Stat = collections.namedtuple("Stat", "czxid mzxid ctime mtime version cversion aversion owner length children pzxid")
Event = collections.namedtuple("Event", "kind state path")
STAT = struct.Struct(">qqqqiiiqiiq")
CODES = {-4: "connection loss", -101: "no node", -102: "no auth", -103: "bad version", -108: "ephemerals have no "
         "children", -110: "node exists", -111: "not empty", -112: "session expired", -118: "session moved"}


class Lost(Exception):
    """The connection is gone; what was asked may or may not have happened."""


class Expired(Exception):
    """The ensemble says that it does not know this session."""


class Malformed(Exception):
    """Bytes that are no answer to what was asked."""


class Failed(Exception):
    """A request was answered with an error code."""

    def __init__(self, code, what=""):
        super().__init__("%s: %s" % (what, CODES.get(code, code)))
        self.code = code


class Reader:
    """Reads the fields of a reply."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, size=4):
        value = struct.unpack_from(">i" if size == 4 else ">q", self.data, self.at)[0]
        self.at += size
        return value

    def flag(self):
        self.at += 1
        return bool(self.data[self.at - 1])

    def buffer(self):
        length = self.number()
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length:self.at]

    def text(self):
        return (self.buffer() or b"").decode()

    def stat(self):
        self.at += STAT.size
        return Stat(*STAT.unpack_from(self.data, self.at - STAT.size))

    def names(self):
        return [self.text() for _ in range(max(self.number(), 0))]

    def acl(self):
        return [(self.number(), self.text(), self.text()) for _ in range(max(self.number(), 0))]

    def results(self):
        """Results of a multi: the kind of each, and its error code where it has one."""
        found = []
        while True:
            kind, done, err = self.number(), self.flag(), self.number()
            if done:
                return found
            value = None
            if kind == -1:
                value = self.number()
            elif kind in (1, 15):
                value = self.text()
            if kind in (5, 15):
                self.stat()
            found.append((kind, err if value is None else value))


class Session:
    """A session that outlives its connections. Not safe for several threads."""

    def __init__(self, timeout=10000, wait=5.0):
        self.timeout, self.wait = timeout, wait
        self.id, self.password, self.zxid = 0, bytes(16), 0
        self.negotiated = 0
        self.socket, self.buffer, self.at, self.next = None, b"", 0, 1
        self.events = []
        self.answers = {}
        self.address = None

    def attach(self, address, wait=None):
        """Connects to this server, with the session that there is or a new one."""
        self.drop()
        try:
            self.socket = socket.create_connection(address, timeout=wait or self.wait)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            body = i32(0) + i64(self.zxid) + i32(self.timeout) + i64(self.id) + buf(self.password) + b"\0"
            self.socket.sendall(i32(len(body)) + body)
            frame = self.frame()
        except OSError as error:
            self.drop()
            raise Lost(str(error)) from error
        if len(frame) < 36:
            self.drop()
            raise Malformed("%s:%d answers a connect request with %s" % (*address, frame.hex()))
        reader = Reader(frame)
        reader.number()
        timeout, ident, password = reader.number(), reader.number(8), reader.buffer()
        if ident == 0 or timeout <= 0:
            self.drop()
            raise Expired("session 0x%x at %s:%d" % (self.id, *address))
        self.id, self.password, self.negotiated, self.address = ident, password, timeout, address
        self.socket.settimeout(self.wait)
        return self

    def attach_any(self, addresses, seconds=20.0, wait=1.0):
        """Connects to the first of these servers that takes the session; tries them in turn until the deadline."""
        end = time.monotonic() + seconds
        while True:
            for address in addresses:
                try:
                    return self.attach(address, wait)
                except Lost as error:
                    if time.monotonic() > end:
                        raise Lost("no server for %.0f s: %s" % (seconds, error)) from error
            time.sleep(0.02)

    def drop(self):
        """Leaves the connection without closing the session."""
        if self.socket is not None:
            self.socket.close()
        self.socket, self.buffer, self.at = None, b"", 0
        self.answers.clear()

    def frame(self):
        while True:
            have = len(self.buffer) - self.at
            if have >= 4:
                length = struct.unpack_from(">i", self.buffer, self.at)[0]
                if have >= 4 + length:
                    frame = self.buffer[self.at + 4:self.at + 4 + length]
                    self.at += 4 + length
                    return frame
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionResetError("closed by the server")
            self.buffer, self.at = self.buffer[self.at:] + more, 0

    def post(self, kind, body=b"", xid=None):
        """Sends a request without waiting; returns its xid."""
        if self.socket is None:
            raise Lost("not connected")
        if xid is None:
            xid, self.next = self.next, self.next + 1
        data = i32(xid) + i32(kind) + body
        try:
            self.socket.sendall(i32(len(data)) + data)
        except OSError as error:
            self.drop()
            raise Lost(str(error)) from error
        return xid

    def take(self, xid, what=""):
        """The body of the reply to `xid`; raises Failed for an error code."""
        if self.socket is None:
            raise Lost("not connected")
        try:
            while xid not in self.answers:
                self.turn()
        except OSError as error:
            self.drop()
            raise Lost(str(error) or type(error).__name__) from error
        err, body = self.answers.pop(xid)
        if err:
            raise Failed(err, what)
        return Reader(body)

    def turn(self):
        frame = self.frame()
        xid, zxid, err = struct.unpack_from(">iqi", frame)
        if xid == -1:
            reader = Reader(frame[16:])
            self.events.append(Event(reader.number(), reader.number(), reader.text()))
            return
        self.zxid = max(self.zxid, zxid)
        self.answers[xid] = (err, frame[16:])

    def call(self, kind, body=b"", xid=None, what=""):
        return self.take(self.post(kind, body, xid), what)

    def ping(self):
        self.call(11, xid=-2, what="ping")

    def expect(self, *events, seconds=5.0):
        """Waits for these (kind, path) events, in this order, and no others; the rest of the queue is dropped."""
        end = time.monotonic() + seconds
        while len(self.events) < len(events) and time.monotonic() < end:
            self.ping()
            time.sleep(0.005)
        got, self.events = [(event.kind, event.path) for event in self.events], []
        if got != list(events):
            raise AssertionError("events %s, wanted %s" % (got, list(events)))

    def close(self):
        """Ends the session."""
        with contextlib.suppress(Lost):
            self.call(-11, what="close")
        self.drop()

    # The operations by name.
    def create(self, path, data=b"", flags=0, who=ANY, ttl=None):
        kind = 21 if ttl is not None else 19 if flags == 4 else 1
        body = buf(path) + buf(data) + who + i32(flags) + (b"" if ttl is None else i64(ttl))
        return self.call(kind, body, what="create " + path).text()

    def create2(self, path, data=b"", flags=0, who=ANY):
        reader = self.call(15, buf(path) + buf(data) + who + i32(flags), what="create2 " + path)
        return reader.text(), reader.stat()

    def delete(self, path, version=-1):
        self.call(2, buf(path) + i32(version), what="delete " + path)

    def exists(self, path, watch=False):
        """The stat, or None."""
        try:
            return self.call(3, buf(path) + bytes([watch]), what="exists " + path).stat()
        except Failed as error:
            if error.code == -101:
                return None
            raise

    def get(self, path, watch=False):
        reader = self.call(4, buf(path) + bytes([watch]), what="get " + path)
        return reader.buffer(), reader.stat()

    def set(self, path, data, version=-1):
        return self.call(5, buf(path) + buf(data) + i32(version), what="set " + path).stat()

    def children(self, path, watch=False):
        reader = self.call(12, buf(path) + bytes([watch]), what="children " + path)
        return sorted(reader.names()), reader.stat()

    def get_acl(self, path):
        return self.call(6, buf(path), what="get acl " + path).acl()

    def set_acl(self, path, who, version=-1):
        return self.call(7, buf(path) + who + i32(version), what="set acl " + path).stat()

    def sync(self, path="/"):
        self.call(9, buf(path), what="sync")

    def auth(self, scheme, data):
        self.call(100, i32(0) + buf(scheme) + buf(data), xid=-4, what="auth")

    def multi(self, *parts):
        return self.call(14, b"".join(parts) + END, what="multi").results()

    def add_watch(self, path, mode):
        self.call(106, buf(path) + i32(mode), what="add watch " + path)

    def set_watches(self, data=(), exist=(), child=()):
        lists = [vec([buf(path) for path in paths]) for paths in (data, exist, child)]
        self.call(101, i64(self.zxid) + b"".join(lists), xid=-8, what="set watches")


def make(path, data=b"", flags=0):
    """A create inside a multi."""
    return header(1) + buf(path) + buf(data) + ANY + i32(flags)


def put(path, data, version=-1):
    """A setData inside a multi."""
    return header(5) + buf(path) + buf(data) + i32(version)


def check(path, version):
    """A check inside a multi."""
    return header(13) + buf(path) + i32(version)


def remove(path, version=-1):
    """A delete inside a multi."""
    return header(2) + buf(path) + i32(version)


def dump(address, seconds=20.0):
    """The whole tree of one server after a sync: path -> data, ACL and all of its stat. What ZooKeeper keeps outside
    transactions (the text and stat of /zookeeper/config, counts of quotas) is left out."""
    session = Session().attach_any([address], seconds)
    session.auth("digest", "super:test")
    session.sync()
    tree, level = {}, ["/"]
    while level:
        # One round trip a level and kind of question: a tree of thousands must not take thousands of turns.
        below = []
        for start in range(0, len(level), 200):
            part = level[start:start + 200]
            asked = [(path, session.post(4, buf(path) + b"\0"), session.post(6, buf(path)),
                      session.post(8, buf(path) + b"\0")) for path in part]
            for path, data, acl, names in asked:
                try:
                    reader, acl, names = session.take(data), session.take(acl), session.take(names)
                except Failed as error:
                    if error.code != -101:
                        raise
                    continue
                value, stat = reader.buffer(), reader.stat()
                local = path == "/zookeeper/config" or path.endswith("/zookeeper_stats")
                tree[path] = (None if local else value, tuple(acl.acl()), None if local else stat)
                below += [path.rstrip("/") + "/" + name for name in sorted(names.names())]
        level = below
    session.close()
    return tree


def differences(left, right, most=6):
    """How two dumps differ, a line each."""
    lines = []
    for path in sorted(set(left) | set(right)):
        if left.get(path) != right.get(path):
            lines.append("%s: %s | %s" % (path, left.get(path, "missing"), right.get(path, "missing")))
    return lines[:most] + (["and %d more" % (len(lines) - most)] if len(lines) > most else [])
