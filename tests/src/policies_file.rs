//! A policies file for rl-server, which a test writes and changes.

use std::path::Path;

use tempfile::NamedTempFile;

/// A file for `-policies`. It is deleted when dropped.
#[derive(Debug)]
pub struct PoliciesFile(NamedTempFile);

impl PoliciesFile {
    /// A file with this text.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let file = Self(NamedTempFile::new().expect("a file"));
        file.write(text);
        file
    }

    /// Replaces the text.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write(&self, text: &str) {
        std::fs::write(self.0.path(), text).expect("a writable file");
    }

    /// Its path.
    ///
    /// # Panics
    ///
    /// If the path is not UTF-8.
    #[must_use]
    pub fn path(&self) -> &str {
        Path::to_str(self.0.path()).expect("UTF-8")
    }
}
