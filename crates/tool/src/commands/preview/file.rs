//! The file of the mapping, which others may change at the same time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::cli::error::CliError;

pub(super) struct MappingFile(PathBuf);

/// What became of a change.
#[derive(Debug, PartialEq)]
pub(super) enum Saved {
    Yes,
    /// The file is no longer what the change was made to.
    Changed,
}

impl MappingFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn name(&self) -> String {
        self.0.display().to_string()
    }

    /// The text of a file that must be there.
    pub(super) fn required(&self) -> Result<String, CliError> {
        fs::read_to_string(&self.0).map_err(|error| CliError::input(&self.name(), &error))
    }

    /// Its text; `None` if there is no such file.
    pub(super) fn text(&self) -> io::Result<Option<String>> {
        match fs::read_to_string(&self.0) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the text, if it still is the one that the change was made to.
    pub(super) fn save(&self, before: Option<&str>, text: &str) -> io::Result<Saved> {
        let now = self.text()?;
        if now.as_deref() == Some(text) {
            return Ok(Saved::Yes);
        }
        if now.as_deref() != before {
            return Ok(Saved::Changed);
        }
        // Where a link leads, so that it remains one.
        let path = fs::canonicalize(&self.0).unwrap_or_else(|_| self.0.clone());
        replace(&path, text)?;
        Ok(Saved::Yes)
    }
}

/// Others see the old text or the new one, and never a part.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{:016x}", fastrand::u64(..)));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&beside)?;
    let written = fill(&mut file, path, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error says more than one of the clean-up.
        drop(fs::remove_file(&beside));
    }
    written
}

fn fill(file: &mut File, path: &Path, text: &str) -> io::Result<()> {
    if let Ok(metadata) = fs::metadata(path) {
        file.set_permissions(metadata.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
