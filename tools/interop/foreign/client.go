// Walks Go's client (go-zookeeper) through its calls. One argument: host:port.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/samuel/go-zookeeper/zk"
)

const wait = 20 * time.Second

var (
	server = os.Args[1]
	data   = []byte("data")
	open   = zk.WorldACL(zk.PermAll)
)

type quiet struct{}

func (quiet) Printf(string, ...interface{}) {}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func equal(expected, found interface{}) {
	if fmt.Sprint(expected) != fmt.Sprint(found) {
		panic(fmt.Sprintf("expected %v, found %v", expected, found))
	}
}

func state(events <-chan zk.Event, wanted zk.State) {
	end := time.After(wait)
	for {
		select {
		case event := <-events:
			if event.Type == zk.EventSession && event.State == wanted {
				return
			}
		case <-end:
			panic(fmt.Sprint("never ", wanted))
		}
	}
}

func event(events <-chan zk.Event, kind zk.EventType, path string) {
	select {
	case event := <-events:
		must(event.Err)
		equal(fmt.Sprint(kind, path), fmt.Sprint(event.Type, event.Path))
	case <-time.After(wait):
		panic(fmt.Sprint("no ", kind))
	}
}

func connect() (*zk.Conn, <-chan zk.Event) {
	conn, events, err := zk.Connect([]string{server}, 10*time.Second, zk.WithLogger(quiet{}))
	must(err)
	state(events, zk.StateHasSession)
	return conn, events
}

func make1(conn *zk.Conn, path string, flags int32) string {
	made, err := conn.Create(path, data, flags, open)
	must(err)
	return made
}

func nodes(conn *zk.Conn) {
	make1(conn, "/go", 0)
	_, err := conn.Create("/go", data, 0, open)
	equal(zk.ErrNodeExists, err)
	equal("/go/s0000000000", make1(conn, "/go/s", zk.FlagSequence))
	make1(conn, "/go/e", zk.FlagEphemeral)
	_, err = conn.Create("/go/e/x", data, 0, open)
	equal(zk.ErrNoChildrenForEphemerals, err)
	got, stat, err := conn.Get("/go")
	must(err)
	equal(true, bytes.Equal(got, data))
	equal(2, stat.NumChildren)
	_, err = conn.Set("/go", data, 9)
	equal(zk.ErrBadVersion, err)
	stat, err = conn.Set("/go", nil, 0)
	must(err)
	equal(1, stat.Version)
	children, _, err := conn.Children("/go")
	must(err)
	sort.Strings(children)
	equal("[e s0000000000]", children)
	equal(zk.ErrNotEmpty, conn.Delete("/go", -1))
	found, _, err := conn.Exists("/none")
	must(err)
	equal(false, found)
	_, err = conn.Sync("/go")
	must(err)
	made, err := conn.CreateProtectedEphemeralSequential("/go/p", data, open)
	must(err)
	equal(true, strings.HasSuffix(made, "0000000002"))
}

func multi(conn *zk.Conn) {
	results, err := conn.Multi(
		&zk.CreateRequest{Path: "/gm", Data: data, Acl: open},
		&zk.SetDataRequest{Path: "/gm", Data: data, Version: 0},
		&zk.CheckVersionRequest{Path: "/gm", Version: 1},
		&zk.CreateRequest{Path: "/gm/x", Data: data, Acl: open},
		&zk.DeleteRequest{Path: "/gm/x", Version: -1})
	must(err)
	equal(5, len(results))
	equal("/gm", results[0].String)
	equal(1, results[1].Stat.Version)
	_, err = conn.Multi(&zk.DeleteRequest{Path: "/gm", Version: -1}, &zk.DeleteRequest{Path: "/gn", Version: -1})
	equal(zk.ErrNoNode, err)
	found, _, err := conn.Exists("/gm")
	must(err)
	equal(true, found)
}

func watches(conn *zk.Conn) {
	_, _, created, err := conn.ExistsW("/gw")
	must(err)
	make1(conn, "/gw", 0)
	event(created, zk.EventNodeCreated, "/gw")
	_, _, changed, err := conn.GetW("/gw")
	must(err)
	_, _, grown, err := conn.ChildrenW("/gw")
	must(err)
	make1(conn, "/gw/x", 0)
	event(grown, zk.EventNodeChildrenChanged, "/gw")
	_, err = conn.Set("/gw", data, -1)
	must(err)
	event(changed, zk.EventNodeDataChanged, "/gw")
	_, _, gone, err := conn.GetW("/gw/x")
	must(err)
	must(conn.Delete("/gw/x", -1))
	event(gone, zk.EventNodeDeleted, "/gw/x")
}

func access(conn *zk.Conn) {
	must(conn.AddAuth("digest", []byte("u:p")))
	_, err := conn.Create("/ga", data, 0, zk.DigestACL(zk.PermAll, "u", "p"))
	must(err)
	other, _ := connect()
	defer other.Close()
	_, _, err = other.Get("/ga")
	equal(zk.ErrNoAuth, err)
	list, stat, err := conn.GetACL("/ga")
	must(err)
	equal("u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=", list[0].ID)
	_, err = conn.SetACL("/ga", open, stat.Aversion)
	must(err)
	_, _, err = other.Get("/ga")
	must(err)
}

func lock(conn *zk.Conn) {
	other, _ := connect()
	defer other.Close()
	first, second := zk.NewLock(conn, "/gl", open), zk.NewLock(other, "/gl", open)
	must(first.Lock())
	got := make(chan error, 1)
	go func() { got <- second.Lock() }()
	select {
	case <-got:
		panic("two have it")
	case <-time.After(200 * time.Millisecond):
	}
	must(first.Unlock())
	must(<-got)
	must(second.Unlock())
}

func words() {
	equal(true, zk.FLWRuok([]string{server}, wait)[0])
}

func restart() {
	conn, events := connect()
	make1(conn, "/gr", zk.FlagEphemeral)
	id := conn.SessionID()
	_, _, changed, err := conn.GetW("/gr")
	must(err)
	fmt.Println("restart")
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	must(err)
	state(events, zk.StateHasSession)
	equal(id, conn.SessionID())
	_, err = conn.Set("/gr", data, -1)
	must(err)
	event(changed, zk.EventNodeDataChanged, "/gr")
	conn.Close()
}

func run(name string, body func()) {
	defer func() {
		if why := recover(); why != nil {
			fmt.Printf("FAIL %s: %v\n", name, why)
		} else {
			fmt.Println("ok", name)
		}
	}()
	body()
}

func main() {
	log.SetFlags(0)
	conn, _ := connect()
	run("nodes", func() { nodes(conn) })
	run("multi", func() { multi(conn) })
	run("watches", func() { watches(conn) })
	run("access", func() { access(conn) })
	run("lock", func() { lock(conn) })
	run("words", words)
	run("restart", restart)
}
