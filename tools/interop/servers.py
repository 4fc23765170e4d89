"""Starts one server of each kind on loopback, with a fresh data directory and a free port."""
import contextlib
import glob
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUPER = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="
JARS = ("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-simple", "netty-all", "netty-transport", "netty-common",
        "netty-buffer", "netty-handler", "netty-codec", "netty-resolver", "snappy-java", "metrics-core",
        "commons-cli", "audience-annotations", "commons-io", "jackson-core", "jackson-databind",
        "jackson-annotations", "jline2", "jline")


def install(*packages):
    """Installs Debian packages that are missing."""
    missing = [p for p in packages
               if subprocess.run(["dpkg", "-s", p], capture_output=True, check=False).returncode]
    if missing:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", *missing], check=True, stdout=subprocess.DEVNULL)


def classpath():
    return ":".join(p for jar in JARS for p in glob.glob("/usr/share/java/%s.jar" % jar))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def word(port, four):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall(four.encode())
        return b"".join(iter(lambda: s.recv(65536), b"")).decode()


@contextlib.contextmanager
def server(kind):
    """Yields the client port of a running server: `ringkeeper` or `zookeeper`."""
    with tempfile.TemporaryDirectory(prefix="interop-") as folder:
        port = free_port()
        config = os.path.join(folder, "zoo.cfg")
        with open(config, "w", encoding="ascii") as f:
            f.write("\n".join((
                "tickTime=2000", "dataDir=%s/data" % folder, "clientPort=%d" % port, "clientPortAddress=127.0.0.1",
                "maxClientCnxns=0", "admin.enableServer=false", "4lw.commands.whitelist=*",
                "extendedTypesEnabled=true", "DigestAuthenticationProvider.superDigest=" + SUPER)) + "\n")
        os.mkdir(os.path.join(folder, "data"))
        if kind == "ringkeeper":
            command = [str(ROOT / "target/release/ringkeeper"), "serve", "--config", config]
        else:
            command = ["java", "-Xmx256m", "-cp", classpath(), "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                       "org.apache.zookeeper.server.quorum.QuorumPeerMain", config]
        with open(os.path.join(folder, "log"), "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
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
