//! The key file: the secrets that the members of a cluster share.
//!
//! One key a line, 64 hexadecimal digits; the first is the one to encrypt with, the others are
//! accepted, too. Empty lines and what follows a `#` say nothing. The file is looked at again while
//! the agent runs, so that keys are changed by changing the file on one node after the other: add
//! the new key below, put it first, drop the old one, each step on all nodes before the next.

use std::fs;
use std::path::{Path, PathBuf};

use gossip_mio::Handle;
use gossip_mio::gossip_core::{Command, CommandError, MAX_KEYS, SecretKey};

use crate::parse;

/// A key file as it was read last.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    keys: Vec<SecretKey>,
    /// What was wrong with it when it was looked at last.
    complaint: Option<String>,
}

impl KeyFile {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let keys = load(path)?;
        Ok(Self {
            path: path.to_owned(),
            keys,
            complaint: None,
        })
    }

    /// The keys, the one to use first.
    pub(crate) fn keys(&self) -> &[SecretKey] {
        &self.keys
    }

    /// Looks at the file again and tells the node what has changed. Gives what is wrong with it, in
    /// a sentence, once.
    pub(crate) fn refresh(&mut self, handle: &Handle) -> Option<String> {
        let result = load(&self.path);
        let complaint = match result {
            Ok(keys) if keys == self.keys => None,
            Ok(keys) => match change(handle, &self.keys, &keys) {
                Ok(()) => {
                    self.keys = keys;
                    None
                }
                Err(error) => Some(format!("the keys stay as they were: {error}")),
            },
            Err(sentence) => Some(format!("the keys stay as they were: {sentence}")),
        };
        let told = complaint == self.complaint;
        self.complaint.clone_from(&complaint);
        complaint.filter(|_| !told)
    }
}

fn change(handle: &Handle, old: &[SecretKey], new: &[SecretKey]) -> Result<(), CommandError> {
    let added = new.iter().filter(|key| !old.contains(key));
    for key in added.cloned() {
        handle.command(Command::AddKey { key })?;
    }
    if let Some(key) = new.first().cloned() {
        handle.command(Command::UseKey { key })?;
    }
    let removed = old.iter().filter(|key| !new.contains(key));
    for key in removed.cloned() {
        handle.command(Command::RemoveKey { key })?;
    }
    Ok(())
}

fn load(path: &Path) -> Result<Vec<SecretKey>, String> {
    let text = fs::read_to_string(path)
        .map_err(|e| format!("cannot read the key file {}: {e}", path.display()))?;
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let key = key(line).ok_or_else(|| {
            format!(
                "line {} of {} is no key: write 64 hexadecimal digits, as `openssl rand -hex 32` makes them",
                number.saturating_add(1),
                path.display()
            )
        })?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(format!("{} holds no key: write one", path.display()));
    }
    if keys.len() > MAX_KEYS {
        return Err(format!(
            "{} holds {} keys: keep at most {MAX_KEYS}",
            path.display(),
            keys.len()
        ));
    }
    Ok(keys)
}

fn key(line: &str) -> Option<SecretKey> {
    let bytes = parse::hex(line.as_bytes())?;
    bytes.try_into().ok().map(SecretKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        let mut bytes = [0; 32];
        bytes[31] = 0xa5;
        let text = format!("{}a5", "0".repeat(62));
        assert_eq!(key(&text), Some(SecretKey::new(bytes)));
        assert_eq!(key(&text.to_uppercase()), Some(SecretKey::new(bytes)));
        for wrong in [
            &text[1..],
            &text[2..],
            "",
            "+1",
            &"+1".repeat(32),
            &"é".repeat(32),
        ] {
            assert_eq!(key(wrong), None, "{wrong}");
        }
    }
}
