//! The sample messages, read again when their files change.

use crate::cli::error::CliError;
use crate::cli::samples::{Sample, SampleFlags, read};
use crate::cli::watch::Watched;

pub(super) struct Messages {
    pub(super) all: Vec<Sample>,
    /// How often they were read.
    pub(super) version: usize,
    /// Why the last attempt to read them failed.
    pub(super) error: Option<String>,
    files: Vec<std::path::PathBuf>,
    watched: Watched,
}

impl Messages {
    pub(super) async fn read(flags: &SampleFlags) -> Result<Self, CliError> {
        let files = flags.files().unwrap_or_default().to_vec();
        let watched = Watched::new(files.clone());
        Ok(Self {
            all: flags.read().await?,
            version: 1,
            error: None,
            files,
            watched,
        })
    }

    /// Reads them again if a file has changed.
    pub(super) fn refresh(&mut self) {
        if self.watched.changed().is_empty() {
            return;
        }
        self.version += 1;
        match read(&self.files) {
            Ok(all) => (self.all, self.error) = (all, None),
            Err(error) => self.error = Some(error.to_string()),
        }
    }
}
