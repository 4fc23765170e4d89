import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorTransactionResult;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.data.Stat;

/** Walks Apache Curator's recipes. One argument: host:port. */
public final class Recipes {
    private static final byte[] DATA = "data".getBytes(StandardCharsets.UTF_8);
    private static final ExecutorService THREADS = Executors.newCachedThreadPool();
    private static String server;

    private static CuratorFramework connect() throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.newClient(server, 10000, 10000, new RetryNTimes(100, 100));
        client.start();
        client.blockUntilConnected();
        return client;
    }

    private static void nodes(CuratorFramework client) throws Exception {
        client.create().creatingParentsIfNeeded().forPath("/c/a/b", DATA);
        String made = client.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/c/p-", DATA);
        Foreign.holds(made.matches("/c/_c_[0-9a-f-]{36}-p-\\d{10}"));
        client.create().creatingParentContainersIfNeeded().forPath("/c/box/x");
        client.create().withTtl(60000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/c/ttl", DATA);
        client.create().orSetData().forPath("/c/a", DATA);
        Stat stat = new Stat();
        Foreign.equal("data", new String(client.getData().storingStatIn(stat).forPath("/c/a"), StandardCharsets.UTF_8));
        Stat next = client.setData().withVersion(stat.getVersion()).forPath("/c/a", DATA);
        Foreign.equal(stat.getVersion() + 1, next.getVersion());
        client.create().idempotent().forPath("/c/i", DATA);
        client.create().idempotent().forPath("/c/i", DATA);
        CountDownLatch answered = new CountDownLatch(1);
        client.create().inBackground((c, event) -> {
            if (event.getResultCode() == 0) {
                answered.countDown();
            }
        }).forPath("/c/background", DATA);
        Foreign.await(answered);
        client.delete().deletingChildrenIfNeeded().forPath("/c");
        Foreign.equal(null, client.checkExists().forPath("/c"));
        CuratorFramework inside = client.usingNamespace("space");
        inside.create().forPath("/x", DATA);
        Foreign.holds(client.checkExists().forPath("/space/x") != null);
    }

    private static void transactions(CuratorFramework client) throws Exception {
        List<CuratorTransactionResult> results = client.transaction().forOperations(
                client.transactionOp().create().forPath("/t", DATA),
                client.transactionOp().create().withMode(CreateMode.PERSISTENT_SEQUENTIAL).forPath("/t/s", DATA),
                client.transactionOp().setData().forPath("/t", DATA),
                client.transactionOp().check().withVersion(1).forPath("/t"));
        Foreign.equal("/t/s0000000000", results.get(1).getResultPath());
        Foreign.equal(1, results.get(2).getResultStat().getVersion());
        try {
            client.transaction().forOperations(client.transactionOp().create().forPath("/t/x", DATA),
                    client.transactionOp().delete().forPath("/t/none"));
            throw new AssertionError("it went through");
        } catch (KeeperException.NoNodeException expected) {
            Foreign.equal(0, expected.getResults().get(0).getType() == -1 ? 0 : 1);
        }
        Foreign.equal(null, client.checkExists().forPath("/t/x"));
    }

    private static void locks(CuratorFramework client) throws Exception {
        CuratorFramework other = connect();
        InterProcessMutex first = new InterProcessMutex(client, "/lock/m");
        InterProcessMutex second = new InterProcessMutex(other, "/lock/m");
        first.acquire();
        first.acquire();
        Foreign.equal(false, second.acquire(100, TimeUnit.MILLISECONDS));
        first.release();
        Future<Boolean> got = THREADS.submit(() -> {
            boolean mine = second.acquire(Foreign.WAIT_S, TimeUnit.SECONDS);
            second.release();
            return mine;
        });
        first.release();
        Foreign.equal(true, got.get());
        InterProcessReadWriteLock one = new InterProcessReadWriteLock(client, "/lock/rw");
        InterProcessReadWriteLock two = new InterProcessReadWriteLock(other, "/lock/rw");
        one.readLock().acquire();
        Foreign.equal(true, two.readLock().acquire(Foreign.WAIT_S, TimeUnit.SECONDS));
        Foreign.equal(false, two.writeLock().acquire(100, TimeUnit.MILLISECONDS));
        two.readLock().release();
        one.readLock().release();
        Foreign.equal(true, two.writeLock().acquire(Foreign.WAIT_S, TimeUnit.SECONDS));
        Foreign.equal(false, one.readLock().acquire(100, TimeUnit.MILLISECONDS));
        two.writeLock().release();
        InterProcessSemaphoreV2 places = new InterProcessSemaphoreV2(client, "/lock/s", 2);
        Lease a = places.acquire(Foreign.WAIT_S, TimeUnit.SECONDS);
        Lease b = places.acquire(Foreign.WAIT_S, TimeUnit.SECONDS);
        Foreign.equal(null, places.acquire(100, TimeUnit.MILLISECONDS));
        places.returnLease(a);
        places.returnLease(b);
        other.close();
    }

    private static void leaders(CuratorFramework client) throws Exception {
        CuratorFramework other = connect();
        LeaderLatch first = new LeaderLatch(client, "/latch", "1");
        LeaderLatch second = new LeaderLatch(other, "/latch", "2");
        first.start();
        Foreign.equal(true, first.await(Foreign.WAIT_S, TimeUnit.SECONDS));
        second.start();
        Foreign.until(() -> second.getParticipants().size() == 2);
        Foreign.equal("1", second.getLeader().getId());
        first.close();
        Foreign.equal(true, second.await(Foreign.WAIT_S, TimeUnit.SECONDS));
        // A session that dies takes the leadership with it, and the latch comes back for it.
        other.getZookeeperClient().getZooKeeper().getTestable().injectSessionExpiration();
        Foreign.until(() -> !second.hasLeadership() || other.getZookeeperClient().isConnected());
        Foreign.until(second::hasLeadership);
        second.close();
        CountDownLatch led = new CountDownLatch(2);
        LeaderSelectorListenerAdapter leading = new LeaderSelectorListenerAdapter() {
            @Override
            public void takeLeadership(CuratorFramework leader) {
                led.countDown();
            }
        };
        LeaderSelector one = new LeaderSelector(client, "/selector", leading);
        LeaderSelector two = new LeaderSelector(other, "/selector", leading);
        one.start();
        two.start();
        Foreign.await(led);
        one.close();
        two.close();
        other.close();
    }

    private static void counters(CuratorFramework client) throws Exception {
        DistributedAtomicLong number = new DistributedAtomicLong(client, "/atomic", new RetryNTimes(50, 5));
        List<Future<?>> adding = new ArrayList<>();
        for (int thread = 0; thread < 3; thread++) {
            adding.add(THREADS.submit(() -> {
                for (int i = 0; i < 10; i++) {
                    while (!number.increment().succeeded()) {
                        Thread.sleep(1);
                    }
                }
                return null;
            }));
        }
        for (Future<?> one : adding) {
            one.get();
        }
        Foreign.equal(30L, number.get().postValue());
        CuratorFramework other = connect();
        SharedCount mine = new SharedCount(client, "/count", 1);
        SharedCount yours = new SharedCount(other, "/count", 1);
        mine.start();
        yours.start();
        Foreign.equal(true, mine.trySetCount(mine.getVersionedValue(), 5));
        Foreign.until(() -> yours.getCount() == 5);
        mine.close();
        yours.close();
        other.close();
    }

    private static void caches(CuratorFramework client) throws Exception {
        client.create().forPath("/cache", DATA);
        BlockingQueue<String> told = new LinkedBlockingQueue<>();
        CuratorCache cache = CuratorCache.build(client, "/cache");
        CountDownLatch filled = new CountDownLatch(1);
        cache.listenable().addListener(CuratorCacheListener.builder()
                .forCreates(node -> told.add("+" + node.getPath()))
                .forDeletes(node -> told.add("-" + node.getPath()))
                .forChanges((old, node) -> told.add("!" + node.getPath()))
                .forInitialized(filled::countDown).build());
        cache.start();
        Foreign.await(filled);
        Foreign.Case[] changes = {
            () -> { }, () -> client.create().forPath("/cache/a", DATA),
            () -> client.create().forPath("/cache/a/b", DATA),
            () -> client.setData().forPath("/cache/a/b", new byte[3]), () -> client.delete().forPath("/cache/a/b")};
        String[] expected = {"+/cache", "+/cache/a", "+/cache/a/b", "!/cache/a/b", "-/cache/a/b"};
        for (int i = 0; i < changes.length; i++) {
            changes[i].run();
            Foreign.equal(expected[i], told.poll(Foreign.WAIT_S, TimeUnit.SECONDS));
        }
        cache.close();
        TreeCache tree = new TreeCache(client, "/cache");
        tree.start();
        Foreign.until(() -> tree.getCurrentData("/cache/a") != null);
        PathChildrenCache children = new PathChildrenCache(client, "/cache", true);
        children.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        Foreign.equal(1, children.getCurrentData().size());
        client.create().forPath("/cache/z", DATA);
        Foreign.until(() -> children.getCurrentData().size() == 2 && tree.getCurrentData("/cache/z") != null);
        children.close();
        tree.close();
    }

    private static void membership(CuratorFramework client) throws Exception {
        CuratorFramework other = connect();
        PersistentNode node = new PersistentNode(other, CreateMode.EPHEMERAL, false, "/kept/node", DATA);
        node.start();
        Foreign.equal(true, node.waitForInitialCreate(Foreign.WAIT_S, TimeUnit.SECONDS));
        long owner = client.checkExists().forPath("/kept/node").getEphemeralOwner();
        other.getZookeeperClient().getZooKeeper().getTestable().injectSessionExpiration();
        Foreign.until(() -> {
            Stat stat = client.checkExists().forPath("/kept/node");
            return stat != null && stat.getEphemeralOwner() != owner;
        });
        node.close();
        GroupMember one = new GroupMember(client, "/group", "1", DATA);
        GroupMember two = new GroupMember(other, "/group", "2", DATA);
        one.start();
        two.start();
        Foreign.until(() -> one.getCurrentMembers().size() == 2 && two.getCurrentMembers().size() == 2);
        one.close();
        Foreign.until(() -> two.getCurrentMembers().size() == 1);
        two.close();
        other.close();
    }

    private static void barriersAndQueues(CuratorFramework client) throws Exception {
        DistributedBarrier barrier = new DistributedBarrier(client, "/barrier/1");
        barrier.setBarrier();
        Future<Boolean> passed = THREADS.submit(() -> barrier.waitOnBarrier(Foreign.WAIT_S, TimeUnit.SECONDS));
        barrier.removeBarrier();
        Foreign.equal(true, passed.get());
        List<Future<Boolean>> entering = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            DistributedDoubleBarrier gate = new DistributedDoubleBarrier(client, "/barrier/2", 3);
            entering.add(THREADS.submit(() -> gate.enter(Foreign.WAIT_S, TimeUnit.SECONDS)
                    && gate.leave(Foreign.WAIT_S, TimeUnit.SECONDS)));
        }
        for (Future<Boolean> one : entering) {
            Foreign.equal(true, one.get());
        }
        SimpleDistributedQueue queue = new SimpleDistributedQueue(client, "/queue");
        Future<byte[]> taken = THREADS.submit(queue::take);
        queue.offer(DATA);
        Foreign.equal("data", new String(taken.get(), StandardCharsets.UTF_8));
        queue.offer(new byte[] {1});
        queue.offer(new byte[] {2});
        Foreign.equal(1, queue.poll()[0]);
        Foreign.equal(2, queue.poll()[0]);
        Foreign.equal(null, queue.poll());
    }

    private static void restart() throws Exception {
        CuratorFramework client = connect();
        List<ConnectionState> states = Collections.synchronizedList(new ArrayList<>());
        client.getConnectionStateListenable().addListener((c, state) -> states.add(state));
        BlockingQueue<WatchedEvent> came = new LinkedBlockingQueue<>();
        PersistentWatcher watcher = new PersistentWatcher(client, "/restart", true);
        watcher.getListenable().addListener(came::add);
        watcher.start();
        InterProcessMutex lock = new InterProcessMutex(client, "/restart-lock");
        lock.acquire();
        Foreign.restartServer();
        client.create().creatingParentsIfNeeded().forPath("/restart/x", DATA);
        Foreign.until(() -> states.contains(ConnectionState.RECONNECTED));
        Foreign.equal(false, states.contains(ConnectionState.LOST));
        Foreign.until(() -> came.stream().anyMatch(event -> event.getType() == Watcher.Event.EventType.NodeCreated));
        lock.release();
        watcher.close();
        client.close();
    }

    public static void main(String[] arguments) throws Exception {
        server = arguments[0];
        CuratorFramework client = connect();
        Foreign.run("nodes", () -> nodes(client));
        Foreign.run("transactions", () -> transactions(client));
        Foreign.run("locks", () -> locks(client));
        Foreign.run("leaders", () -> leaders(client));
        Foreign.run("counters", () -> counters(client));
        Foreign.run("caches", () -> caches(client));
        Foreign.run("membership", () -> membership(client));
        Foreign.run("barriers and queues", () -> barriersAndQueues(client));
        Foreign.run("restart", Recipes::restart);
        client.close();
        System.exit(0);
    }
}
