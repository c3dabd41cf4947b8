//! Turns the corpora of the fuzz targets into folders for a fuzzer, and back into text files.
//!
//! ```sh
//! cargo run -p conformance --bin corpus -- unpack          # all targets
//! cargo run -p conformance --bin corpus -- unpack script   # fuzz/corpus/script.txt into fuzz/corpus/script
//! cargo run -p conformance --bin corpus -- pack script     # and back
//! ```

use std::env;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use conformance::fuzz::corpus;

const USAGE: &str = "usage: corpus unpack|pack [TARGET]...";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let action: fn(&Path, &Path) -> io::Result<usize> = match arguments.next().as_deref() {
        Some("unpack") => |packed, folder| corpus::unpack(packed, folder),
        Some("pack") => |packed, folder| corpus::pack(folder, packed),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let named: Vec<_> = arguments.collect();
    match targets(named).and_then(|targets| run(&targets, action)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corpus: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The targets named, or all that have a packed corpus.
fn targets(named: Vec<String>) -> io::Result<Vec<String>> {
    if !named.is_empty() {
        return Ok(named);
    }
    let mut targets = Vec::new();
    for entry in corpus::folder().read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let stem = path.file_stem().unwrap_or_default();
            targets.push(stem.to_string_lossy().into_owned());
        }
    }
    targets.sort();
    Ok(targets)
}

fn run(targets: &[String], action: fn(&Path, &Path) -> io::Result<usize>) -> io::Result<()> {
    for target in targets {
        let inputs = action(&corpus::file(target), &corpus::folder().join(target))
            .map_err(|error| io::Error::new(error.kind(), format!("{target}: {error}")))?;
        println!("{target}: {inputs} inputs");
    }
    Ok(())
}
