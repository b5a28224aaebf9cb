//! Forking, and ties between parent and child.

use std::{io, panic};

use rustix::process::{Pid, Signal};

/// The two sides of a fork.
pub(crate) enum Fork {
    Parent(Pid),
    Child,
}

/// The number of threads of this process.
pub(crate) fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Forks this process.
///
/// # Safety
///
/// The process must have one thread: in a copy of a process with threads, locks that another
/// thread held stay locked for ever.
unsafe fn fork() -> io::Result<Fork> {
    // SAFETY: by this function's own condition.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .map(Fork::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// Runs `body` in a child process, which ends with the code it returns, without running anything
/// that belongs to the parent (destructors, buffered output). Refuses if there are threads.
pub(crate) fn fork_into(body: impl FnOnce() -> i32) -> io::Result<Pid> {
    if threads()? != 1 {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a process with threads cannot be forked",
        ));
    }
    // SAFETY: there is one thread, this one, so none can start another meanwhile.
    match unsafe { fork() }? {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => {
            let code = panic::catch_unwind(panic::AssertUnwindSafe(body)).unwrap_or(70);
            // SAFETY: ends the process; nothing runs after it.
            unsafe { libc::_exit(code) }
        }
    }
}

/// Ties this process to its parent: `signal` comes when the parent dies. An error if it is dead
/// already. Safe between fork and exec; must come after every change of credentials, which
/// clear it (prctl(2)).
pub(crate) fn end_with(parent: Pid, signal: Signal) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(signal))?;
    if rustix::process::getppid() == Some(parent) {
        Ok(())
    } else {
        Err(rustix::io::Errno::SRCH.into())
    }
}

/// Sends a signal by number; a process that is gone is none of our concern any more.
pub(crate) fn signal(pid: Pid, number: i32) {
    // SAFETY: kill has no memory effects; the pid is a positive number.
    unsafe {
        libc::kill(pid.as_raw_nonzero().get(), number);
    }
}

/// Whether this process leads its session. A leader in an outer PID namespace, as that of whatever
/// entered a container, is 0 to getsid(2), which `rustix` does not expect.
pub(crate) fn leads_session() -> bool {
    // SAFETY: neither call has memory effects.
    unsafe { libc::getsid(0) == libc::getpid() }
}
