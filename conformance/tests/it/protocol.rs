//! `PROTOCOL.md` names the files that implement each rule, and the tests that fail without it. Each of
//! these files and tests exists.

use std::fs;
use std::path::{Path, PathBuf};

/// The head of the table that names the tests of each law of the shared map.
const LAWS: &str = "| it holds that | shown by |";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    fs::read_to_string(root().join("PROTOCOL.md")).unwrap()
}

/// What a line says in code font.
fn in_code_font(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The parts of the page that name tests: the lines that begin with an arrow, and the last column of
/// the table of laws.
fn citations(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_table_of_laws = false;
    for line in page.lines() {
        is_table_of_laws = line == LAWS || is_table_of_laws && line.starts_with('|');
        if line.starts_with('→') {
            found.push(line);
        } else if is_table_of_laws {
            found.extend(line.split('|').nth(2));
        }
    }
    found
}

/// Appends the text of all Rust files below a folder.
fn append_sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            append_sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_file_that_the_protocol_names_exists() {
    let page = page();
    let folders = [root(), root().join("gossip-core/src")];
    let files: Vec<&str> = page
        .lines()
        .flat_map(in_code_font)
        .filter(|name| name.ends_with(".rs"))
        .collect();
    assert!(files.len() > 100, "the page names only {files:?}");
    for file in files {
        let exists = folders.iter().any(|folder| folder.join(file).exists());
        assert!(exists, "PROTOCOL.md names {file}, which does not exist");
    }
}

#[test]
fn every_test_that_the_protocol_names_exists() {
    let page = page();
    let mut sources = String::new();
    for package in ["gossip-core", "conformance"] {
        append_sources(&root().join(package), &mut sources);
    }
    let tests: Vec<&str> = citations(&page)
        .into_iter()
        .flat_map(in_code_font)
        .filter(|name| name.contains('_') && !name.ends_with(".rs"))
        .collect();
    assert!(tests.len() > 200, "the page names only {tests:?}");
    for test in tests {
        // A test without the usual harness has its name in quotes.
        let exists = [format!("fn {test}("), format!("\"{test}\"")]
            .iter()
            .any(|form| sources.contains(form));
        assert!(exists, "PROTOCOL.md names {test}, which does not exist");
    }
}
