//! A small file system that can be made full at once.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use self::system::{detach, mount_memory, resize};
use crate::error::{Error, ErrorKind, Result};

const SIZE: &str = "size=1g";

/// What is mounted from now on is seen by this thread and its children alone, and goes with them,
/// however they end.
///
/// # Errors
/// Why nothing can be mounted here.
pub(super) fn become_private() -> io::Result<()> {
    system::become_private()
}

/// A directory for a server's data.
pub(super) struct Disk {
    path: PathBuf,
    /// Why it is not a file system of its own.
    refused: Option<String>,
}

impl Disk {
    /// Mounts one there if it can be. The directory keeps its owner.
    pub(super) fn mount(path: &Path) -> Self {
        let mounted = fs::metadata(path).and_then(|it| {
            let options = format!("{SIZE},mode=0700,uid={},gid={}", it.uid(), it.gid());
            mount_memory(path, &options)
        });
        let refused = mounted.err().map(|error| format!("no file system can be mounted: {error}"));
        Self { path: path.to_owned(), refused }
    }

    /// Why it cannot be made full.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Leaves no room beyond what is in use.
    pub(super) fn fill(&self) -> Result<()> {
        let disk = nix::sys::statvfs::statvfs(&self.path).map_err(|e| failure(e.into()))?;
        let used = (disk.blocks() - disk.blocks_free()) * disk.fragment_size();
        resize(&self.path, &format!("size={used}")).map_err(failure)
    }

    /// Gives the room back.
    pub(super) fn empty(&self) -> Result<()> {
        resize(&self.path, SIZE).map_err(failure)
    }

    /// Removes the directory and all that is in it.
    pub(super) fn remove(self) -> Result<()> {
        if self.refused.is_none() {
            detach(&self.path).map_err(failure)?;
        }
        fs::remove_dir_all(&self.path).map_err(failure)
    }
}

fn failure(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, "the disk of a server").caused_by(error)
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;
    use std::path::Path;

    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use nix::sched::{CloneFlags, unshare};

    const NOTHING: Option<&str> = None;

    pub(super) fn become_private() -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        Ok(mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)?)
    }

    pub(super) fn mount_memory(path: &Path, options: &str) -> io::Result<()> {
        Ok(mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options))?)
    }

    pub(super) fn resize(path: &Path, options: &str) -> io::Result<()> {
        Ok(mount(NOTHING, path, NOTHING, MsFlags::MS_REMOUNT, Some(options))?)
    }

    pub(super) fn detach(path: &Path) -> io::Result<()> {
        Ok(umount2(path, MntFlags::MNT_DETACH)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::path::Path;

    pub(super) fn become_private() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn mount_memory(_: &Path, _: &str) -> io::Result<()> {
        become_private()
    }

    pub(super) fn resize(_: &Path, _: &str) -> io::Result<()> {
        become_private()
    }

    pub(super) fn detach(_: &Path) -> io::Result<()> {
        become_private()
    }
}
