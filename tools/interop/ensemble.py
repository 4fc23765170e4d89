"""Ensembles of Ringkeeper and Apache ZooKeeper servers on this machine, and what must hold of them.

    tools/interop/run ensemble                      every scenario
    tools/interop/run ensemble roles kills --short  some of them, in the short form
    tools/interop/run ensemble --kind zk38          ZooKeeper in Ringkeeper's place, for comparison

Scenarios: checker, roles, migration, faults, mixed, kills.
"""
import argparse
import contextlib
import re
import signal
import sys
import tempfile
import threading
import time
import traceback

import checker
import clients
import exercise
from live import Expired, Failed, Lost, Malformed, Session, differences, dump, remove
from load import Load
from network import Network, possible
from report import check, finish, note
from servers import KINDS, Ensemble, install, newer_classpath, until

TROUBLE = (TimeoutError, ChildProcessError, AssertionError, Failed, Lost, Expired, Malformed, OSError)
SYNCS = re.compile(r"Getting a (diff|snapshot) from|(Truncating) log to get in sync")


@contextlib.contextmanager
def part(name, ensemble):
    """A part of a scenario: trouble in it is one failure with the ends of the servers' logs, and the next part goes
    on."""
    if ensemble.troubles > 2:
        raise AssertionError("too much is wrong to go on")
    try:
        yield
    except TROUBLE as error:
        ensemble.troubles += 1
        where = "".join(traceback.format_tb(error.__traceback__)[-2:])
        check(name, False, "%s: %s\n%s%s" % (type(error).__name__, error, where, ensemble.tails()))


def settle(ensemble, name, quiet=False):
    """All servers that run hold the same tree, and none says that its digest differs. Returns the tree. A quiet one
    prints only failures."""
    ensemble.serving()
    # Sessions that somebody left behind may end between two dumps: look again until they are gone.
    end = time.monotonic() + 15
    while True:
        trees = {member: dump(member.address) for member in ensemble.running()}
        first, *rest = trees
        wrong = ["%s | %s: %s" % (first, other, line) for other in rest
                 for line in differences(trees[first], trees[other])]
        if not wrong or time.monotonic() > end:
            break
        time.sleep(0.5)
    if not quiet or wrong:
        check("%s: equal trees on %d servers (%d nodes)" % (name, len(trees), len(trees[first])), not wrong,
              "\n".join(wrong) + "\n" + ensemble.tails())
    found = [entry for entry in ensemble.mismatches() if entry not in ensemble.told]
    ensemble.told += found
    grave = [line for is_grave, line in found if is_grave]
    own = [line for is_grave, line in found if not is_grave]
    compared, unequal = ensemble.digests()
    if any(member.kind == "ringkeeper" for member in ensemble.members):
        if not quiet or grave or unequal:
            check("%s: no digest differs (%d compared)" % (name, compared), not grave and not unequal,
                  "\n".join((grave + unequal)[:10]))
    elif unequal:
        note("%s: digests of ZooKeepers differ: %s" % (name, unequal[0]))
    if own:
        note("%s: ZooKeeper's own digest mismatches: %d, as %s" % (name, len(own), own[0]))
    return trees[first]


def clear(ensemble, root):
    """Deletes a subtree, many nodes in one transaction."""
    session = Session().attach_any(ensemble.addresses(ensemble.running()))
    paths, level = [], [root]
    while level:
        paths += level
        level = ["%s/%s" % (path, name) for path in level for name in session.children(path)[0]]
    paths.reverse()
    for start in range(0, len(paths), 200):
        session.multi(*(remove(path) for path in paths[start:start + 200]))
    session.close()


def spread(times):
    """A distribution of seconds in milliseconds."""
    times = sorted(times)

    def at(share):
        return 1000 * times[min(len(times) - 1, int(share * len(times)))]

    return "n=%d min %.0f p50 %.0f p90 %.0f p99 %.0f max %.0f ms" % (
        len(times), at(0), at(0.5), at(0.9), at(0.99), 1000 * times[-1])


def checker_trials(_how):
    """Hand-made histories through the checker that judges the others."""
    for name, problem in checker.trials():
        check("checker, " + name, not problem, problem)


# Roles


def roles(how):
    """The subject as observer, as voting follower and as leader among ZooKeepers, every client on every server."""
    pairs = [("zk38", "zk38"), ("zk395", "zk395"), ("zk38", "zk395")]
    cases = [(role, pair) for role in ("observer", "follower", "leader") for pair in pairs]
    if how.short:
        cases = [("observer", pairs[1]), ("follower", pairs[0]), ("leader", pairs[2])]
    with tempfile.TemporaryDirectory(prefix="interop-") as folder:
        program = clients.build_c_session(folder)
        for role, zookeepers in cases:
            name = "%s as %s, with %s and %s" % (how.kind, role, *zookeepers)
            observers = [how.kind] if role == "observer" else []
            with Ensemble([*zookeepers, *([] if observers else [how.kind])], observers) as ensemble:
                with part(name, ensemble):
                    one_role(ensemble, role, name, program, how)


def one_role(ensemble, role, name, program, how):
    subject = ensemble.members[-1]
    if role == "leader":
        # Of two empty servers the one with the higher id leads.
        ensemble.start([subject, ensemble.member(1)])
        ensemble.start()
        check(name + ": it leads", ensemble.lead(subject), ensemble.tails())
    else:
        ensemble.start(ensemble.members[:2])
        ensemble.start()
        check(name + ": it is " + role, subject.mode() == role, ensemble.tails())
    bad = 0
    for what, problem in exercise.everything(ensemble, "x"):
        bad += not check("%s: %s" % (name, what), not problem, problem)
        if bad > 3:
            raise AssertionError("too much is wrong to go on")
    session = Session().attach_any([subject.address])
    transcripts = {}
    members = ensemble.running()
    for member in members:
        session.create("/c%d" % member.sid)
    session.close()
    for member in members:
        transcripts[member] = relative(clients.c_session(program, member.host, member.port, "/c%d" % member.sid))
    same_lines(name + ": C client on every server", transcripts, ("exit 0",))
    transcripts = {member: clients.java_cli(member.host, member.port)
                   for member in (members[-2:] if how.short else members)}
    same_lines(name + ": Java command line on every server", transcripts, clients.CLI_SAYS)
    settle(ensemble, name)


def relative(lines):
    """Zxids as distances from the first one."""
    text = "\n".join(lines)
    first = re.search(r"czxid([0-9a-f]+)", text)
    base = int(first[1], 16) if first else 0
    return re.sub(r"zxid([0-9a-f]+)", lambda m: "zxid+%d" % (int(m[1], 16) - base), text).splitlines()


def same_lines(name, transcripts, needed):
    first, *rest = transcripts
    wrong = ["%s: %r | %s: %r" % (first, left, other, right) for other in rest
             for left, right in zip(transcripts[first] + ["(end)"], transcripts[other] + ["(end)"]) if left != right]
    text = "\n".join(transcripts[first])
    wrong += ["%s does not say %r" % (first, want) for want in needed if want not in text]
    check(name, not wrong, "\n".join(wrong[:10]))


# Migration


def migration(how):
    """Three ZooKeepers under load, replaced one at a time by the subject with fresh data directories, and back."""
    with Ensemble([how.zookeeper] * 3) as ensemble:
        name = "migration %s to %s and back" % (how.zookeeper, how.kind)
        with part(name, ensemble):
            ensemble.start()
            load = Load(ensemble, clients=4 if how.short else 8, seed=how.seed)
            with load:
                load.progress(writes=100)
                for kind in (how.kind, how.zookeeper):
                    replaced = set()
                    while len(replaced) < 3:
                        leader = ensemble.serving()
                        waiting = [m for m in ensemble.members if m not in replaced]
                        member = next((m for m in waiting if m is not leader), leader)
                        replace(ensemble, load, member, kind, member is leader)
                        replaced.add(member)
            note(name + ": " + load.figures())
            pauses = load.pauses()
            note("%s: write pauses over 0.1 s: %d, together %.2f s, longest %.2f s"
                 % (name, len(pauses), sum(pauses), max(pauses, default=0)))
            tree = settle(ensemble, name)
            problems = load.verdict(tree)
            check(name + ": no acknowledged write and no session lost, one history", not problems,
                  "\n".join(problems[:20]))
            load.close()


def replace(ensemble, load, member, kind, leads):
    before, began = member.kind, time.monotonic()
    member.stop()
    ensemble.serving()
    load.progress(writes=20)
    member.wipe()
    member.start(kind)
    ensemble.serving()
    load.progress(writes=50)
    gaps = [after - ago for ago, after in zip(load.acknowledged(), load.acknowledged()[1:]) if ago >= began - 0.1]
    note("server %d (%s): %s to %s in %.1f s, longest write pause %.2f s"
         % (member.sid, "leader" if leads else "follower", before, kind, time.monotonic() - began,
            max(gaps, default=0)))


# Faults


def faults(how, kinds=None, observers=None):
    """Every role through restart, kill, pause and partition; far behind, ahead, and empty followers."""
    among_others = kinds is not None
    kinds = kinds or [how.kind] * 3
    observers = [how.kind] if observers is None else observers
    name = "faults of %s among %s" % (how.kind, " ".join(sorted(set(kinds))))
    with contextlib.ExitStack() as stack:
        network = None
        if possible():
            network = stack.enter_context(Network(len(kinds) + len(observers)))
        else:
            note("no right to make network namespaces here: partitions are left out")
        ensemble = stack.enter_context(Ensemble(kinds, observers, network=network,
                                                options=["snapshotSizeFactor=-1"] if among_others else []))
        with part(name, ensemble):
            ensemble.start()
        for role in ("follower", "leader", "observer"):
            wanted = [restart, kill, pause] + ([isolate, cut] if network else [])
            if how.short:
                wanted = {"leader": [kill, pause, isolate], "follower": [kill, cut], "observer": [kill]}[role]
                if among_others:
                    wanted = {"leader": [kill, isolate], "follower": [pause], "observer": []}[role]
            for fault in wanted:
                if fault in (isolate, cut) and not network or fault is cut and role == "leader":
                    continue
                title = "%s, %s: %s" % (name, role, fault.__name__)
                with part(title, ensemble):
                    one_fault(ensemble, how, role, fault, title)
        # Without snapshotSizeFactor a ZooKeeper brings up to date from its log as far as that goes; with it, from
        # snapshots only.
        for state in (behind, ahead, empty):
            title = "%s, %s" % (name, state.__name__)
            with part(title, ensemble):
                recover(ensemble)
                state(ensemble, how, title)
                settle(ensemble, title)


def mixed(how):
    """The faults in an ensemble of one ZooKeeper 3.8, one 3.9.5, and the subject as voter and as observer."""
    faults(how, ["zk38", "zk395", how.kind], [how.kind])


def recover(ensemble):
    """Undoes what a fault left: everybody is up, connected and serving."""
    if ensemble.network:
        ensemble.network.heal()
    for member in ensemble.members:
        if member.running:
            member.resume()
        else:
            member.start()
    return ensemble.serving(seconds=60)


def cast(ensemble, role, kind):
    """A member of this kind that has the role now."""
    recover(ensemble)
    able = [m for m in ensemble.members if m.kind == kind and m.role == ("observer" if role == "observer"
                                                                         else "participant")]
    if role == "leader":
        leader = ensemble.leader()
        if leader not in able and not ensemble.lead(able[-1]):
            raise AssertionError("%s does not come to lead" % able[-1])
    for _ in range(4):
        found = [m for m in able if m.mode() == role]
        if found:
            return found[0]
        leader = ensemble.serving()
        leader.stop()
        ensemble.serving()
        leader.start()
        ensemble.serving()
    raise AssertionError("no %s is %s" % (kind, role))


def one_fault(ensemble, how, role, fault, title):
    member = cast(ensemble, role, how.kind)
    load = Load(ensemble, clients=4, seed=how.seed)
    began = time.monotonic()
    with load:
        load.progress(writes=50)
        fault(ensemble, member, load)
        recover(ensemble)
        load.progress(writes=50)
    took = time.monotonic() - began
    tree = settle(ensemble, title, quiet=True)
    # An isolated leader may answer a sync before it knows that it is none: ZooKeeper's known limit.
    problems = load.verdict(tree, strict=fault not in (isolate, cut, pause))
    check(title, not problems, "\n".join(problems[:20]) + "\n" + ensemble.tails())
    note("%.1f s; %s; longest write pause %.2f s" % (took, load.figures(), max(load.pauses(0), default=0)))
    load.close()
    clear(ensemble, load.root)


def others(ensemble, member):
    """The voters without one. A ZooKeeper that observes may look for a new leader for long while a voter is silent;
    it must be back when that is over."""
    return [m for m in ensemble.voters if m is not member]


def restart(ensemble, member, load):
    member.stop()
    ensemble.serving(others(ensemble, member))
    load.progress()
    member.start()


def kill(ensemble, member, load):
    member.kill()
    ensemble.serving(others(ensemble, member))
    load.progress()
    member.start()


def pause(ensemble, member, load):
    """Stopped for longer than a learner may be silent."""
    member.pause()
    ensemble.serving(others(ensemble, member))
    load.progress()
    time.sleep(ensemble.tick * 6 / 1000)
    load.progress()
    member.resume()


def isolate(ensemble, member, load):
    """Cut off from its fellows, not from clients: it must not acknowledge what the others do not know."""
    led = member.mode() == "leader"
    session = Session().attach_any([member.address])
    ensemble.network.isolate(member.sid)
    posted = []
    if led:
        with contextlib.suppress(Lost):
            posted = [session.post(1, create_body("/isolated-%d" % n)) for n in range(20)]
    ensemble.serving(others(ensemble, member))
    load.progress()
    time.sleep(ensemble.tick * 6 / 1000)
    load.progress()
    answered = []
    for number, xid in enumerate(posted):
        with contextlib.suppress(Lost, Failed):
            session.wait = 0.2
            session.take(xid)
            answered.append(number)
    session.drop()
    ensemble.network.heal()
    ensemble.serving()
    reader = Session().attach_any([member.address])
    reader.sync()
    there = [n for n in range(20) if reader.exists("/isolated-%d" % n)]
    reader.close()
    if set(answered) - set(there):
        raise AssertionError("acknowledged by an isolated leader and lost: %s" % (set(answered) - set(there)))
    for number in there:
        clear(ensemble, "/isolated-%d" % number)


def cut(ensemble, member, load):
    """No way between a learner and the leader; both still reach the third voter."""
    leader = ensemble.serving()
    if leader is member:
        return
    ensemble.network.cut(member.sid, leader.sid)
    time.sleep(ensemble.tick * 6 / 1000)
    load.progress()
    ensemble.serving(others(ensemble, member))
    ensemble.network.heal()


def create_body(path, data=b""):
    return exercise.make(path, data)[9:]


def fill(ensemble, root, count, size):
    """Writes nodes without waiting for each."""
    session = Session(wait=20).attach_any(ensemble.addresses(ensemble.running()))
    with contextlib.suppress(Failed):
        session.create(root)
    for start in range(0, count, 200):
        asked = [session.post(1, create_body("%s/%05d" % (root, n), b"f" * size))
                 for n in range(start, min(start + 200, count))]
        for xid in asked:
            session.take(xid)
    session.close()


def learned(member, since):
    """How a server says that it was brought up to date."""
    return " ".join(a or b for a, b in SYNCS.findall(member.log_text()[since:])) or "not told"


def learners(ensemble, kind):
    """A voting follower and an observer of this kind."""
    found = [cast(ensemble, "follower", kind)]
    return found + [m for m in ensemble.members if m.role == "observer" and m.kind == kind][:1]


def behind(ensemble, how, title):
    """Down for more transactions than a leader keeps in memory, and back while others write."""
    down = learners(ensemble, how.kind)
    for member in down:
        member.kill()
    ensemble.serving()
    fill(ensemble, "/behind", 700 if how.short else 3000, 2000)
    load = Load(ensemble, clients=4, seed=how.seed)
    with load:
        load.progress()
        for member in down:
            since = len(member.log_text())
            began = time.monotonic()
            member.start()
            ensemble.serving()
            note("%s: server %d is up to date after %.2f s (%s)" % (title, member.sid, time.monotonic() - began,
                                                                    learned(member, since)))
        load.progress()
    problems = load.verdict(settle(ensemble, title, quiet=True))
    check(title, not problems, "\n".join(problems[:20]) + "\n" + ensemble.tails())
    load.close()
    clear(ensemble, load.root)
    clear(ensemble, "/behind")


def empty(ensemble, how, title):
    """Back with a fresh data directory."""
    down = learners(ensemble, how.kind)
    for member in down:
        member.kill()
        ensemble.serving()
        member.wipe()
        since = len(member.log_text())
        began = time.monotonic()
        member.start()
        ensemble.serving()
        note("%s: server %d is up to date after %.2f s (%s)" % (title, member.sid, time.monotonic() - began,
                                                                learned(member, since)))


def ahead(ensemble, how, title):
    """A leader whose log ends with proposals that no other server has: it must forget them when it is back, before
    the others have written on (TRUNC) and after (SNAP). One that another server has logged may survive, as nobody was
    told anything of it; then it and all before it are everywhere."""
    for number, written in enumerate((False, True)):
        old_leader(ensemble, how, title, "/ahead-%d-" % number, written)


def old_leader(ensemble, how, title, prefix, written):
    leader = cast(ensemble, "leader", how.kind)
    followers = [m for m in ensemble.voters if m is not leader]
    session = Session().attach_any([leader.address])
    for member in followers:
        member.pause()
    for number in range(20):
        session.post(1, create_body("%s%02d" % (prefix, number)))
    try:
        until("proposals in the leader's log", lambda: leader.holds(("%s19" % prefix).encode()), 1.5)
        logged = "logged"
    except TimeoutError:
        logged = "not seen in its log"
    # What the followers have not read from their connections is lost with them.
    for member in followers:
        member.kill()
    leader.kill()
    session.drop()
    names = ["%s%02d" % (prefix[1:], number) for number in range(20)]
    elsewhere = [name for name in names if any(member.holds(name.encode()) for member in followers)]
    ensemble.start(followers)
    if written:
        fill(ensemble, prefix.replace("ahead", "after"), 10, 10)
    since = len(leader.log_text())
    leader.start()
    ensemble.serving()
    note("%s: proposals of the old leader %s; back %s others wrote, it was told: %s"
         % (title, logged, "after" if written else "before", learned(leader, since)))
    reader = Session().attach_any([leader.address])
    reader.sync()
    left = [name for name in reader.children("/")[0] if name.startswith(prefix[1:])]
    reader.close()
    check("%s: proposals that only the leader had are forgotten%s" % (title, ", later" if written else ""),
          set(left) <= set(elsewhere) and sorted(left) == names[:len(left)],
          "left: %s; in the logs of others: %s" % (" ".join(left), " ".join(elsewhere)))


# Leader kills


def kills(how):
    """Three of the subject under load while leader after leader is killed."""
    count = how.kills or (3 if how.short else 50)
    name = "%d kills of leading %s" % (count, how.kind)
    with Ensemble([how.kind] * 3) as ensemble:
        with part(name, ensemble):
            ensemble.start()
            session = Session().attach_any(ensemble.addresses())
            session.create("/probe")
            session.close()
            times = []
            load = Load(ensemble, clients=6, seed=how.seed)
            try:
                with load:
                    load.progress(writes=50)
                    for _ in range(count):
                        leader = ensemble.serving()
                        times.append(failover(leader, others(ensemble, leader)))
                        load.progress()
                        leader.start()
                        ensemble.serving()
                        load.progress()
            finally:
                note("%s: %s" % (name, load.figures()))
                if times:
                    note("%s: from the kill to the next write acknowledged: %s" % (name, spread(times)))
            tree = settle(ensemble, name)
            problems = load.verdict(tree)
            check(name + ": every acknowledged write is there, no session lost, one history", not problems,
                  "\n".join(problems[:20]))
            load.close()


def failover(leader, rest, seconds=30.0):
    """Kills the leader; the time until a write asked afterwards is acknowledged by any other server."""
    probes = [Session(wait=1.0).attach_any([member.address]) for member in rest]
    first = threading.Event()
    done = []

    def probe(session, address):
        while not first.is_set():
            try:
                if session.socket is None:
                    session.attach(address, 0.5)
                session.set("/probe", b"x")
                done.append(time.monotonic())
                first.set()
            except (Lost, Failed):
                time.sleep(0.004)
            except Expired:
                session.id, session.password = 0, bytes(16)

    threads = [threading.Thread(target=probe, args=(session, member.address), daemon=True)
               for session, member in zip(probes, rest)]
    began = time.monotonic()
    leader.process.kill()
    for thread in threads:
        thread.start()
    found = first.wait(seconds)
    leader.process.wait(15)
    if not found:
        raise TimeoutError("no write acknowledged within %d s of the leader's death" % seconds)
    took = min(done) - began
    for thread, session, member in zip(threads, probes, rest):
        thread.join(10)
        with contextlib.suppress(Lost, Expired):
            if session.socket is None:
                session.attach(member.address, 1.0)
            session.close()
    return took


SCENARIOS = {"checker": checker_trials, "roles": roles, "migration": migration, "faults": faults, "mixed": mixed,
             "kills": kills}


def late(*_):
    """The run takes too long: its servers end with it."""
    check("the run ends in time", False)
    sys.exit(finish())


def main(words, build):
    arguments = argparse.ArgumentParser(prog="tools/interop/run ensemble", description=__doc__,
                                        formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("scenario", nargs="*", help="one or more of: " + " ".join(SCENARIOS))
    arguments.add_argument("--short", action="store_true", help="the form for CI: under 4 minutes")
    arguments.add_argument("--kind", choices=KINDS, default="ringkeeper", help="what is tried (ringkeeper)")
    arguments.add_argument("--zookeeper", choices=KINDS, default="zk38",
                           help="what the migration leads from and back to (zk38)")
    arguments.add_argument("--kills", type=int, help="leaders to kill (50; short 3)")
    arguments.add_argument("--seed", type=int, default=1, help="of the clients' choices (1)")
    how = arguments.parse_args(words)
    unknown = [name for name in how.scenario if name not in SCENARIOS]
    if unknown:
        arguments.error("unknown scenario %s; there are: %s" % (unknown[0], " ".join(SCENARIOS)))
    # A kill of the run ends its servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    install("zookeeper", "default-jre-headless", "libzookeeper-mt-dev", "gcc", "iproute2")
    newer_classpath()
    if how.kind == "ringkeeper":
        build()
    signal.signal(signal.SIGALRM, late)
    signal.alarm(600 if how.short else 3600)
    for name in how.scenario or SCENARIOS:
        began = time.monotonic()
        try:
            SCENARIOS[name](how)
        except TROUBLE as error:
            check(name, False, "%s: %s" % (type(error).__name__, error))
        note("%s took %.0f s" % (name, time.monotonic() - began))
    return finish()
