//! How the command ended, to be passed on exactly.

use rustix::process::WaitStatus;
use serde::{Deserialize, Serialize};

use crate::signals;

/// How a process ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ending {
    /// With an exit code.
    Exited(u8),
    /// By a signal.
    Signaled(i32),
}

impl Ending {
    /// The exit code as a shell gives it: 128 + n after signal n.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code.into(),
            Self::Signaled(signal) => 128 + signal,
        }
    }

    /// Ends this process in the same way. A signal is raised on this process, without a core
    /// dump, so that a shell or service manager sees what it would have seen of the command
    /// itself.
    pub fn leave(self) -> ! {
        if let Self::Signaled(signal) = self {
            signals::die_by(signal);
        }
        std::process::exit(self.code())
    }

    pub(crate) fn of(status: WaitStatus) -> Option<Self> {
        let code = status.exit_status().map(|code| Self::Exited(code as u8));
        code.or_else(|| status.terminating_signal().map(Self::Signaled))
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signaled(signal) => write!(f, "signal {signal}"),
        }
    }
}
