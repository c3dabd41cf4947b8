//! The files of the repository, and copies of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// The files of the repository that faults and tests are made of.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    files: BTreeSet<String>,
}

impl Tree {
    /// The repository that this program was built from.
    pub(crate) fn of_this_repository() -> Result<Self, String> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = package.parent().unwrap_or(package).to_owned();
        // Files that are new and not yet tracked belong to it, too.
        let listed = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(&root)
            .output()
            .map_err(|error| format!("git: {error}"))?;
        if !listed.status.success() {
            return Err(format!("git: {}", String::from_utf8_lossy(&listed.stderr)));
        }
        let listed = String::from_utf8_lossy(&listed.stdout);
        let files = listed.split('\0').filter(|file| {
            let is_needed = !file.is_empty() && !file.starts_with("fuzz/");
            is_needed && root.join(file).is_file()
        });
        let files = files.map(str::to_owned).collect();
        Ok(Self { root, files })
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    pub(crate) fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.path(file))
    }

    /// All files of Rust code, with what they say.
    pub(crate) fn code(&self) -> Vec<(&str, String)> {
        let files = self.files.iter().filter(|file| file.ends_with(".rs"));
        let read = files.filter_map(|file| Some((file.as_str(), self.read(file).ok()?)));
        read.collect()
    }

    /// Makes a folder the same as this tree. What is the same already is not touched, so that nothing is
    /// compiled twice.
    pub(crate) fn copy_to(&self, folder: &Path) -> io::Result<()> {
        for stale in files_in(folder, Path::new(""))? {
            let name = stale.to_string_lossy();
            if !self.files.contains(name.as_ref()) {
                fs::remove_file(folder.join(&stale))?;
            }
        }
        for file in &self.files {
            let (from, to) = (self.path(file), folder.join(file));
            let bytes = fs::read(from)?;
            if fs::read(&to).ok().as_deref() != Some(bytes.as_slice()) {
                fs::create_dir_all(to.parent().unwrap_or(folder))?;
                fs::write(&to, bytes)?;
            }
        }
        Ok(())
    }
}

/// The files below a folder, as seen from `folder`.
fn files_in(folder: &Path, below: &Path) -> io::Result<Vec<PathBuf>> {
    let here = folder.join(below);
    if !here.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(here)? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            files.extend(files_in(folder, &path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}
