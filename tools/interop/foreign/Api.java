import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/** Walks ZooKeeper's own Java client through its calls. One argument: host:port. */
public final class Api {
    private static final byte[] DATA = "data".getBytes(StandardCharsets.UTF_8);
    private static String server;

    /** Events in the order they came. */
    static final class Events implements Watcher {
        final BlockingQueue<WatchedEvent> came = new LinkedBlockingQueue<>();

        @Override
        public void process(WatchedEvent event) {
            came.add(event);
        }

        void expect(EventType type, String path) throws InterruptedException {
            while (true) {
                WatchedEvent event = came.poll(Foreign.WAIT_S, TimeUnit.SECONDS);
                if (event == null || event.getType() != EventType.None) {
                    Foreign.equal(type + " " + path, event == null ? null : event.getType() + " " + event.getPath());
                    return;
                }
            }
        }

        void expect(KeeperState state) throws InterruptedException {
            while (true) {
                WatchedEvent event = came.poll(Foreign.WAIT_S, TimeUnit.SECONDS);
                if (event == null) {
                    throw new AssertionError("never " + state);
                }
                if (event.getType() == EventType.None && event.getState() == state) {
                    return;
                }
            }
        }

        void expectNothing() {
            Foreign.equal(null, came.peek());
        }
    }

    private static ZooKeeper connect(String chroot, Events events) throws Exception {
        ZooKeeper zk = new ZooKeeper(server + chroot, 10000, events);
        events.expect(KeeperState.SyncConnected);
        return zk;
    }

    private static void fails(Code code, Foreign.Case body) throws Exception {
        try {
            body.run();
        } catch (KeeperException error) {
            Foreign.equal(code, error.code());
            return;
        }
        throw new AssertionError("no " + code);
    }

    private static String make(ZooKeeper zk, String path) throws Exception {
        return zk.create(path, DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    }

    private static void nodes(ZooKeeper zk) throws Exception {
        Stat stat = new Stat();
        make(zk, "/n");
        Foreign.equal("/n/a", zk.create("/n/a", DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, stat));
        Foreign.equal(stat.getCzxid(), zk.exists("/n/a", false).getCzxid());
        Foreign.equal("/n/s0000000001",
                zk.create("/n/s", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL));
        zk.create("/n/c", DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER);
        zk.create("/n/t", DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, stat, 60_000);
        zk.create("/n/e", DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        Foreign.equal(zk.getSessionId(), zk.exists("/n/e", false).getEphemeralOwner());
        fails(Code.NOCHILDRENFOREPHEMERALS, () -> make(zk, "/n/e/x"));
        fails(Code.NODEEXISTS, () -> make(zk, "/n/a"));
        fails(Code.NONODE, () -> make(zk, "/none/x"));
        fails(Code.NOTEMPTY, () -> zk.delete("/n", -1));
        fails(Code.BADVERSION, () -> zk.setData("/n", DATA, 7));
        Foreign.equal(1, zk.setData("/n", null, 0).getVersion());
        Foreign.equal(null, zk.getData("/n", false, stat));
        Foreign.equal(5, stat.getNumChildren());
        Foreign.equal(5, zk.getAllChildrenNumber("/n"));
        Foreign.equal("[/n/e]", zk.getEphemerals("/n"));
        Foreign.equal("[]", zk.getEphemerals("/m"));
        List<String> children = new ArrayList<>(zk.getChildren("/n", false, stat));
        Collections.sort(children);
        Foreign.equal("[a, c, e, s0000000001, t]", children);
        CountDownLatch synced = new CountDownLatch(1);
        zk.sync("/n", (code, path, context) -> synced.countDown(), null);
        Foreign.await(synced);
    }

    private static void multi(ZooKeeper zk) throws Exception {
        make(zk, "/m");
        List<OpResult> results = zk.multi(Arrays.asList(
                Op.check("/m", 0), Op.create("/m/a", DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.create("/m/t", DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, 60_000),
                Op.create("/m/c", DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER),
                Op.setData("/m", DATA, 0), Op.delete("/m/a", -1)));
        Foreign.equal(6, results.size());
        Foreign.equal("/m/a", ((OpResult.CreateResult) results.get(1)).getPath());
        Foreign.equal(1, ((OpResult.SetDataResult) results.get(4)).getStat().getVersion());
        try {
            zk.multi(Arrays.asList(Op.create("/m/x", DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                    Op.check("/m", 9), Op.delete("/m/none", -1)));
            throw new AssertionError("it went through");
        } catch (KeeperException error) {
            Foreign.equal(Code.BADVERSION, error.code());
            int[] codes = error.getResults().stream().mapToInt(r -> ((OpResult.ErrorResult) r).getErr()).toArray();
            Foreign.equal("[0, -103, -2]", Arrays.toString(codes));
        }
        Foreign.equal(null, zk.exists("/m/x", false));
        results = zk.multi(Arrays.asList(Op.getData("/m"), Op.getChildren("/m"), Op.getData("/m/none")));
        Foreign.equal("data", new String(((OpResult.GetDataResult) results.get(0)).getData(), StandardCharsets.UTF_8));
        Foreign.equal(2, ((OpResult.GetChildrenResult) results.get(1)).getChildren().size());
        Foreign.equal(-101, ((OpResult.ErrorResult) results.get(2)).getErr());
        Foreign.equal(0, zk.multi(Collections.emptyList()).size());
    }

    private static void watches(ZooKeeper zk) throws Exception {
        Events once = new Events();
        Events each = new Events();
        Events deep = new Events();
        Foreign.equal(null, zk.exists("/w", once));
        make(zk, "/w");
        once.expect(EventType.NodeCreated, "/w");
        zk.addWatch("/w", each, AddWatchMode.PERSISTENT);
        zk.addWatch("/w", deep, AddWatchMode.PERSISTENT_RECURSIVE);
        make(zk, "/w/x");
        make(zk, "/w/x/y");
        long zxid = zk.setData("/w/x/y", DATA, -1).getMzxid();
        zk.setData("/w", DATA, -1);
        each.expect(EventType.NodeChildrenChanged, "/w");
        each.expect(EventType.NodeDataChanged, "/w");
        deep.expect(EventType.NodeCreated, "/w/x");
        deep.expect(EventType.NodeCreated, "/w/x/y");
        Foreign.equal(zxid, deep.came.poll(Foreign.WAIT_S, TimeUnit.SECONDS).getZxid());
        deep.expect(EventType.NodeDataChanged, "/w");
        zk.removeWatches("/w", deep, WatcherType.PersistentRecursive, false);
        deep.expect(EventType.PersistentWatchRemoved, "/w");
        zk.setData("/w", DATA, -1);
        each.expect(EventType.NodeDataChanged, "/w");
        zk.getData("/w", once, null);
        zk.getChildren("/w", once);
        zk.removeWatches("/w", once, WatcherType.Children, false);
        once.expect(EventType.ChildWatchRemoved, "/w");
        zk.removeAllWatches("/w", WatcherType.Any, false);
        once.expect(EventType.DataWatchRemoved, "/w");
        fails(Code.NOWATCHER, () -> zk.removeWatches("/w", deep, WatcherType.Any, false));
        fails(Code.NOWATCHER, () -> zk.removeAllWatches("/w", WatcherType.Data, false));
        zk.getData("/w/x/y", once, null);
        zk.getChildren("/w/x/y", once);
        zk.delete("/w/x/y", -1);
        once.expect(EventType.NodeDeleted, "/w/x/y");
        once.expectNothing();
        deep.expectNothing();
    }

    private static void access(ZooKeeper zk) throws Exception {
        ZooKeeper other = connect("", new Events());
        zk.addAuthInfo("digest", "u:p".getBytes(StandardCharsets.UTF_8));
        zk.create("/acl", DATA, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        Stat stat = new Stat();
        Foreign.equal("u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=", zk.getACL("/acl", stat).get(0).getId().getId());
        fails(Code.NOAUTH, () -> other.getData("/acl", false, null));
        fails(Code.NOAUTH, () -> other.exists("/acl", false));
        zk.setACL("/acl", Arrays.asList(new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE),
                new ACL(Perms.ALL, new Id("digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ="))), stat.getAversion());
        Foreign.equal("data", new String(other.getData("/acl", false, null), StandardCharsets.UTF_8));
        Foreign.equal("u:x", other.getACL("/acl", stat).get(1).getId().getId());
        fails(Code.NOAUTH, () -> other.setData("/acl", DATA, -1));
        fails(Code.INVALIDACL, () -> zk.setACL("/acl", Collections.emptyList(), -1));
        fails(Code.BADVERSION, () -> zk.setACL("/acl", Ids.READ_ACL_UNSAFE, 0));
        Foreign.holds(zk.whoAmI().toString().contains("digest"));
        other.close();
        Events refused = new Events();
        ZooKeeper bogus = connect("", refused);
        bogus.addAuthInfo("bogus", DATA);
        refused.expect(KeeperState.AuthFailed);
        bogus.close();
    }

    private static void sessions(ZooKeeper zk) throws Exception {
        Events first = new Events();
        Events second = new Events();
        ZooKeeper one = connect("", first);
        one.create("/session", DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        ZooKeeper two = new ZooKeeper(server, 10000, second, one.getSessionId(), one.getSessionPasswd());
        second.expect(KeeperState.SyncConnected);
        first.expect(KeeperState.Disconnected);
        Events stranger = new Events();
        ZooKeeper wrong = new ZooKeeper(server, 10000, stranger, one.getSessionId(), new byte[16]);
        stranger.expect(KeeperState.Expired);
        wrong.close();
        Events gone = new Events();
        zk.exists("/session", gone);
        two.close();
        gone.expect(EventType.NodeDeleted, "/session");
        first.expect(KeeperState.Expired);
        one.close();
    }

    private static void chroot(ZooKeeper zk) throws Exception {
        make(zk, "/root");
        Events events = new Events();
        ZooKeeper inside = connect("/root", new Events());
        inside.getChildren("/", events);
        Foreign.equal("/a", make(inside, "/a"));
        events.expect(EventType.NodeChildrenChanged, "/");
        Foreign.holds(zk.exists("/root/a", false) != null);
        Foreign.equal("[/e]", Collections.singletonList(
                inside.create("/e", DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL)));
        inside.addWatch("/a", events, AddWatchMode.PERSISTENT_RECURSIVE);
        zk.setData("/root/a", DATA, -1);
        events.expect(EventType.NodeDataChanged, "/a");
        inside.close();
    }

    private static void restart(ZooKeeper zk) throws Exception {
        Events session = new Events();
        Events data = new Events();
        Events deep = new Events();
        ZooKeeper kept = connect("", session);
        make(kept, "/back");
        kept.create("/back/e", DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        kept.getData("/back", data, null);
        kept.addWatch("/back", deep, AddWatchMode.PERSISTENT_RECURSIVE);
        long id = kept.getSessionId();
        Foreign.restartServer();
        session.expect(KeeperState.Disconnected);
        session.expect(KeeperState.SyncConnected);
        Foreign.equal(id, kept.getSessionId());
        Foreign.holds(kept.exists("/back/e", false) != null);
        kept.setData("/back", DATA, -1);
        data.expect(EventType.NodeDataChanged, "/back");
        deep.expect(EventType.NodeDataChanged, "/back");
        make(kept, "/back/x");
        deep.expect(EventType.NodeCreated, "/back/x");
        kept.close();
        Foreign.until(() -> zk.getState().isConnected());
        Foreign.equal(null, zk.exists("/back/e", false));
    }

    private static void readOnlyIsNotNeeded() throws Exception {
        Events events = new Events();
        ZooKeeper zk = new ZooKeeper(server, 10000, events, true);
        events.expect(KeeperState.SyncConnected);
        Foreign.equal("CONNECTED", zk.getState());
        zk.close();
    }

    private static void limits(ZooKeeper zk) throws Exception {
        zk.create("/large", new byte[1_000_000], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        ZooKeeper other = connect("", new Events());
        fails(Code.CONNECTIONLOSS, () -> other.setData("/large", new byte[1_100_000], -1));
        other.close();
        int many = 2000;
        CountDownLatch answered = new CountDownLatch(many);
        make(zk, "/many");
        for (int i = 0; i < many; i++) {
            zk.create("/many/" + i, DATA, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
                    (code, path, context, name) -> answered.countDown(), null);
        }
        Foreign.await(answered);
        Foreign.equal(many, zk.getChildren("/many", false).size());
    }

    public static void main(String[] arguments) throws Exception {
        server = arguments[0];
        ZooKeeper zk = connect("", new Events());
        Foreign.run("nodes", () -> nodes(zk));
        Foreign.run("multi", () -> multi(zk));
        Foreign.run("watches", () -> watches(zk));
        Foreign.run("access", () -> access(zk));
        Foreign.run("sessions", () -> sessions(zk));
        Foreign.run("chroot", () -> chroot(zk));
        Foreign.run("limits", () -> limits(zk));
        Foreign.run("asked to be content with reading", () -> readOnlyIsNotNeeded());
        Foreign.run("configuration", () -> Foreign.holds(zk.getConfig(false, null) != null));
        Foreign.run("restart", () -> restart(zk));
        zk.close();
        System.exit(0);
    }
}
