"""Clients of other languages, each with a small program of ours (`foreign/`) that walks what the client's own tests
walk: ZooKeeper's Java client and Apache Curator (jars that the Python package pyspark carries), Go (Debian's
go-zookeeper) and Node (npm's node-zookeeper-client). Rust's zookeeper-client is walked by `server/tests`.

A program gets host:port, prints `ok NAME` or `FAIL NAME: why` for every case, and may print `restart`: then the
server is stopped and started again, and the program gets an empty line.
"""
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading

from report import check, skip
from servers import JAVA, Ensemble, install, newer_classpath, until

FOREIGN = pathlib.Path(__file__).resolve().parent / "foreign"
SECONDS = 300


def java(folder, name):
    """The command of a Java program."""
    classes = os.path.join(folder, "classes")
    path = newer_classpath()
    if not os.path.isdir(classes):
        sources = [str(source) for source in sorted(FOREIGN.glob("*.java"))]
        subprocess.run(["javac", "-nowarn", "-XDsuppressNotes", "-d", classes, "-cp", path, *sources], check=True)
    return [*JAVA, "-Dlog4j2.level=OFF", "-cp", "%s:%s" % (classes, path), name], {}


def go(folder):
    program = os.path.join(folder, "client")
    env = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="", GOCACHE=folder + "/go")
    subprocess.run(["go", "build", "-o", program, str(FOREIGN / "client.go")], check=True, env=env)
    return [program], {}


def node(folder):
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder,
                    "node-zookeeper-client@1.1.3"], check=True, stdout=subprocess.DEVNULL)
    return ["node", str(FOREIGN / "client.js")], {"NODE_PATH": os.path.join(folder, "node_modules")}


# What each needs of Debian; a program that is there by other means will do.
CLIENTS = {
    "java": ({"javac": "default-jdk-headless"}, lambda folder: java(folder, "Api")),
    "curator": ({"javac": "default-jdk-headless"}, lambda folder: java(folder, "Recipes")),
    "go": ({"go": "golang-go", "": "golang-github-samuel-go-zookeeper-dev"}, go),
    "node": ({"node": "nodejs", "npm": "npm"}, node),
}


def start(member):
    member.start()
    until("%s serves" % member, member.mode, 40)


def walk(name, command, env):
    """Runs a program against a server of its own; every case it names is a result."""
    with Ensemble(["ringkeeper"]) as ensemble:
        member = ensemble.members[0]
        start(member)
        address = "%s:%d" % member.address
        with subprocess.Popen([*command, address], env={**os.environ, **env}, text=True, bufsize=1,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            alarm = threading.Timer(SECONDS, program.kill)
            alarm.start()
            errors = []
            reader = threading.Thread(target=lambda: errors.extend(program.stderr))
            reader.start()
            cases = 0
            for line in program.stdout:
                word, _, rest = line.strip().partition(" ")
                if word == "restart":
                    member.stop()
                    start(member)
                    program.stdin.write("\n")
                    program.stdin.flush()
                elif word in ("ok", "FAIL"):
                    cases += 1
                    case, _, why = rest.partition(": ")
                    check("%s: %s" % (name, case), word == "ok", why)
            alarm.cancel()
            code = program.wait()
            reader.join()
        check("%s: ends well" % name, code == 0 and cases, "exit %s\n%s" % (code, "".join(errors[-8:])))


def run():
    for name, (packages, prepare) in CLIENTS.items():
        with tempfile.TemporaryDirectory(prefix="interop-") as folder:
            try:
                install(*(package for program, package in packages.items() if not shutil.which(program)))
                command, env = prepare(folder)
            except (OSError, subprocess.CalledProcessError) as error:
                skip(name, str(error))
                continue
            walk(name, command, env)
