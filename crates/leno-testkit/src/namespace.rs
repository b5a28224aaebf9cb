//! A machine of its own for a mesh: user, network and mount namespaces, without root.
//!
//! There every port is free, names can be given in its own `/etc/hosts`, and nothing leaves it.

use std::ffi::OsStr;
use std::process::Command;

use crate::process::Process;
use crate::user::OrdinaryUser;

/// The namespaces last as long as this.
#[derive(Debug)]
pub(crate) struct Namespaces {
    holder: Process,
}

impl Namespaces {
    /// `setup` is a shell script that runs in them first, in the user's home.
    #[track_caller]
    pub(crate) fn new(user: &OrdinaryUser, setup: &str) -> Self {
        let script = format!("set -e; ip link set lo up; {setup}\necho ready; exec sleep infinity");
        let mut command = user.command("unshare");
        command.args(["-Urnm", "sh", "-c", &script]);
        let holder = Process::spawn(command);
        holder.wait_for_output("ready");
        Self { holder }
    }

    pub(crate) fn command(&self, user: &OrdinaryUser, program: impl AsRef<OsStr>) -> Command {
        let mut command = user.command("nsenter");
        let holder = self.holder.pid().to_string();
        command.args(["-t", &holder, "-U", "-n", "-m", "--preserve-credentials"]);
        command.arg(format!("--wd={}", user.home().display()));
        command.arg("--").arg(program);
        command
    }
}
