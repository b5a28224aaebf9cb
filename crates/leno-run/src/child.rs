//! The command itself: the user's own process, as if leno were not there.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, getpid},
    thread::{CapabilitySet, CapabilitySets},
};

use crate::{process, signals::Mask};

/// Starts the command with this process's standard streams, directory, environment and process
/// group, with `mask` as its signal mask and without any capability. It dies with this process.
pub(crate) fn start(command: &[OsString], mask: Mask) -> io::Result<Pid> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = getpid();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit());
    // SAFETY: between fork and exec the closure makes system calls only; nothing is allocated
    // and no lock is taken.
    unsafe {
        command.pre_exec(move || {
            drop_capabilities()?;
            process::end_with(parent, Signal::KILL)?;
            mask.restore()
        });
    }
    let child = command.spawn()?;
    // From here on it is reaped with all others; dropping `Child` does neither wait nor kill.
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(io::ErrorKind::InvalidData.into())
}

/// Gives up all capabilities for good: without the bounding set, root's exec gains none either
/// (capabilities(7)).
fn drop_capabilities() -> io::Result<()> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last capability of this kernel.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}
