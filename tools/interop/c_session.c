/* One scripted session through the C client library. Prints what it was answered, one line a step, without what
 * differs from run to run; the same lines are expected of every server. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <zookeeper/zookeeper.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int connected, events, completions;
/* Events arrive on a thread of the library: they are printed where the main thread waits for them. */
static char told[8][64];
static int printed;

static void on_event(zhandle_t *zh, int type, int state, const char *path, void *ctx) {
    (void)zh, (void)ctx;
    pthread_mutex_lock(&lock);
    if (type == ZOO_SESSION_EVENT) {
        connected = state == ZOO_CONNECTED_STATE;
    } else {
        if (events < 8) snprintf(told[events], sizeof told[0], "event %d %s", type, path);
        events++;
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void await_count(int *counter, int wanted) {
    pthread_mutex_lock(&lock);
    while (*counter < wanted) pthread_cond_wait(&changed, &lock);
    while (printed < events && printed < 8) puts(told[printed++]);
    pthread_mutex_unlock(&lock);
}

static void on_string(int rc, const char *value, const void *data) {
    (void)data;
    pthread_mutex_lock(&lock);
    printf("async %d %s\n", rc, value ? value : "-");
    completions++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void show(const char *what, int rc, const struct Stat *stat) {
    if (rc || !stat) printf("%s %d\n", what, rc);
    else
        printf("%s %d v%d c%d a%d len%d kids%d czxid%llx mzxid%llx pzxid%llx\n", what, rc, stat->version,
               stat->cversion, stat->aversion, stat->dataLength, stat->numChildren, (long long)stat->czxid,
               (long long)stat->mzxid, (long long)stat->pzxid);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    zoo_set_debug_level(0);
    zoo_deterministic_conn_order(1);
    zhandle_t *zh = zookeeper_init(argv[1], on_event, 10000, NULL, NULL, 0);
    if (!zh) return 1;
    await_count(&connected, 1);

    char path[128], data[128];
    struct Stat stat;
    int len = sizeof data;
    show("create", zoo_create(zh, "/c", "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), NULL);
    show("create2", zoo_create2(zh, "/c/two", "2", 1, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path, &stat), &stat);
    show("exists again", zoo_create(zh, "/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path), NULL);
    show("sequence", zoo_create(zh, "/c/s-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, path, sizeof path), NULL);
    printf("%s\n", path);
    show("null data", zoo_create(zh, "/c/null", NULL, -1, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), NULL);
    show("get null", zoo_get(zh, "/c/null", 0, data, &len, &stat), &stat);
    printf("length %d\n", len);
    show("watch", zoo_wexists(zh, "/c/later", on_event, NULL, &stat), NULL);
    show("ephemeral", zoo_create(zh, "/c/later", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0), NULL);
    await_count(&events, 1);
    len = sizeof data;
    show("get", zoo_wget(zh, "/c", on_event, NULL, data, &len, &stat), &stat);
    show("set", zoo_set2(zh, "/c", "three", 5, 0, &stat), &stat);
    await_count(&events, 2);
    show("bad version", zoo_set(zh, "/c", "x", 1, 0), NULL);
    struct String_vector names = {0, NULL};
    show("children", zoo_get_children2(zh, "/c", 0, &names, &stat), &stat);
    printf("%d names\n", names.count);
    deallocate_String_vector(&names);
    struct ACL_vector acl = {0, NULL};
    show("get acl", zoo_get_acl(zh, "/c", &acl, &stat), &stat);
    printf("%d entries %s\n", acl.count, acl.data[0].id.id);
    deallocate_ACL_vector(&acl);

    zoo_op_t ops[3];
    zoo_op_result_t out[3];
    memset(out, 0, sizeof out);
    zoo_create_op_init(&ops[0], "/c/m", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    zoo_set_op_init(&ops[1], "/c/m", "new", 3, 0, &stat);
    zoo_delete_op_init(&ops[2], "/c/m", 1);
    show("multi", zoo_multi(zh, 3, ops, out), NULL);
    printf("results %d %d %d\n", out[0].err, out[1].err, out[2].err);
    zoo_check_op_init(&ops[0], "/c", 1);
    zoo_delete_op_init(&ops[1], "/c/none", -1);
    zoo_delete_op_init(&ops[2], "/c", -1);
    show("failing multi", zoo_multi(zh, 3, ops, out), NULL);
    printf("results %d %d %d\n", out[0].err, out[1].err, out[2].err);

    for (int i = 0; i < 100; i++) {
        snprintf(path, sizeof path, "/c/a%d", i);
        zoo_acreate(zh, path, "x", 1, &ZOO_OPEN_ACL_UNSAFE, 0, on_string, NULL);
    }
    await_count(&completions, 100);
    show("delete full", zoo_delete(zh, "/c", -1), NULL);
    show("delete", zoo_delete(zh, "/c/two", 0), NULL);
    show("delete none", zoo_delete(zh, "/c/two", 0), NULL);
    show("close", zookeeper_close(zh), NULL);
    return 0;
}
