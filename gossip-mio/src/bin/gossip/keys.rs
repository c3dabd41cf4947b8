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
        // A pipe is read once.
        if fs::metadata(&self.path).is_ok_and(|file| !file.is_file()) {
            return None;
        }
        let result = load(&self.path);
        let complaint = match result {
            Ok(keys) if keys == self.keys => None,
            Ok(keys) => {
                let mut steps = steps(&self.keys, &keys).into_iter();
                self.keys = keys;
                match steps.try_for_each(|step| handle.command(step)) {
                    // Who is leaving needs no new keys.
                    Ok(()) | Err(CommandError::Left | CommandError::Stopped) => None,
                    Err(error) => Some(format!("not all keys were changed: {error}")),
                }
            }
            Err(sentence) => Some(format!("the keys stay as they were: {sentence}")),
        };
        let told = complaint == self.complaint;
        self.complaint.clone_from(&complaint);
        complaint.filter(|_| !told)
    }
}

/// What makes a node that holds the `old` keys hold the `new` ones, never more than it may. The first of
/// either is the one in use.
fn steps(old: &[SecretKey], new: &[SecretKey]) -> Vec<Command> {
    let [add, make_primary, remove] = [
        |key: &SecretKey| Command::AddKey { key: key.clone() },
        |key: &SecretKey| Command::UseKey { key: key.clone() },
        |key: &SecretKey| Command::RemoveKey { key: key.clone() },
    ];
    let (Some(used), Some(first)) = (old.first(), new.first()) else {
        return Vec::new();
    };
    let drops = !new.contains(used);
    let mut steps: Vec<Command> = Vec::new();
    let dropped = old.iter().skip(1).filter(|key| !new.contains(key));
    steps.extend(dropped.map(remove));
    let mut kept = old.iter().filter(|key| new.contains(key));
    let is_full = drops && kept.clone().count().saturating_add(1) >= MAX_KEYS;
    if let (true, Some(stopgap)) = (is_full, kept.next()) {
        // There is no room for the new one beside the one in use.
        steps.extend([make_primary(stopgap), remove(used)]);
    }
    steps.extend([add(first), make_primary(first)]);
    if drops && !is_full {
        steps.push(remove(used));
    }
    steps.extend(new.iter().skip(1).filter(|key| !old.contains(key)).map(add));
    steps
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
        if !keys.contains(&key) {
            keys.push(key);
        }
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
    use gossip_mio::gossip_core::{Config, Identity, Instant, Node, UnixTime};

    fn secret(n: u8) -> SecretKey {
        SecretKey::new([n; 32])
    }

    /// Whatever keys the file held and holds, eight on either side included: no step is refused, and the
    /// node then holds those of the file, and uses the first.
    #[test]
    fn all_keys_can_be_changed_for_others() {
        let lists: [&[u8]; 9] = [
            &[1],
            &[2],
            &[2, 1],
            &[1, 2, 3, 4, 5, 6, 7, 8],
            &[9, 2, 3, 4, 5, 6, 7, 8],
            &[2, 3, 4, 5, 6, 7, 8, 9],
            &[8, 7, 6, 5, 4, 3, 2, 1],
            &[11, 12, 13, 14, 15, 16, 17, 18],
            &[18, 1, 2, 3, 4, 5, 6, 7],
        ];
        for (old, new) in lists
            .iter()
            .flat_map(|old| lists.iter().map(move |new| (old, new)))
        {
            let [before, after] = [old, new].map(|keys| keys.iter().map(|n| secret(*n)));
            let (before, after): (Vec<_>, Vec<_>) = (before.collect(), after.collect());
            let mut config = Config::lan();
            config.keys.clone_from(&before);
            let identity = Identity::new("a", "10.0.0.1:1".parse().unwrap()).unwrap();
            let wall = UnixTime::from_millis(1_800_000_000_000);
            let now = Instant::ORIGIN;
            let mut node = Node::new(config, identity, [1; 32], now, wall).unwrap();
            for step in steps(&before, &after) {
                let done = node.handle_command(now, step.clone());
                assert_eq!(done, Ok(()), "{step:?} from {old:?} to {new:?}");
            }
            let mut remove =
                |n: u8| node.handle_command(now, Command::RemoveKey { key: secret(n) });
            for n in 1..20 {
                let expected = match new.iter().position(|held| *held == n) {
                    None => Err(CommandError::UnknownKey),
                    Some(0) => Err(CommandError::KeyInUse),
                    Some(_) => Ok(()),
                };
                assert_eq!(remove(n), expected, "{n} from {old:?} to {new:?}");
            }
        }
    }

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
