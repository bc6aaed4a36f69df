//! Files that are watched for changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// When a file was written, and how long it is; `None` if it is not there.
type State = Option<(SystemTime, u64)>;

/// Files, and their states when they were last looked at. Polled, because notifications of the system do not cross the
/// borders of containers and virtual machines.
pub(crate) struct Watched {
    files: Vec<(PathBuf, State)>,
}

impl Watched {
    pub(crate) fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files = files.into_iter().map(|file| {
            let state = state(&file);
            (file, state)
        });
        Self {
            files: files.collect(),
        }
    }

    /// The files that have changed since the last look.
    pub(crate) fn changed(&mut self) -> Vec<&Path> {
        let mut changed = Vec::new();
        for (file, seen) in &mut self.files {
            let now = state(file);
            if now != *seen {
                *seen = now;
                changed.push(file.as_path());
            }
        }
        changed
    }
}

fn state(file: &Path) -> State {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
