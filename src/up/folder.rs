//! The folder of `labelfleet up` (`.labelfleet`): everything that outlives it, for its owner's eyes only.
//!
//! One file a secret and one a port, so that `cat .labelfleet/admin-password` answers what it asks.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Seek, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::ports::Port;

/// The folder, ours alone as long as this value lives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Folder {
    /// Makes the folder where it is missing. Fails when another process holds it; a process that was killed
    /// holds nothing.
    pub fn lock(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        // Servers that run as another user pass through the folder itself.
        for (name, mode) in [("", 0o711), ("log", 0o700), ("s3", 0o700), ("instances", 0o700)] {
            let folder = path.join(name);
            fs::create_dir_all(&folder)
                .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)))
                .with_context(|| format!("make the folder {}", folder.display()))?;
        }
        let mut open = File::options();
        let file =
            open.read(true).write(true).create(true).truncate(false).mode(0o600).open(path.join("lock"))?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut owner = String::new();
                file.read_to_string(&mut owner)?;
                bail!(
                    "labelfleet already runs in {} (process {}): stop it first, or start this one in another \
                     folder and with another PORT",
                    path.display(),
                    owner.trim()
                );
            }
            Err((_, error)) => return Err(error).with_context(|| format!("lock {}", path.display())),
        };
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(*lock, "{}", std::process::id())?;
        Ok(Self { path, _lock: lock })
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn log(&self, child: &str) -> PathBuf {
        self.path.join("log").join(format!("{child}.log"))
    }

    /// The secret of this name, drawn when it is first asked for (then the second value is true).
    pub fn secret(&self, name: &str) -> anyhow::Result<(String, bool)> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok((text.trim().to_owned(), false)),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("read {}", path.display()));
            }
            _ => {}
        }
        let secret = hex::encode(rand::random::<[u8; 16]>());
        write_private(&path, &format!("{secret}\n"))?;
        Ok((secret, true))
    }

    /// The port that a server had before, or a free one if somebody else took it meanwhile.
    pub fn port(&self, server: &str) -> anyhow::Result<Port> {
        let path = self.path.join(format!("{server}.port"));
        let remembered = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        if let Some(port) = remembered.and_then(Port::keep) {
            return Ok(port);
        }
        let port = Port::free()?;
        write_private(&path, &format!("{}\n", port.number()))?;
        Ok(port)
    }
}

/// Writes a file that only its owner may read, complete or not at all.
pub(super) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let unfinished = path.with_extension("new");
    let write = || {
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        // The mode above is for a new file only.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}
