//! The house rules hold for this checkout.

use tools::tidy::{self, Finding, Texts};
use tools::workspace;

fn clean(found: Vec<Finding>) {
    let words: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "\n{}\n", words.join("\n"));
}

fn texts() -> Texts {
    Texts::read(&workspace::root()).expect("the checkout is readable")
}

#[test]
fn only_the_runtime_touches_the_machine() {
    clean(tidy::machine_words(&texts()));
}

#[test]
fn unsafe_stays_in_its_rooms() {
    clean(tidy::unsafe_rooms(&texts()));
}

#[test]
fn style_holds() {
    clean(tidy::style(&texts()));
}

#[test]
fn no_test_sleeps() {
    clean(tidy::no_sleeping_tests(&texts()));
}

#[test]
fn documents_are_whole() {
    clean(tidy::documents(&workspace::root(), &texts()));
}

#[test]
fn tests_that_are_named_exist() {
    clean(tidy::named_tests(&texts()));
}

#[test]
fn packages_depend_downwards() {
    let edges = workspace::dependencies(&workspace::root()).expect("cargo metadata works");
    clean(tidy::dependency_edges(&edges));
}

#[test]
fn server_rooms_keep_apart() {
    clean(tidy::server_rooms(&texts()));
}
