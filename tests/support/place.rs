//! A directory for each test that wants one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use occupancy::server::DataDir;

use super::janitor::Janitor;
use super::program;

/// An empty directory, such as for a server's data. Removed with this value, or with the process,
/// after the server that may still run there was stopped.
pub(crate) struct Place(PathBuf);

/// What all places of this process are in.
struct Root {
    path: PathBuf,
    _janitor: Janitor,
}

impl Place {
    /// Creates one.
    pub(crate) fn new() -> Self {
        static ROOT: OnceLock<Root> = OnceLock::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let root = ROOT.get_or_init(|| {
            let path = tempfile::Builder::new()
                .prefix("occupancy-test-")
                // A server that is run for root belongs to somebody else, who must get through.
                .permissions(Permissions::from_mode(0o711))
                .tempdir()
                .expect("a temporary directory")
                .keep();
            let janitor = Janitor::for_directory(&path);
            Root { path, _janitor: janitor }
        });
        let path = root.path.join(NUMBER.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The same as a server's data directory.
    pub(crate) fn data_dir(&self) -> DataDir {
        DataDir::new(self.path()).with_guardian(program())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        clear(&self.0);
    }
}

/// Stops the server that may run in a place, and removes it.
pub(super) fn clear(place: &Path) {
    if place.join("lock").exists() {
        let _ = Command::new(program()).args(["down", "--data-dir"]).arg(place).output();
    }
    if let Ok(volume) = fs::read_to_string(place.join("volume")) {
        let _ = Command::new("docker").args(["volume", "rm", &volume]).output();
    }
    let _ = fs::remove_dir_all(place);
}
