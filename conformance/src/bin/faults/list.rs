//! The list of faults.

use core::fmt;
use core::ops::Range;
use std::fs;

use serde::Deserialize;

use crate::tree::Tree;

/// Where the list is, from the root of the repository.
const PLACE: &str = "conformance/mutations/faults.toml";

/// One fault.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// Its place in the list, counted from one.
    #[serde(skip)]
    pub(crate) number: usize,
    /// What is wrong then.
    pub(crate) name: String,
    /// Where it is put in, from the root of the repository.
    pub(crate) file: String,
    old: String,
    new: String,
    /// Whose test is to catch it.
    pub(crate) target: Target,
    /// The test, or a part of its name that no other test has.
    pub(crate) test: String,
}

/// A test binary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "String")]
pub(crate) struct Target {
    package: String,
    /// An integration test; the unit tests otherwise.
    test: Option<String>,
}

impl From<String> for Target {
    fn from(text: String) -> Self {
        match text.split_once("::") {
            Some((package, test)) => Self {
                package: package.to_owned(),
                test: Some(test.to_owned()),
            },
            None => Self {
                package: text,
                test: None,
            },
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.test {
            Some(test) => f.pad(&format!("{}::{test}", self.package)),
            None => f.pad(&self.package),
        }
    }
}

impl Target {
    /// What cargo calls it.
    pub(crate) fn arguments(&self) -> Vec<&str> {
        match &self.test {
            // Without the features, which are for binaries that no test asks for.
            Some(test) => vec!["-p", &self.package, "--no-default-features", "--test", test],
            None => vec!["-p", &self.package, "--lib"],
        }
    }
}

impl Fault {
    /// The lines that it changes.
    pub(crate) fn old(&self) -> &str {
        &self.old
    }

    /// Where the fault is to be put in a text.
    pub(crate) fn find(&self, text: &str) -> Option<Range<usize>> {
        find(text, &self.old)
    }

    /// The text with the fault.
    pub(crate) fn put_into(&self, text: &str) -> Option<String> {
        let Range { start, end } = self.find(text)?;
        let (before, after) = (text.get(..start)?, text.get(end..)?);
        Some([before, self.new.trim_matches('\n'), after].concat())
    }
}

/// Where the words of `old` stand in a text, with any white space where `old` has some.
fn find(text: &str, old: &str) -> Option<Range<usize>> {
    let first = old.split_whitespace().next()?;
    text.match_indices(first).find_map(|(start, _)| {
        let mut rest = text.get(start..)?.strip_prefix(first)?;
        for word in old.split_whitespace().skip(1) {
            let next = rest.trim_start();
            if next.len() == rest.len() {
                return None;
            }
            rest = next.strip_prefix(word)?;
        }
        Some(start..text.len().saturating_sub(rest.len()))
    })
}

/// The width of the longest name.
pub(crate) fn width(faults: &[Fault]) -> usize {
    let widths = faults.iter().map(|fault| fault.name.chars().count());
    widths.max().unwrap_or(0)
}

/// The list, and its text.
#[derive(Debug)]
pub(crate) struct List {
    faults: Vec<Fault>,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Toml {
    fault: Vec<Fault>,
}

impl List {
    /// Reads the list.
    pub(crate) fn read(tree: &Tree) -> Result<Self, String> {
        let text = tree
            .read(PLACE)
            .map_err(|error| format!("{PLACE}: {error}"))?;
        let toml: Toml = toml::from_str(&text).map_err(|error| format!("{PLACE}: {error}"))?;
        let mut faults = toml.fault;
        for (fault, number) in faults.iter_mut().zip(1..) {
            fault.number = number;
        }
        Ok(Self { faults, text })
    }

    /// The faults from a number on whose name contains a word.
    pub(crate) fn pick(&self, word: &str, from: usize) -> Vec<Fault> {
        let rest = self.faults.iter().filter(|fault| fault.number >= from);
        rest.filter(|fault| fault.name.contains(word))
            .cloned()
            .collect()
    }

    /// Names other files for some faults, by their numbers, and leaves the rest of the list as it is.
    pub(crate) fn mend(&self, tree: &Tree, moved: &[(usize, String)]) -> Result<(), String> {
        let mut number = 0;
        let lines = self.text.lines().map(|line| {
            number += usize::from(line == "[[fault]]");
            let file = moved.iter().find(|(of, _)| *of == number);
            match file.filter(|_| line.starts_with("file = ")) {
                Some((_, file)) => format!("file = \"{file}\"\n"),
                None => format!("{line}\n"),
            }
        });
        let text: String = lines.collect();
        fs::write(tree.path(PLACE), text).map_err(|error| format!("{PLACE}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_as_good_as_any_other() {
        let text = "if a\n    && b\n{";
        assert_eq!(find(text, "a && b {"), Some(3..text.len()));
        assert_eq!(find(text, "\n  && b"), Some(9..13));
        assert_eq!(find(text, "a&& b"), None);
        assert_eq!(find("aa b", "a b"), Some(1..4));
    }

    #[test]
    fn the_lines_of_a_fault_are_replaced_and_nothing_else() {
        let fault = Fault {
            number: 1,
            name: String::new(),
            file: String::new(),
            old: "b\n c".to_owned(),
            new: "x".to_owned(),
            target: Target::from("p".to_owned()),
            test: String::new(),
        };
        assert_eq!(fault.put_into("a b c d").as_deref(), Some("a x d"));
        assert_eq!(fault.put_into("a b d"), None);
    }
}
