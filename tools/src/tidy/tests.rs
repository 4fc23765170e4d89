//! Every rule catches a planted breach.

use super::*;

fn one(found: Vec<Finding>, part: &str) {
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].words.contains(part), "{found:?}");
}

#[test]
fn a_clock_in_the_engine_is_found() {
    let texts = Texts::given(&[("engine/src/log/mod.rs", "fn f() { Instant::now(); }")]);
    one(machine_words(&texts), "Instant::now");
    let texts = Texts::given(&[("server/src/runtime/clock.rs", "fn f() { Instant::now(); }")]);
    assert_eq!(machine_words(&texts), []);
}

#[test]
fn a_clock_in_the_simulated_world_is_found() {
    let texts = Texts::given(&[("tools/sim/src/world.rs", "fn f() { Instant::now(); }")]);
    one(machine_words(&texts), "Instant::now");
    let texts = Texts::given(&[
        ("tools/sim/src/main.rs", "fn f() { Instant::now(); }"),
        ("tools/sim/src/bin/plants.rs", "use std::fs;"),
    ]);
    assert_eq!(machine_words(&texts), []);
}

#[test]
fn tests_inside_a_module_may_use_files() {
    let text = "fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }";
    assert_eq!(machine_words(&Texts::given(&[("engine/src/a.rs", text)])), []);
    let next = [("engine/src/a.rs", text), ("engine/src/b.rs", "use std::fs;")];
    one(machine_words(&Texts::given(&next)), "std::fs");
}

#[test]
fn unsafe_in_a_shard_is_found() {
    let word = ["un", "safe"].concat();
    let text = format!("fn f() {{ {word} {{ g() }} }}");
    one(unsafe_rooms(&Texts::given(&[("server/src/shard/mod.rs", &text)])), "rooms");
    assert_eq!(unsafe_rooms(&Texts::given(&[("engine/src/tree/slab.rs", &text)])), []);
}

#[test]
fn style_breaches_are_found() {
    let long = "x".repeat(101);
    one(style(&Texts::given(&[("a.rs", &long)])), "100 columns");
    one(style(&Texts::given(&[("a.rs", "// \u{e9}")])), "ASCII");
    one(style(&Texts::given(&[("a.rs", &["// FIX", "ME later"].concat())])), "leftover");
    one(style(&Texts::given(&[("a.rs", "pub struct SessionManager {")])), "SessionManager");
    one(style(&Texts::given(&[("a.rs", &["to", "do!()"].concat())])), "hole");
}

#[test]
fn a_sleeping_test_is_found() {
    let text = ["thread::", "sleep(second)"].concat();
    one(no_sleeping_tests(&Texts::given(&[("server/tests/a.rs", &text)])), "sleeps");
}

#[test]
fn documents_need_titles_and_living_links() {
    let root = Path::new("/nonexistent");
    one(documents(root, &Texts::given(&[("docs/a.md", "text")])), "title");
    one(documents(root, &Texts::given(&[("docs/a.md", "# T\n[x](gone.md)")])), "dead link");
    assert_eq!(documents(root, &Texts::given(&[("docs/a.md", "# T\n[x](https://a.b)")])), []);
}

#[test]
fn a_test_that_is_gone_is_found() {
    let document = "# T\n`a/tests/b.rs::holds` `a/tests/traces/c.txt` `a::b`";
    let code = ("a/tests/b.rs", "#[test]\nfn holds() {}");
    let trace = ("a/tests/traces/c.txt", "start");
    let found = |files: &[(&str, &str)]| named_tests(&Texts::given(files));
    assert_eq!(found(&[("docs/a.md", document), code, trace]), []);
    one(found(&[("docs/a.md", document), trace]), "holds");
    one(found(&[("docs/a.md", document), ("a/tests/b.rs", "fn held() {}"), trace]), "holds");
    one(found(&[("docs/a.md", document), code]), "c.txt");
}

#[test]
fn a_backward_edge_is_found() {
    let edges = BTreeMap::from([("engine".to_owned(), vec!["server".to_owned()])]);
    one(dependency_edges(&edges), "engine must not depend on server");
    let edges = BTreeMap::from([("engine".to_owned(), vec!["glommio".to_owned()])]);
    one(dependency_edges(&edges), "glommio");
}

#[test]
fn a_shard_that_knows_the_core_is_found() {
    let texts = Texts::given(&[("server/src/shard/mod.rs", "use crate::core::Core;")]);
    one(server_rooms(&texts), "crate::core");
}
