//! The page on performance keeps up with the code it describes.

use std::path::Path;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_bound_of_the_server_is_walked_through() {
    let page = text("docs/performance.md");
    let limits = text("server/src/limits.rs");
    let names: Vec<&str> = limits
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next())
        .collect();
    assert!(names.len() > 10, "{names:?}");
    let missing: Vec<&&str> = names.iter().filter(|name| !page.contains(**name)).collect();
    assert!(missing.is_empty(), "docs/performance.md does not say what happens at {missing:?}");
}

#[test]
fn every_subcommand_is_on_the_page() {
    let page = text("docs/performance.md");
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_ringkeeper-perf"))
        .arg("--help")
        .output()
        .expect("the program starts");
    let help = String::from_utf8(help.stdout).expect("text");
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let mut count = 0;
    for command in commands.take_while(|line| line.starts_with("  ")) {
        let Some(name) = command.split_whitespace().next().filter(|name| *name != "help") else {
            continue;
        };
        count += 1;
        assert!(page.contains(&format!("`{name}")), "docs/performance.md has no {name}");
    }
    assert!(count > 5, "{help}");
}
