"""Clients that nobody here wrote: ZooKeeper's own Java command line and the C library, each as a transcript."""
import os
import pathlib
import re
import subprocess

from servers import JAVA, classpath

HERE = pathlib.Path(__file__).resolve().parent
CLI = """create /cli v0
create /cli again
get /cli
set -v 0 /cli v1
set -v 0 /cli v2
get /cli
create -s /cli/s- x
create -e /cli/e x
create -c /cli/c
create /none/x y
ls /cli
ls -R /cli
delete /cli
getAllChildrenNumber /cli
getEphemerals /cli
getAcl /cli
setAcl /cli/c world:anyone:r
set /cli/c no
whoami
addauth digest me:pw
create /cli/mine x auth:me:pw:cdrwa
getAcl /cli/mine
sync /cli
setquota -n 9 /cli
listquota /cli
delquota /cli
get /cli/none
deleteall /cli
ls /
quit
"""
CLI_SAYS = ("Node already exists: /cli", "version No is not valid", "Created /cli/s-0000000000", "'digest,'me:",
            "Insufficient permission : /cli/c", "Node does not exist: /cli/none")


def java_cli(host, port):
    """The lines that the command line prints, without addresses and zxids."""
    ended = subprocess.run(
        [*JAVA, "-cp", classpath(), "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
         "org.apache.zookeeper.ZooKeeperMain", "-server", "%s:%d" % (host, port)],
        input=CLI, capture_output=True, text=True, timeout=120, check=False)
    # Whether the shell prints its own closing before it ends is a race between two of its threads.
    text = re.sub(r"WATCHER::\s*WatchedEvent state:Closed [^\n]*\n", "", ended.stdout + "\n" + ended.stderr)
    lines = [line for line in text.splitlines() if line.strip()]
    return [re.sub(r"\d+\.\d+\.\d+\.\d+:\d+|0x[0-9a-f]{8,}", "X", line) for line in lines]


def build_c_session(folder):
    """Compiles c_session.c; returns the program's path."""
    program = os.path.join(folder, "c_session")
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-DTHREADED", "-o", program, str(HERE / "c_session.c"),
                    "-lzookeeper_mt", "-lpthread"], check=True)
    return program


def c_session(program, host, port, chroot=""):
    """The lines that the C session prints, and its exit code."""
    ended = subprocess.run([program, "%s:%d%s" % (host, port, chroot)], capture_output=True, text=True,
                           timeout=120, check=False)
    return ended.stdout.splitlines() + ["exit %d" % ended.returncode]
