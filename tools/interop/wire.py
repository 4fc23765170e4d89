"""A raw client that remembers every byte it is sent, with what must differ between two servers masked.

Times, session ids and passwords become zeros of the same length (a session id keeps a small number that
says which session of the run it is). Children are sorted, because their order is not promised.
"""
import socket
import struct

STAT = 68
ANY = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone"


def i32(value):
    return struct.pack(">i", value)


def i64(value):
    return struct.pack(">q", value)


def buf(data):
    if data is None:
        return i32(-1)
    data = data.encode() if isinstance(data, str) else data
    return i32(len(data)) + data


def vec(items):
    return i32(len(items)) + b"".join(items)


def acl(*entries):
    return vec([i32(perms) + buf(scheme) + buf(ident) for perms, scheme, ident in entries])


def header(kind, done=False, err=-1):
    return i32(kind) + bytes([done]) + i32(err)


END = header(-1, True)


class Masks:
    """Names for the sessions of one run, the same on both servers."""

    def __init__(self):
        self.sessions = {}

    def session(self, ident):
        if ident == 0:
            return 0
        return self.sessions.setdefault(ident, len(self.sessions) + 1)


class Fields:
    """Walks a reply body and masks in place what may differ."""

    def __init__(self, data, masks):
        self.data, self.at, self.masks = bytearray(data), 0, masks

    def number(self, size):
        value = struct.unpack_from(">i" if size == 4 else ">q", self.data, self.at)[0]
        self.at += size
        return value

    def buffer(self):
        length = self.number(4)
        start = self.at
        self.at += max(length, 0)
        return bytes(self.data[start:self.at])

    def stat(self):
        start = self.at
        self.data[start + 16:start + 32] = bytes(16)
        owner = struct.unpack_from(">q", self.data, start + 44)[0]
        struct.pack_into(">q", self.data, start + 44, self.masks.session(owner))
        self.at += STAT

    def names(self):
        start = self.at
        names = sorted(self.buffer() for _ in range(max(self.number(4), 0)))
        body = vec([buf(name) for name in names])
        self.data[start:self.at] = body

    def identities(self):
        start = self.at
        pairs = sorted((self.buffer(), self.buffer()) for _ in range(max(self.number(4), 0)))
        self.data[start:self.at] = vec([buf(scheme) + buf(user) for scheme, user in pairs])

    def results(self):
        while True:
            kind = self.number(4)
            done = self.data[self.at]
            self.at += 1
            self.number(4)
            if done:
                return
            if kind == -1:
                self.number(4)
            elif kind in (1,):
                self.buffer()
            elif kind == 15:
                self.buffer()
                self.stat()
            elif kind == 5:
                self.stat()
            elif kind == 8:
                self.names()
            elif kind == 4:
                self.buffer()
                self.stat()

    def walk(self, shape):
        for part in shape.split():
            getattr(self, part)()
        return bytes(self.data)


SHAPES = {1: "buffer", 3: "stat", 4: "buffer stat", 5: "stat", 6: "acl stat", 7: "stat", 8: "names",
          12: "names stat", 14: "results", 15: "buffer stat", 19: "buffer stat", 21: "buffer stat",
          22: "results", 103: "names", 107: "identities"}


def acl_shape(fields):
    for _ in range(max(fields.number(4), 0)):
        fields.number(4)
        fields.buffer()
        fields.buffer()


Fields.acl = acl_shape


class Client:
    """One connection. Every frame that arrives is written to `log` as masked hexadecimal."""

    def __init__(self, port, log, masks, name="c"):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.log, self.masks, self.name = log, masks, name
        self.next, self.buffer, self.shapes = 1, b"", {}
        self.session, self.password = 0, bytes(16)

    def say(self, what, data=b""):
        self.log.append("%s %s %s" % (self.name, what, data.hex()))

    def send(self, data):
        self.socket.sendall(data)

    def frame(self):
        """The next frame, or None when the server has closed."""
        while len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack(">i", self.buffer[:4])[0]:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                return None
            self.buffer += more
        end = 4 + struct.unpack(">i", self.buffer[:4])[0]
        frame, self.buffer = self.buffer[4:end], self.buffer[end:]
        return frame

    def connect_request(self, session=0, password=bytes(16), timeout=10000, zxid=0, readonly=b"\0"):
        body = i32(0) + i64(zxid) + i32(timeout) + i64(session) + buf(password) + readonly
        return i32(len(body)) + body

    def read_connect(self):
        frame = self.frame()
        if frame is None:
            self.say("closed")
            return self
        masked = bytearray(frame)
        session = struct.unpack_from(">q", frame, 8)[0]
        if session:
            self.session, self.password = session, frame[20:36]
            struct.pack_into(">q", masked, 8, self.masks.session(session))
            masked[20:36] = bytes(16)
        self.say("connected", masked)
        return self

    def connect(self, **how):
        self.send(self.connect_request(**how))
        return self.read_connect()

    def request(self, kind, body=b"", xid=None):
        """Bytes of a request; remembers the shape of its answer."""
        if xid is None:
            xid, self.next = self.next, self.next + 1
        self.shapes[xid] = SHAPES.get(kind, "")
        data = i32(xid) + i32(kind) + body
        return xid, i32(len(data)) + data

    def until(self, xid):
        """Logs frames up to and including the reply to xid."""
        while True:
            frame = self.frame()
            if frame is None:
                self.say("closed")
                return False
            got = struct.unpack(">i", frame[:4])[0]
            if got == -1:
                # ZooKeeper 3.8 puts -1 where 3.9 puts the transaction's zxid.
                self.say("event", frame[12:])
                continue
            err = struct.unpack(">i", frame[12:16])[0]
            body = Fields(frame[16:], self.masks).walk(self.shapes[got]) if err == 0 else frame[16:]
            self.say("reply", frame[:16] + body)
            if got == xid:
                return True

    def call(self, kind, body=b"", xid=None):
        xid, data = self.request(kind, body, xid)
        self.send(data)
        return self.until(xid)

    def closed(self):
        """The server must close without another byte."""
        frame = self.frame()
        self.say("closed" if frame is None else "unexpected", frame or b"")

    def frame_until_closed(self):
        """Everything up to the close."""
        while (frame := self.frame()) is not None:
            self.say("frame", frame)
        self.say("closed")

    def close(self):
        self.call(-11)
        self.closed()
        self.socket.close()

    # The operations by name.
    def create(self, path, data=b"", flags=0, kind=1, who=ANY, ttl=None):
        body = buf(path) + buf(data) + who + i32(flags) + (b"" if ttl is None else i64(ttl))
        return self.call(kind, body)

    def delete(self, path, version=-1):
        return self.call(2, buf(path) + i32(version))

    def exists(self, path, watch=0):
        return self.call(3, buf(path) + bytes([watch]))

    def get(self, path, watch=0):
        return self.call(4, buf(path) + bytes([watch]))

    def set(self, path, data, version=-1):
        return self.call(5, buf(path) + buf(data) + i32(version))

    def children(self, path, watch=0, kind=8):
        return self.call(kind, buf(path) + bytes([watch]))

    def get_acl(self, path):
        return self.call(6, buf(path))

    def set_acl(self, path, who, version=-1):
        return self.call(7, buf(path) + who + i32(version))

    def auth(self, scheme, data, xid=-4):
        return self.call(100, i32(0) + buf(scheme) + buf(data), xid)

    def multi(self, *parts, kind=14):
        return self.call(kind, b"".join(parts) + END)
