//! Commands as an ordinary user: what a mesh without root is tested with.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::getuid;
use tempfile::TempDir;

/// Nobody in particular; it needs no entry in /etc/passwd.
const UID: u32 = 47_100;

/// A user with a home of its own, which is removed with it.
#[derive(Debug)]
pub struct OrdinaryUser {
    home: TempDir,
    /// None: the tests already run as an ordinary user.
    uid: Option<u32>,
}

impl OrdinaryUser {
    pub fn new() -> Self {
        Self::with(getuid().is_root().then_some(UID))
    }

    /// Root, where the tests run as root.
    pub fn root() -> Self {
        Self::with(None)
    }

    fn with(uid: Option<u32>) -> Self {
        let home = tempfile::Builder::new()
            .prefix("leno-test-")
            .tempdir()
            .expect("a temporary directory");
        if let Some(uid) = uid {
            chown(home.path(), Some(uid), Some(uid)).expect("root may give a directory away");
        }
        Self { home, uid }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command with this user's uid and a clean environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home())
            .env("LANG", "C.UTF-8");
        command.current_dir(self.home());
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// Writes a file that belongs to the user; directories are made.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home().join(name);
        let parent = path.parent().expect("a file lies in a directory");
        self.make_dir(parent);
        // Whole or not at all, as an editor saves.
        let draft = path.with_extension("draft");
        fs::write(&draft, text).expect("the test's own directory can be written");
        self.give(&draft);
        fs::rename(&draft, &path).expect("the test's own directory can be written");
        path
    }

    pub fn make_dir(&self, path: &Path) {
        if !path.exists() {
            self.make_dir(path.parent().expect("the home is above"));
            fs::create_dir(path).expect("the test's own directory can be written");
            self.give(path);
        }
    }

    fn give(&self, path: &Path) {
        if let Some(uid) = self.uid {
            chown(path, Some(uid), Some(uid)).expect("root may give a file away");
        }
    }
}

impl Default for OrdinaryUser {
    fn default() -> Self {
        Self::new()
    }
}

/// `binary` where an ordinary user can execute it: the build directory may be closed to others.
pub fn shared_binary(binary: &Path) -> &'static Path {
    static COPY: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (path, _) = COPY.get_or_init(|| {
        let dir = tempfile::Builder::new()
            .prefix("leno-bin-")
            .tempdir()
            .expect("a temporary directory")
            .keep();
        let guard = removed_with_us(&dir);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("our own directory");
        let path = dir.join("leno");
        fs::copy(binary, &path).expect("the binary can be copied");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
        (path, guard)
    });
    path
}

/// Removes a directory when this process has ended, however that happens: nothing static is ever dropped. The pipe
/// between them is closed by the kernel. A group of its own keeps Ctrl-C from ending the guard first.
fn removed_with_us(dir: &Path) -> Child {
    Command::new("sh")
        .args(["-c", "read -r _; exec rm -rf \"$1\"", "sh"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a shell")
}
