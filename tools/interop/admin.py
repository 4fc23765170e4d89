"""The HTTP admin server beside that of ZooKeeper 3.9.5 (with Debian's Jetty): status codes, commands, and the names and
types of what they answer. Values differ from run to run; shapes must not."""
import http.client
import json

from report import check, note
from servers import free_port, server
from wire import Client, Masks

# What this server does not have: the commands that take or send a whole state, and what it does not count.
NO_COMMANDS = {"restore", "snapshot"}
NOT_COUNTED = {"fsync_threshold_exceed_count", "non_mtlsremote_conn_count", "non_mtlslocal_conn_count"}
TARGETS = ("/", "/commands", "/commands/", "/commands/ruok", "/commands/ruok?x=1", "/commands/nope", "/commandsx",
           "/commands/stmk?traceMask=9", "/commands/stmk?traceMask=x", "/commands/stmk", "/commands/gtmk")


def ask(port, target, method="GET"):
    """Status, type of content, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, (answer.getheader("Content-Type") or "").split(";")[0], answer.read().decode()
    finally:
        connection.close()


def outcome(status, content, _body):
    """What must be alike: lists and errors are for eyes."""
    return status, content == "application/json"


def shape(value):
    """Names and types. Keys that are ids, times or paths are all alike."""
    if isinstance(value, dict):
        if value and all(key.lstrip("-").isdigit() or key.startswith("/") for key in value):
            return {"*": shape(next(iter(value.values())))}
        return {key: shape(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return {bool: "bool", int: "number", float: "number", str: "text", type(None): "null"}[type(value)]


def differences(left, right, at=""):
    """Where ZooKeeper's shape and ours are not the same."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(set(left) | set(right)):
            if key not in right:
                if key not in NOT_COUNTED:
                    yield "%s.%s is missing" % (at, key)
            elif key not in left:
                yield "%s.%s is not ZooKeeper's" % (at, key)
            else:
                yield from differences(left[key], right[key], "%s.%s" % (at, key))
    elif isinstance(left, list) and isinstance(right, list) and left and right:
        yield from differences(left[0], right[0], at + "[]")
    elif left != right:
        yield "%s is %s, ZooKeeper's is %s" % (at, right, left)


def gather(kind):
    """Every answer of a server with one client that watches and has an ephemeral znode."""
    port = free_port()
    lines = ("admin.enableServer=true", "admin.serverAddress=127.0.0.1", "admin.serverPort=%d" % port)
    with server(kind, lines) as clients:
        client = Client(clients, [], Masks()).connect()
        client.create("/ephemeral", b"x", 1)
        client.get("/ephemeral", watch=True)
        codes = {("GET", target): outcome(*ask(port, target)) for target in TARGETS}
        codes["TRACE", "/commands"] = outcome(*ask(port, "/commands", "TRACE"))
        codes["HEAD", "/commands/ruok"] = ask(port, "/commands/ruok", "HEAD")
        names = [line.split(">")[1].split("<")[0] for line in ask(port, "/commands")[2].splitlines() if "href" in line]
        answers = {}
        for name in names:
            if name not in NO_COMMANDS | {"stat_reset", "connection_stat_reset"}:
                answers[name] = json.loads(ask(port, "/commands/" + name)[2])
        for name in ("stat_reset", "connection_stat_reset"):
            answers[name] = json.loads(ask(port, "/commands/" + name)[2])
        client.close()
        return codes, set(names), answers


def run():
    theirs, ours = gather("zk395"), gather("ringkeeper")
    for key, code in theirs[0].items():
        check("admin: %s %s" % key, ours[0][key] == code, "%s, ZooKeeper says %s" % (ours[0][key], code))
    missing, more = theirs[1] - ours[1], ours[1] - theirs[1]
    check("admin: the same commands but two", missing == NO_COMMANDS and not more, "%s %s" % (missing, more))
    for name, answer in sorted(theirs[2].items()):
        mine = ours[2].get(name, {})
        if name == "system_properties":
            # Those of a JVM.
            mine, answer = {key: mine.get(key) for key in ("command", "error")}, \
                           {key: answer.get(key) for key in ("command", "error")}
        elif name == "monitor":
            shared = {key for key in answer if key in mine}
            note("admin: monitor has %d of ZooKeeper's %d values" % (len(shared), len(answer)))
            answer, mine = ({key: one[key] for key in shared} for one in (answer, mine))
        found = list(differences(shape(answer), shape(mine)))
        check("admin: " + name, not found, "\n".join(found))
