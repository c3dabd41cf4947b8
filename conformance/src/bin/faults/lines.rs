//! Whether the faults can still be put in.

use core::cmp::Reverse;
use std::collections::BTreeSet;

use crate::list::{Fault, List};
use crate::tree::Tree;

/// What keeps a fault from being put in, or its test from being asked.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    /// The lines that it changes are in no file.
    Gone,
    /// The lines are in another file.
    Moved(String),
    /// The lines are in several other files.
    Ambiguous(Vec<String>),
    /// There is no such test.
    NoTest,
}

/// Looks whether each fault can be put in, and tells where its lines are otherwise. Mends the list where
/// that is asked for. Whether all is well then.
pub(crate) fn check(
    tree: &Tree,
    list: &List,
    faults: &[Fault],
    mend: bool,
) -> Result<bool, String> {
    let code = tree.code();
    let width = crate::list::width(faults);
    let (mut moved, mut troubled) = (Vec::new(), 0_usize);
    for fault in faults {
        for trouble in troubles(fault, &code) {
            let told = match trouble {
                Trouble::Gone => format!(
                    "the lines are in no file; they were in {}\n     {}",
                    fault.file,
                    nearest(fault, &code).unwrap_or_default()
                ),
                Trouble::Moved(to) if mend => {
                    moved.push((fault.number, to.clone()));
                    troubled = troubled.saturating_sub(1);
                    format!("mended: {to}, not {}", fault.file)
                }
                Trouble::Moved(to) => format!("the lines are in {to}, not in {}", fault.file),
                Trouble::Ambiguous(files) => format!(
                    "the lines are not in {}, but in all of {}",
                    fault.file,
                    files.join(", ")
                ),
                Trouble::NoTest => format!("there is no test {}", fault.test),
            };
            troubled = troubled.saturating_add(1);
            println!("{:>3}  {:<width$}  {told}", fault.number, fault.name);
        }
    }
    if !moved.is_empty() {
        list.mend(tree, &moved)?;
    }
    if troubled == 0 {
        println!("all {} faults can be put in", faults.len());
    }
    Ok(troubled == 0)
}

fn troubles(fault: &Fault, code: &[(&str, String)]) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let holds = |(_, text): &&(&str, String)| fault.find(text).is_some();
    let files: Vec<&str> = code.iter().filter(holds).map(|(file, _)| *file).collect();
    match files.as_slice() {
        files if files.contains(&fault.file.as_str()) => {}
        [] => troubles.push(Trouble::Gone),
        [file] => troubles.push(Trouble::Moved((*file).to_owned())),
        files => {
            let files = files.iter().map(|file| (*file).to_owned());
            troubles.push(Trouble::Ambiguous(files.collect()));
        }
    }
    let name = fault.test.rsplit("::").next().unwrap_or_default();
    let is_there = |(_, code): &(&str, String)| names_test(code, name);
    if !code.iter().any(is_there) {
        troubles.push(Trouble::NoTest);
    }
    troubles
}

/// The line that has most words in common with the lines of a fault, and where it is.
fn nearest(fault: &Fault, code: &[(&str, String)]) -> Option<String> {
    let wanted: BTreeSet<&str> = words(fault.old()).collect();
    let lines = code.iter().flat_map(|(file, text)| {
        let lines = text.lines().zip(1_usize..);
        lines.map(move |(line, number)| (*file, number, line))
    });
    let common = |line: &str| {
        let words: BTreeSet<&str> = words(line).collect();
        let common = words.intersection(&wanted).count();
        // Of lines that have as much in common, the shortest.
        (common, Reverse(words.len()))
    };
    let (file, number, line) = lines.max_by_key(|(_, _, line)| common(line))?;
    Some(format!("perhaps {file}:{number}: {}", line.trim()))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.len() > 2)
}

/// Whether there is a test whose name contains a text: a function, or a string where the tests bring
/// their own main function.
fn names_test(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code.get(..at).unwrap_or_default();
        let before = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        before.ends_with("fn ") || before.ends_with('"')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_found_by_a_part_of_its_name() {
        assert!(names_test("fn all_is_well() {", "is_well"));
        assert!(names_test("(\"all_is_well\", test)", "all_is"));
        assert!(!names_test("// all_is_well", "all_is_well"));
    }
}
