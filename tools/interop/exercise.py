"""What every server of an ensemble must do: each kind of request through it, seen by another server; sessions that
move; sessions that end. Every part raises AssertionError with what was wrong."""
import contextlib
import time

from live import Expired, Failed, Lost, Malformed, Session, check, make, put, remove
from servers import until
from wire import acl

CREATED, DELETED, CHANGED, CHILD = 1, 2, 3, 4


def same(what, got, wanted):
    if got != wanted:
        raise AssertionError("%s: %r, wanted %r" % (what, got, wanted))


def refused(code, ask, *words):
    """The request must be answered with this error."""
    try:
        ask(*words)
    except Failed as error:
        same("%s %s" % (ask.__name__, words[0] if words else ""), error.code, code)
        return
    raise AssertionError("%s %s was not refused with %d" % (ask.__name__, words[0] if words else "", code))


def pair(member, other):
    """A session on a server and one on another."""
    return Session().attach_any([member.address]), Session().attach_any([other.address])


def creates(member, other, root):
    s, o = pair(member, other)
    same("create", s.create(root, b"root"), root)
    path, stat = s.create2(root + "/two", b"22")
    same("create2", (path, stat.length, stat.version, stat.czxid), (root + "/two", 2, 0, stat.mzxid))
    first = int(s.create(root + "/s-", flags=2)[-10:])
    same("sequence", [int(s.create(root + "/s-", flags=2)[-10:]) for _ in range(3)], [first + n for n in (1, 2, 3)])
    s.create(root + "/e", b"mine", 1)
    name = s.create(root + "/es-", flags=3)
    s.create(root + "/c", flags=4)
    s.create(root + "/c/inside")
    s.create(root + "/t", flags=5, ttl=100000)
    timed = s.create(root + "/ts-", flags=6, ttl=100000)
    s.create(root + "/\u00fcn\u00ef", b"\xff\x00")
    refused(-110, s.create, root)
    refused(-101, s.create, root + "/none/x")
    refused(-108, s.create, root + "/e/x")
    refused(-111, s.delete, root)
    refused(-101, s.delete, root + "/none")
    refused(-103, s.set, root, b"", 5)
    refused(-103, s.delete, root + "/two", 5)
    refused(-101, s.set, root + "/none", b"")
    same("set", s.set(root, b"again", 0).version, 1)
    same("set to nothing", s.set(root, None).length, 0)
    s.delete(root + "/two", 0)
    o.sync(root)
    same("ephemeral seen elsewhere", o.exists(root + "/e").owner, s.id)
    same("ephemeral of a sequence", o.exists(name).owner, s.id)
    # What makes them containers and TTL nodes is not shown to clients; the digests cover it.
    for path in (root + "/c", root + "/t", timed):
        same("owner of " + path, o.exists(path).owner, 0)
    same("data", o.get(root + "/\u00fcn\u00ef")[0], b"\xff\x00")
    same("deleted", o.exists(root + "/two"), None)
    same("stat", o.get(root)[1], s.get(root)[1])
    refused(-108, o.create, root + "/e/x")
    s.close()
    o.sync(root)
    same("ephemerals of a session that ended", (o.exists(root + "/e"), o.exists(name)), (None, None))
    o.close()


def multis(member, other, root):
    s, o = pair(member, other)
    s.create(root)
    done = s.multi(make(root + "/m", b"1"), make(root + "/m/s-", flags=2), put(root + "/m", b"2", 0),
                   check(root + "/m", 1), make(root + "/gone"), remove(root + "/gone", 0), make(root + "/e", flags=1))
    same("multi", [kind for kind, _ in done], [1, 1, 5, 13, 1, 2, 1])
    same("multi's sequence", done[1][1], root + "/m/s-0000000000")
    parts = (make(root + "/x"), put(root + "/m", b"3"), remove(root + "/none"), make(root + "/y"))
    same("failing multi", s.multi(*parts), [(-1, 0), (-1, 0), (-1, -101), (-1, -2)])
    same("failing check", s.multi(check(root + "/m", 7), make(root + "/x")), [(-1, -103), (-1, -2)])
    o.sync(root)
    same("nothing of a failing multi", (o.exists(root + "/x"), o.get(root + "/m")[0]), (None, b"2"))
    same("one transaction", o.exists(root + "/m").mzxid, o.exists(root + "/e").czxid)
    s.close()
    o.close()


def access(member, other, root):
    s, o = pair(member, other)
    s.auth("digest", "me:pw")
    s.create(root, b"mine", who=acl((31, "auth", "")))
    s.create(root + "/read", b"r", who=acl((1, "world", "anyone"), (31, "auth", "")))
    same("ACL", [(perms, scheme) for perms, scheme, _ in s.get_acl(root)], [(31, "digest")])
    o.sync(root)
    refused(-102, o.get, root)
    refused(-102, o.set, root + "/read", b"")
    refused(-102, o.create, root + "/x")
    refused(-102, o.delete, root + "/read")
    refused(-102, o.set_acl, root, acl((31, "world", "anyone")))
    same("readable", o.get(root + "/read")[0], b"r")
    o.auth("digest", "me:pw")
    same("after auth", o.get(root)[0], b"mine")
    o.set(root, b"ours", 0)
    refused(-103, o.set_acl, root, acl((31, "world", "anyone")), 9)
    same("set ACL", o.set_acl(root, acl((31, "world", "anyone"), (1, "ip", "127.0.0.0/8")), 0).aversion, 1)
    s.sync(root)
    same("new ACL", s.get_acl(root), [(31, "world", "anyone"), (1, "ip", "127.0.0.0/8")])
    s.close()
    o.close()


def watches(member, other, root):
    """Watches on a server, set off by writes through another."""
    w, s = pair(member, other)
    s.create(root)
    s.create(root + "/p", b"1")
    w.sync(root)
    w.get(root + "/p", True)
    w.children(root, True)
    w.exists(root + "/later", True)
    s.set(root + "/p", b"2")
    s.create(root + "/later")
    w.expect((CHANGED, root + "/p"), (CREATED, root + "/later"), (CHILD, root))
    s.set(root + "/p", b"3")
    w.sync(root)
    w.expect()
    w.get(root + "/later", True)
    s.delete(root + "/later")
    w.expect((DELETED, root + "/later"))
    w.add_watch(root, 1)
    s.create(root + "/e", flags=1)
    s.multi(put(root + "/p", b"4"), make(root + "/q"), remove(root + "/q"))
    s.close()
    w.expect((CREATED, root + "/e"), (CHANGED, root + "/p"), (CREATED, root + "/q"), (DELETED, root + "/q"),
             (DELETED, root + "/e"))
    w.close()


def moves(members, root):
    """A session with an ephemeral and a watch that visits every server, with and without a closed connection."""
    first = members[0]
    s, o = pair(first, members[-1])
    s.create(root)
    s.create(root + "/e", flags=1)
    s.create(root + "/w", b"0")
    for turn, member in enumerate(members[1:] + members[:1]):
        before = Session()
        if turn % 2:
            # The old connection stays open: the session is taken over, and the old connection may not write on.
            before.__dict__.update(s.__dict__)
            s.socket, s.buffer, s.at, s.answers = None, b"", 0, {}
        s.attach_any([member.address])
        same("owner after a move to %s" % member, s.exists(root + "/e").owner, s.id)
        s.set(root + "/w", b"%d" % turn)
        if before.socket is not None:
            try:
                before.set(root + "/w", b"old")
            except Lost:
                pass
            except Failed as error:
                same("a write by the connection left behind", error.code, -118)
            else:
                raise AssertionError("the connection left behind at %s could still write" % first)
            before.drop()
        value, stat = s.get(root + "/w")
        same("own write", value, b"%d" % turn)
        s.set_watches(data=[root + "/w"])
        o.set(root + "/w", b"by another", stat.version)
        s.expect((CHANGED, root + "/w"))
        thief = Session()
        thief.id, thief.password = s.id, b"x" * 16
        with contextlib.suppress(Lost):
            try:
                thief.attach(member.address)
            except Expired:
                pass
            else:
                raise AssertionError("%s gave a session to a wrong password" % member)
        # ZooKeeper may close the owner's connection to the same server then.
        s.attach_any([member.address])
        first = member
    ident, password = s.id, s.password
    s.close()
    for member in members:
        late = Session()
        late.id, late.password = ident, password
        try:
            late.attach_any([member.address], 5.0)
        except Expired:
            continue
        raise AssertionError("%s revived a closed session" % member)
    o.sync(root)
    same("ephemeral of a closed session", o.exists(root + "/e"), None)
    o.close()


def expiry(members, root):
    """Sessions left alone on each server end, those that ping stay."""
    keepers = [Session(4000).attach_any([member.address]) for member in members]
    keepers[0].create(root)
    left = [Session(1000).attach_any([member.address]) for member in members]
    for number, (keeper, gone) in enumerate(zip(keepers, left)):
        keeper.create("%s/kept-%d" % (root, number), flags=1)
        gone.create("%s/left-%d" % (root, number), flags=1)
        gone.drop()
    began = time.monotonic()
    wanted = ["kept-%d" % number for number in range(len(members))]

    def ended():
        for keeper in keepers:
            keeper.sync(root)
        return all(keeper.children(root)[0] == wanted for keeper in keepers)

    until("expiry", ended, 15, 0.2)
    took = time.monotonic() - began
    if took < 0.5:
        raise AssertionError("sessions of 1 s expired after %.2f s" % took)
    for keeper in keepers:
        keeper.close()


def everything(ensemble, tag):
    """Each part on each server that runs; yields (name, problem or empty)."""
    members = ensemble.running()
    for member in members:
        other = members[members.index(member) - 1]
        for part in (creates, multis, access, watches):
            name = "%s on server %d (%s, %s)" % (part.__name__, member.sid, member.kind, member.mode())
            root = "/%s-%s-%d" % (tag, part.__name__, member.sid)
            yield name, attempt(part, member, other, root)
    for part in (moves, expiry):
        yield part.__name__, attempt(part, members, "/%s-%s" % (tag, part.__name__))


def attempt(part, *words):
    try:
        part(*words)
    except (AssertionError, Failed, Lost, Expired, Malformed, TimeoutError) as error:
        return "%s: %s" % (type(error).__name__, error)
    return ""
