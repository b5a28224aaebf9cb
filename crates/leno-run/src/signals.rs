//! Signals as something to read (signalfd(2)), and dying by one.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd},
};

/// Signals that must reach the process itself: faults, which cannot be postponed, and the
/// terminal's "not from the background", whose default is right for the launcher.
const UNBLOCKED: [libc::c_int; 9] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// All other signals of this process, from now on read from here; dropping it restores the mask.
#[derive(Debug)]
pub(crate) struct Signals {
    descriptor: OwnedFd,
    original: Mask,
}

/// A set of blocked signals.
#[derive(Clone, Copy)]
pub(crate) struct Mask(libc::sigset_t);

/// A signal that has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) number: i32,
    /// Some process sent it to us. Otherwise the kernel did: what a key on the terminal causes
    /// goes to the whole process group, so the command has it already.
    pub(crate) by_a_process: bool,
}

// === impl Signals ===

impl Signals {
    pub(crate) fn block() -> io::Result<Self> {
        let mut set = empty_set();
        // SAFETY: `set` is an initialised signal set; these calls only change it.
        unsafe {
            libc::sigfillset(&raw mut set);
            for signal in UNBLOCKED {
                libc::sigdelset(&raw mut set, signal);
            }
        }
        let original = Mask(set).exchange(libc::SIG_BLOCK)?;
        // SAFETY: `set` is an initialised signal set, which signalfd only reads.
        let descriptor =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so this is a new descriptor that nothing else owns.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self { descriptor, original })
    }

    /// The next signal, if one is waiting.
    pub(crate) fn next(&self) -> io::Result<Option<Received>> {
        let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.descriptor, &mut buffer) {
            Ok(length) if length == buffer.len() => {}
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        // SAFETY: the kernel has filled the whole buffer with one such record, which is plain
        // integers; the read is unaligned because the buffer is bytes.
        let info = unsafe { buffer.as_ptr().cast::<libc::signalfd_siginfo>().read_unaligned() };
        // sigaction(2): SI_USER is 0, SI_QUEUE, SI_TKILL and the like are negative.
        Ok(Some(Received {
            number: info.ssi_signo as i32,
            by_a_process: info.ssi_code <= 0,
        }))
    }

    /// What was blocked before.
    pub(crate) fn original(&self) -> Mask {
        self.original
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // It was in force once, so it is valid.
        let _ = self.original.restore();
    }
}

// === impl Mask ===

impl Mask {
    /// Puts this mask in force. Safe between fork and exec.
    pub(crate) fn restore(&self) -> io::Result<()> {
        self.exchange(libc::SIG_SETMASK).map(drop)
    }

    fn exchange(&self, how: libc::c_int) -> io::Result<Self> {
        let mut old = empty_set();
        // SAFETY: both sets are initialised and live; the process has one thread.
        match unsafe { libc::sigprocmask(how, &raw const self.0, &raw mut old) } {
            0 => Ok(Self(old)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask")
    }
}

/// Ends this process by the signal, if its default action does so; returns otherwise.
pub(crate) fn die_by(signal: i32) {
    let no_core = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, no_core);
    // SAFETY: SIG_DFL is a valid disposition; a wrong number makes the call fail and changes nothing.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
    }
    raise(signal);
}

/// Lets the signal have its effect on this process although it is blocked.
pub(crate) fn raise(signal: i32) {
    let mut set = empty_set();
    // SAFETY: the set is initialised; a wrong number makes these calls fail and changes nothing.
    unsafe {
        libc::sigaddset(&raw mut set, signal);
        libc::raise(signal);
    }
    // A blocked signal takes effect here.
    if let Ok(before) = Mask(set).exchange(libc::SIG_UNBLOCK) {
        let _ = before.restore();
    }
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises what it is given.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}
