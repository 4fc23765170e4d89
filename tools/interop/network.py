"""A network of this machine's own: every member of an ensemble in a network namespace with two interfaces, one
toward its fellow members and one toward clients, so that members can be cut off from each other while clients
still reach them. Needs the right to make namespaces (root); `possible` says whether that is so.
"""
import contextlib
import os
import subprocess

# 198.18.0.0/15 is set aside for tests of networks (RFC 2544); every run takes a piece of it that no other has.
PEERS = "198.18.%d.%d"
CLIENTS = "198.19.%d.%d"
HOST = 254


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


def possible():
    """Whether namespaces, bridges and pairs of interfaces can be made here."""
    try:
        with Network(1):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


class Network:
    """Namespaces for members 1 to `count`."""

    def __init__(self, count):
        self.tag = "rk%d" % (os.getpid() % 100000)
        self.count = count
        self.cuts = set()
        taken = ip("-4", "addr").stdout
        self.piece = next(piece for start in range(250) for piece in [(os.getpid() + start) % 250]
                          if CLIENTS % (piece, HOST) not in taken)

    def peer(self, sid):
        return PEERS % (self.piece, sid)

    def client(self, sid):
        return CLIENTS % (self.piece, sid)

    def name(self, sid):
        return "%s-%d" % (self.tag, sid)

    def __enter__(self):
        try:
            for net in "pc":
                ip("link", "add", self.tag + net, "type", "bridge")
                ip("link", "set", self.tag + net, "up")
            ip("addr", "add", self.client(HOST) + "/24", "dev", self.tag + "c")
            for sid in range(1, self.count + 1):
                ip("netns", "add", self.name(sid))
                ip("-n", self.name(sid), "link", "set", "lo", "up")
                for net, address in (("p", self.peer(sid)), ("c", self.client(sid))):
                    inner, outer = net + "0", "%s%s%d" % (self.tag, net, sid)
                    ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", self.name(sid))
                    ip("link", "set", outer, "master", self.tag + net, "up")
                    ip("-n", self.name(sid), "addr", "add", address + "/24", "dev", inner)
                    ip("-n", self.name(sid), "link", "set", inner, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            for sid in range(1, self.count + 1):
                for net in "pc":
                    ip("link", "del", "%s%s%d" % (self.tag, net, sid), check=False)
                ip("netns", "del", self.name(sid), check=False)
            for net in "pc":
                ip("link", "del", self.tag + net, check=False)

    def place(self, sid):
        """A member's address for clients, its address for peers, and the words that run a command there."""
        return self.client(sid), self.peer(sid), ["ip", "netns", "exec", self.name(sid)]

    def isolate(self, sid):
        """Cuts a member off from all others: packets vanish, no connection is told."""
        ip("link", "set", "%sp%d" % (self.tag, sid), "nomaster")

    def rejoin(self, sid):
        ip("link", "set", "%sp%d" % (self.tag, sid), "master", self.tag + "p")

    def cut(self, one, other):
        """Cuts two members off from each other; both still reach the rest."""
        self.cuts.add((one, other))
        for here, there in ((one, other), (other, one)):
            ip("-n", self.name(here), "route", "replace", "unreachable", self.peer(there) + "/32")

    def heal(self):
        """Undoes every cut."""
        for one, other in self.cuts:
            for here, there in ((one, other), (other, one)):
                ip("-n", self.name(here), "route", "del", "unreachable", self.peer(there) + "/32", check=False)
        self.cuts.clear()
        for sid in range(1, self.count + 1):
            self.rejoin(sid)
