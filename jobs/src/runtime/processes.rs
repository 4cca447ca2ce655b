//! The local instances among this machine's processes.
//!
//! The truth is `/proc`: a process is an instance of ours when its environment says so, which holds across a
//! crash between starting it and writing anything down, and can't mistake a recycled pid. Reading another
//! user's environment is denied, which is right: it is none of ours.

use std::{collections::BTreeSet, path::Path};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// Set in an instance's environment: the folder that holds it.
pub const MARK: &str = "LABELFLEET_INSTANCE_DIR";
/// Set beside it: the digest of what it was started with.
pub const SPEC: &str = "LABELFLEET_INSTANCE_SPEC";

/// A running instance; the leader of its process group.
#[derive(Debug, Clone)]
pub struct Found {
    pub pid: i32,
    /// The folder that holds it.
    pub dir: String,
    pub spec: String,
}

/// All running instances, of whatever fleet.
pub fn all() -> std::io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Gone meanwhile, another user's, or a zombie (whose environment is empty).
        let Ok(environ) = std::fs::read(entry.path().join("environ")) else { continue };
        if let (Some(dir), Some(spec)) = (variable(&environ, MARK), variable(&environ, SPEC)) {
            found.push(Found { pid, dir, spec });
        }
    }
    // A child of an instance inherits its environment; the instance itself is the group's leader.
    found.retain(|process| is_leader(process.pid));
    Ok(found)
}

/// The instance whose folder this is.
pub fn of(dir: &Path) -> std::io::Result<Option<Found>> {
    Ok(all()?.into_iter().find(|process| Path::new(&process.dir) == dir))
}

/// Signals the whole group; one that is gone is no error.
pub fn signal(process: &Found, signal: Signal) -> nix::Result<()> {
    match killpg(Pid::from_raw(process.pid), signal) {
        Err(Errno::ESRCH) => Ok(()),
        outcome => outcome,
    }
}

/// The TCP port on which the process listens, once it does. Label Studio silently takes the next one where the
/// port it was given is busy.
pub fn listening_port(pid: i32) -> Option<u16> {
    let sockets: BTreeSet<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    table.lines().skip(1).find_map(|line| {
        // sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode (proc(5))
        let mut fields = line.split_whitespace();
        let (_, port) = fields.nth(1)?.rsplit_once(':')?;
        let listens = fields.nth(1)? == "0A";
        let inode = fields.nth(5)?;
        (listens && sockets.contains(inode)).then(|| u16::from_str_radix(port, 16).ok())?
    })
}

fn is_leader(pid: i32) -> bool {
    nix::unistd::getpgid(Some(Pid::from_raw(pid))).is_ok_and(|group| group.as_raw() == pid)
}

fn variable(environ: &[u8], name: &str) -> Option<String> {
    environ.split(|&byte| byte == 0).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}
