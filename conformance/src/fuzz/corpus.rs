//! The inputs that a fuzz target has collected, kept as one text file for each target.
//!
//! A line is an input in hexadecimal digits. An input that once failed also has a name, after a
//! space, which says what was wrong. Lines are sorted, so that the same inputs always make the same
//! file.
//!
//! A fuzzer wants a folder with one file for each input: [`unpack`] writes it, [`pack`] reads it
//! back. The binary `corpus` runs both.

use core::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

/// One input of a fuzz target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What the fuzzer feeds to the target.
    pub bytes: Vec<u8>,
    /// What this input once found, in words joined by hyphens.
    pub name: Option<String>,
}

impl Input {
    /// The name of the file that holds this input in an unpacked corpus: its own name, or else the
    /// hash of its bytes.
    fn file_name(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => format!("{:032x}", xxh3_128(&self.bytes)),
        }
    }
}

/// The folder of the repository that holds the corpora of all targets.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// The file of the repository that holds the corpus of a target.
#[must_use]
pub fn file(target: &str) -> PathBuf {
    folder().join(format!("{target}.txt"))
}

/// Reads a packed corpus. The number of an input's line is its index plus one.
///
/// # Errors
/// If a line is neither an input nor an input with a name. The error tells the line.
pub fn parse(text: &str) -> Result<Vec<Input>, String> {
    let lines = text.lines().enumerate();
    lines
        .map(|(index, line)| {
            let number = index.saturating_add(1);
            line_of(line)
                .ok_or_else(|| format!("line {number}: expected hexadecimal digits and a name"))
        })
        .collect()
}

fn line_of(line: &str) -> Option<Input> {
    let (digits, name) = match line.split_once(' ') {
        Some((digits, name)) => (digits, Some(name.to_owned())),
        None => (line, None),
    };
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let whole = hexadecimal && !digits.is_empty() && digits.len().is_multiple_of(2);
    let bytes = pairs.map(byte).collect::<Option<_>>()?;
    whole.then_some(Input { bytes, name })
}

fn parsed(text: &str) -> io::Result<Vec<Input>> {
    parse(text).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))
}

/// Writes a packed corpus. Inputs that occur twice are written once, with the first name in the
/// alphabet if they have any. The empty input is left out: every fuzzer begins with it.
#[must_use]
pub fn format(inputs: impl IntoIterator<Item = Input>) -> String {
    let inputs = inputs.into_iter();
    let mut inputs: Vec<_> = inputs.filter(|input| !input.bytes.is_empty()).collect();
    inputs.sort_by_cached_key(|Input { bytes, name }| {
        // An input with a name comes before the same input without one.
        (bytes.len(), bytes.clone(), name.is_none(), name.clone())
    });
    inputs.dedup_by(|next, first| next.bytes == first.bytes);
    let mut text = String::new();
    for Input { bytes, name } in inputs {
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        if let Some(name) = name {
            let _ = write!(text, " {name}");
        }
        text.push('\n');
    }
    text
}

/// Writes each input of a packed corpus into a file of its own. Files that are already in the folder
/// stay.
///
/// # Errors
/// If the packed corpus cannot be read or the folder cannot be written.
pub fn unpack(packed: &Path, folder: &Path) -> io::Result<usize> {
    let inputs = parsed(&fs::read_to_string(packed)?)?;
    fs::create_dir_all(folder)?;
    for input in &inputs {
        fs::write(folder.join(input.file_name()), &input.bytes)?;
    }
    Ok(inputs.len())
}

/// Replaces the inputs without a name of a packed corpus by those of a folder. Inputs with a name
/// stay, since a fuzzer that minimises a folder renames files to hashes and drops what found faults
/// long ago. A file whose name is a hash becomes an input without a name.
///
/// # Errors
/// If the folder or the packed corpus cannot be read, or the packed corpus cannot be written.
pub fn pack(folder: &Path, packed: &Path) -> io::Result<usize> {
    let mut inputs = match fs::read_to_string(packed) {
        Ok(text) => parsed(&text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    inputs.retain(|input| input.name.is_some());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_hash = name.len() >= 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let name = (!is_hash).then(|| name.into_owned());
        let bytes = fs::read(&path)?;
        inputs.push(Input { bytes, name });
    }
    let text = format(inputs);
    fs::write(packed, &text)?;
    Ok(text.lines().count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, process};

    fn input(bytes: &[u8], name: Option<&str>) -> Input {
        let (bytes, name) = (bytes.to_vec(), name.map(str::to_owned));
        Input { bytes, name }
    }

    #[test]
    fn a_packed_corpus_is_read_as_it_was_written() {
        let inputs = vec![
            input(b"\x00", None),
            input(b"\xff", Some("lost-it")),
            input(b"\x00\x01", None),
        ];
        let text = format(inputs.iter().rev().cloned());
        assert_eq!(text, "00\nff lost-it\n0001\n");
        assert_eq!(parse(&text), Ok(inputs));
    }

    #[test]
    fn an_input_that_occurs_twice_is_written_once_and_keeps_its_name() {
        let twice = [
            input(b"a", None),
            input(b"a", Some("first")),
            input(b"", None),
        ];
        assert_eq!(format(twice), "61 first\n");
    }

    #[test]
    fn a_line_that_is_no_input_is_told_by_its_number() {
        for line in ["", "0", "0g", " name", "é0", "+1"] {
            let error = parse(&format!("00\n{line}\n")).unwrap_err();
            assert!(error.starts_with("line 2:"), "{line:?}: {error}");
        }
    }

    #[test]
    fn an_unpacked_corpus_packs_to_the_same_file_and_findings_outlive_a_cleared_folder() {
        let root = env::temp_dir().join(format!("gossip-corpus-{}", process::id()));
        let (packed, folder) = (root.join("target.txt"), root.join("target"));
        fs::create_dir_all(&root).unwrap();
        let text = "00\nff lost-it\n0001\n";
        fs::write(&packed, text).unwrap();
        assert_eq!(unpack(&packed, &folder).unwrap(), 3);
        assert_eq!(pack(&folder, &packed).unwrap(), 3);
        assert_eq!(fs::read_to_string(&packed).unwrap(), text);

        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        assert_eq!(pack(&folder, &packed).unwrap(), 1);
        assert_eq!(fs::read_to_string(&packed).unwrap(), "ff lost-it\n");
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_packed_corpora_are_written_as_the_command_writes_them() {
        for target in ["datagrams", "decode", "merge", "phi", "script"] {
            let text = fs::read_to_string(file(target)).expect("a corpus of the repository");
            let inputs = parse(&text).expect("a corpus in the right form");
            assert!(format(inputs) == text, "pack {target} again");
        }
    }
}
