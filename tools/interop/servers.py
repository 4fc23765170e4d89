"""Starts servers of every kind: one on loopback for a comparison (`server`), or the members of an ensemble
(`Ensemble`), each with its own data directory, free ports and a small heap, and ends them by their ids.

Kinds: `ringkeeper` (target/release/ringkeeper, or what RINGKEEPER_BIN names), `zk38` (Debian's Apache ZooKeeper
3.8) and `zk395` (3.9.5, whose jars the Python source package pyspark carries).
"""
import contextlib
import glob
import mmap
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUPER = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="
JARS = ("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-simple", "netty-all", "netty-transport", "netty-common",
        "netty-buffer", "netty-handler", "netty-codec", "netty-resolver", "snappy-java", "metrics-core",
        "commons-cli", "audience-annotations", "commons-io", "jackson-core", "jackson-databind",
        "jackson-annotations", "jline2", "jline")
# The release of pyspark whose jars hold ZooKeeper 3.9.5, and which of its jars a server needs.
PYSPARK = "4.3.0"
PYSPARK_JARS = ("zookeeper-", "slf4j-api-", "log4j-api-", "log4j-core-", "log4j-slf4j2-", "netty-", "snappy-java-",
                "metrics-core-", "commons-cli-", "audience-annotations-", "commons-io-", "jackson-core-",
                "jackson-databind-", "jackson-annotations-", "curator-", "guava-", "failureaccess-")
ADMIN_PACKAGES = ("libjetty9-java", "libservlet-api-java")
KINDS = ("ringkeeper", "zk38", "zk395")
# Two cores run three of these: compile less, collect on one thread.
JAVA = ("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData",
        "-Djava.awt.headless=true", "-Dfile.encoding=UTF-8")
# What a ZooKeeper waits for a fellow that does not answer, at most between two looks for a leader, and for requests
# that nobody will answer before it leaves a lost role: 5, 60 and 10 s by default, which would only make runs long.
IMPATIENT = ("-Dzookeeper.cnxTimeout=1000", "-Dzookeeper.fastleader.maxNotificationInterval=1000",
             "-Dzookeeper.request_throttler.shutdownTimeout=1000")
SERVER_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"


def install(*packages):
    """Installs Debian packages that are missing."""
    missing = [p for p in packages
               if subprocess.run(["dpkg", "-s", p], capture_output=True, check=False).returncode]
    if missing:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", *missing], check=True, stdout=subprocess.DEVNULL)


def classpath():
    return ":".join(p for jar in JARS for p in glob.glob("/usr/share/java/%s.jar" % jar))


def newer_classpath():
    """The class path of ZooKeeper 3.9.5 and Apache Curator. The first use downloads pyspark from PyPI and keeps these jars only, in
    ZOOKEEPER_JARS or a folder of the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.environ.get("ZOOKEEPER_JARS") or os.path.join(cache, "ringkeeper-interop", "zookeeper-3.9.5")
    if not glob.glob(os.path.join(folder, "curator-recipes-*.jar")):
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as work:
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                            "--no-deps", "--no-binary", "pyspark", "--dest", work,
                            "pyspark==" + PYSPARK], check=True, timeout=900)
            jars = os.path.join(work, "jars")
            os.mkdir(jars)
            with tarfile.open(glob.glob(os.path.join(work, "pyspark-*.tar.gz"))[0]) as archive:
                for entry in archive:
                    name = os.path.basename(entry.name)
                    if entry.isfile() and name.endswith(".jar") and name.startswith(PYSPARK_JARS):
                        with open(os.path.join(jars, name), "wb") as jar:
                            shutil.copyfileobj(archive.extractfile(entry), jar)
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(jars, folder)
    return ":".join(sorted(glob.glob(os.path.join(folder, "*.jar"))) + jetty())


def jetty():
    """What ZooKeeper's admin server needs, where Debian's packages (ADMIN_PACKAGES) are installed."""
    names = ["jetty9-" + part for part in ("server", "servlet", "http", "io", "util", "security")] + ["servlet-api"]
    return [path for path in ("/usr/share/java/%s.jar" % name for name in names) if os.path.exists(path)]


def command(kind, config, level="error"):
    """The command line of a server."""
    if kind == "ringkeeper":
        binary = os.environ.get("RINGKEEPER_BIN") or str(ROOT / "target/release/ringkeeper")
        return [binary, "serve", "--config", config]
    if kind == "zk395":
        return [*JAVA, *IMPATIENT, "-cp", newer_classpath(), "-Dlog4j2.level=" + level.upper(), SERVER_CLASS, config]
    return [*JAVA, *IMPATIENT, "-cp", classpath(), "-Dorg.slf4j.simpleLogger.defaultLogLevel=" + level,
            "-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
            SERVER_CLASS, config]


def free_ports(count):
    """Ports that were free a moment ago, all different, and below those that the kernel gives to outgoing
    connections: a client that tries the port of a server that is down must not end up connected to itself."""
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    with contextlib.ExitStack() as stack:
        ports = []
        for port in random.sample(range(10000, max(first, 12000)), 1000):
            s = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                s.bind(("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise OSError("no free ports")


def free_port():
    return free_ports(1)[0]


def word(port, four, host="127.0.0.1", timeout=5):
    with socket.create_connection((host, port), timeout=timeout) as s:
        s.sendall(four.encode())
        return b"".join(iter(lambda: s.recv(65536), b"")).decode()


@contextlib.contextmanager
def server(kind, lines=("admin.enableServer=false",)):
    """Yields the client port of a running server, `ringkeeper`, `zookeeper` (Debian's) or `zk395`, with more lines in its
    configuration."""
    with tempfile.TemporaryDirectory(prefix="interop-") as folder:
        port = free_port()
        config = os.path.join(folder, "zoo.cfg")
        with open(config, "w", encoding="ascii") as f:
            f.write("\n".join((
                "tickTime=2000", "dataDir=%s/data" % folder, "clientPort=%d" % port, "clientPortAddress=127.0.0.1",
                "maxClientCnxns=0", "4lw.commands.whitelist=*", "extendedTypesEnabled=true",
                "DigestAuthenticationProvider.superDigest=" + SUPER, *lines)) + "\n")
        os.mkdir(os.path.join(folder, "data"))
        with open(os.path.join(folder, "log"), "wb") as log:
            process = subprocess.Popen(command(kind, config), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            wait(process, port, os.path.join(folder, "log"))
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def wait(process, port, log):
    """Returns when the server says imok, or fails with its log."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            if word(port, "ruok") == "imok" and "not currently" not in word(port, "srvr"):
                return
        time.sleep(0.05)
    raise SystemExit("server did not start:\n" + pathlib.Path(log).read_text(errors="replace")[-2000:])


def until(what, ready, seconds, pause=0.02):
    """The first true answer of `ready`, or TimeoutError with what was waited for."""
    end = time.monotonic() + seconds
    while True:
        answer = ready()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError("%s: not within %d s" % (what, seconds))
        time.sleep(pause)


class Member:
    """One server of an ensemble. Its id, addresses and folder stay; its kind may change while it is down."""

    def __init__(self, ensemble, sid, kind, role="participant"):
        self.ensemble, self.sid, self.kind, self.role = ensemble, sid, kind, role
        self.host = self.peer_host = "127.0.0.1"
        self.enter = []
        if ensemble.network:
            self.host, self.peer_host, self.enter = ensemble.network.place(sid)
        self.port, self.quorum, self.election = free_ports(3)
        self.folder = os.path.join(ensemble.folder, "server%d" % sid)
        self.data = os.path.join(self.folder, "data")
        self.log = os.path.join(self.folder, "log")
        self.process = None
        self.paused = False
        os.makedirs(self.folder)

    def __str__(self):
        return "server %d (%s)" % (self.sid, self.kind)

    @property
    def address(self):
        return self.host, self.port

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def line(self):
        return "server.%d=%s:%d:%d:%s" % (self.sid, self.peer_host, self.quorum, self.election, self.role)

    def configure(self):
        """Writes zoo.cfg and myid as they should be for the ensemble of now."""
        os.makedirs(self.data, exist_ok=True)
        pathlib.Path(self.data, "myid").write_text("%d\n" % self.sid, encoding="ascii")
        config = ["tickTime=%d" % self.ensemble.tick, "initLimit=20", "syncLimit=4", "dataDir=" + self.data,
                  "clientPort=%d" % self.port, "clientPortAddress=" + self.host, "maxClientCnxns=0",
                  "admin.enableServer=false", "4lw.commands.whitelist=*", "extendedTypesEnabled=true",
                  "DigestAuthenticationProvider.superDigest=" + SUPER, *self.ensemble.options]
        if self.role == "observer":
            config.append("peerType=observer")
        config += [member.line() for member in self.ensemble.listed(self)]
        path = os.path.join(self.folder, "zoo.cfg")
        pathlib.Path(path).write_text("\n".join(config) + "\n", encoding="ascii")
        return path

    def start(self, kind=None):
        assert not self.running
        self.kind = kind or self.kind
        config = self.configure()
        with open(self.log, "ab") as log:
            log.write(("--- start of %s\n" % self).encode())
            log.flush()
            self.process = subprocess.Popen([*self.enter, *command(self.kind, config, "info")], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder)
        self.paused = False

    def stop(self):
        """A clean end; a kill if that takes more than 15 s."""
        if self.running:
            self.resume()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait(15)

    def pause(self):
        """A signal is only sent by this: the threads stop one by one, each when it is its turn on a processor."""
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True
        deadline = time.monotonic() + 10
        while not self._stopped():
            assert time.monotonic() < deadline, "server %d does not stop" % self.sid
            time.sleep(0.001)

    def _stopped(self):
        for status in pathlib.Path("/proc/%d/task" % self.process.pid).glob("*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if status.read_text().rpartition(")")[2].split()[0] not in "TtZX":
                    return False
        return True

    def resume(self):
        if self.paused:
            self.process.send_signal(signal.SIGCONT)
            self.paused = False

    def wipe(self):
        """Loses the data directory."""
        assert not self.running
        shutil.rmtree(self.data, ignore_errors=True)

    def holds(self, marker):
        """Whether one of the newest files of the data directory holds these bytes."""
        files = [path for path in pathlib.Path(self.data).rglob("*") if path.is_file() and path.stat().st_size]
        for path in sorted(files, key=lambda path: path.stat().st_mtime)[-3:]:
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as file, \
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if data.find(marker) >= 0:
                    return True
        return False

    def word(self, four, timeout=2):
        """The answer to a four-letter word; empty when there is none."""
        try:
            return word(self.port, four, self.host, timeout)
        except (OSError, UnicodeDecodeError):
            return ""

    def mode(self):
        """leader, follower, observer or standalone; None while it does not serve."""
        if not self.running or self.paused:
            return None
        for line in self.word("srvr").splitlines():
            if line.startswith("Mode: "):
                return line[6:].strip()
        return None

    def log_text(self):
        return pathlib.Path(self.log).read_text(errors="replace") if os.path.exists(self.log) else ""


class Ensemble:
    """Members that form one ensemble. `kinds` and `observers` give the kinds by rising id from 1."""

    def __init__(self, kinds, observers=(), tick=500, network=None, options=()):
        self.folder = tempfile.mkdtemp(prefix="interop-")
        self.tick, self.network, self.options = tick, network, list(options)
        self.members = []
        # Which kind led each epoch, as far as was seen.
        self.led = {}
        # Digest mismatches that were already spoken of.
        self.told = []
        # Parts of a scenario that ended in trouble.
        self.troubles = 0
        for kind in kinds:
            self.members.append(Member(self, len(self.members) + 1, kind))
        for kind in observers:
            self.members.append(Member(self, len(self.members) + 1, kind, "observer"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for member in self.members:
            with contextlib.suppress(OSError):
                member.kill()
        if os.environ.get("KEEP"):
            print("     kept: " + self.folder)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def listed(self, _member):
        return self.members

    def member(self, sid):
        return self.members[sid - 1]

    @property
    def voters(self):
        return [m for m in self.members if m.role == "participant"]

    def running(self):
        return [m for m in self.members if m.running and not m.paused]

    def addresses(self, members=None):
        return [m.address for m in members or self.members]

    def start(self, members=None, seconds=40):
        """Starts members (all that are down) and waits until all serve."""
        for member in members or self.members:
            if not member.running:
                member.start()
        return self.serving(seconds=seconds)

    def leader(self, among=None):
        """The member that leads now, or None."""
        for member in among or self.running():
            if member.mode() == "leader":
                return member
        return None

    def followers(self):
        return [m for m in self.running() if m.mode() == "follower"]

    def serving(self, members=None, seconds=30):
        """Waits until these members (all that run) serve and one leads; returns the leader."""
        wanted = members or self.running()

        def ready():
            for member in wanted:
                if member.process.poll() is not None:
                    raise ChildProcessError("%s ended with %d" % (member, member.process.returncode))
            modes = [member.mode() for member in wanted]
            return wanted[modes.index("leader")] if None not in modes and "leader" in modes else None

        leader = until("serving: " + ", ".join(map(str, wanted)), ready, seconds)
        zxid = re.search(r"(?m)^Zxid: 0x([0-9a-f]+)", leader.word("srvr"))
        if zxid:
            self.led.setdefault(int(zxid[1], 16) >> 32, leader.kind)
        return leader

    def lead(self, member, tries=6):
        """Makes a member the leader by stopping others that lead; False when it never does."""
        for _ in range(tries):
            leader = self.serving()
            if leader is member:
                return True
            leader.stop()
            self.serving()
            leader.start()
            self.serving()
        return self.leader() is member

    def mismatches(self):
        """What the logs say of trees that differ from what was told, as (grave, line) in order of members. Grave is
        what Ringkeeper says, and what a ZooKeeper says of a transaction that a Ringkeeper proposed (or may have).
        Not grave is what ZooKeepers say of each other's transactions, and of their own logs and snapshots while
        they start (thread main)."""
        found = []
        ours = any(member.kind == "ringkeeper" for member in self.members) or "ringkeeper" in self.led.values()
        for member in self.members:
            kind = member.kind
            for line in member.log_text().splitlines():
                if line.startswith("--- start of"):
                    kind = line.split("(")[1].rstrip(")")
                elif kind == "ringkeeper":
                    low = line.lower()
                    if "digest" in low and ("mismatch" in low or "differ" in low or "not match" in low):
                        found.append((True, "server %d (%s): %s" % (member.sid, kind, line[:240])))
                elif "Digests are not matching" in line or "First digest mismatch" in line:
                    zxid = re.search(r"Value:(\d+)", line)
                    proposer = self.led.get(int(zxid[1]) >> 32, "unknown") if zxid else "unknown"
                    own = re.search(r"\[main\]| main (WARN|ERROR)", line)
                    grave = not own and ours and proposer in ("ringkeeper", "unknown")
                    found.append((grave, "server %d (%s), epoch led by %s: %s"
                                  % (member.sid, kind, proposer, line[:240])))
        return found

    def digests(self):
        """How the digests that servers keep for the same zxid differ (word hash); servers that logged a mismatch
        are left to `mismatches`."""
        told = {line.split(" (")[0] for _, line in self.mismatches()}
        seen, wrong, compared = {}, [], 0
        for member in self.running():
            if "server %d" % member.sid in told:
                continue
            for zxid, digest in re.findall(r"(?m)^([0-9a-f]+): ?(-?\d+)$", member.word("hash")):
                if zxid in seen:
                    compared += 1
                    if seen[zxid][0] != digest:
                        wrong.append("0x%s: %s %s | %s %s" % (zxid, *seen[zxid][::-1], member, digest))
                else:
                    seen[zxid] = (digest, member)
        return compared, wrong

    def tails(self, lines=8):
        """The ends of the logs, without the questions of this program and without stacks."""
        told = []
        for member in self.members:
            log = [line for line in member.log_text().splitlines() if "srvr command" not in line and line[:1] != "\t"]
            told += ["--- log of %s, %s" % (member, "up" if member.running else "down"),
                     *(line[:300] for line in log[-lines:])]
        return "\n".join(told)
