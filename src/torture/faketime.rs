//! A clock of a process that somebody else sets, by libfaketime.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// Where distributions put the library for programs with threads.
const PLACES: [&str; 5] = [
    "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
    "/usr/lib/libfaketimeMT.so.1",
];

pub(super) struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A right clock that is set through `file`; `None` where the library is not installed.
    pub(super) fn find(file: &Path) -> Result<Option<Self>> {
        let found = PLACES.iter().filter_map(|place| glob::glob(place).ok()).flatten();
        let Some(Ok(library)) = found.into_iter().next() else { return Ok(None) };
        let clock = Self { library, file: file.to_owned() };
        clock.set(0)?;
        Ok(Some(clock))
    }

    pub(super) fn environment(&self) -> [(&'static str, &Path); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", &self.file),
            // The history is stamped, and pauses are measured, by the machine's own clock.
            ("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
            ("FAKETIME_CACHE_DURATION", Path::new("1")),
        ]
    }

    /// Puts it forward by so many seconds, which is noticed within one.
    pub(super) fn set(&self, seconds: i64) -> Result<()> {
        fs::write(&self.file, format!("{seconds:+}\n")).map_err(|e| {
            Error::new(ErrorKind::Io, format!("cannot write {}", self.file.display())).caused_by(e)
        })
    }
}
