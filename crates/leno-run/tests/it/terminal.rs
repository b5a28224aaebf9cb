//! A workload in the foreground of a terminal, as a shell would start it.

// Making a pseudo-terminal the controlling one needs it.
#![allow(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    thread,
};

use crate::workload::{User, launch};

/// Both ends, neither of which any other process gets: one that kept ours would keep it alive.
fn terminal() -> (File, OwnedFd) {
    let ours = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/ptmx")
        .unwrap();
    let locked: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the integer that is read is live (ioctl_tty(2)).
    let unlocked = unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCSPTLCK, &raw const locked) };
    assert_eq!(unlocked, 0);
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the descriptor is open; the result is a new descriptor or an error.
    let theirs = unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    assert!(theirs >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the call succeeded, so nothing else owns it.
    (ours, unsafe { OwnedFd::from_raw_fd(theirs) })
}

#[test]
fn an_interrupt_key_reaches_the_command_once_and_its_input_is_the_terminals() {
    let script = "trap 'echo interrupted' INT; echo up; read line; while [ \"$line\" != end ]; do read line; done; exit 4";
    let (mut ours, theirs) = terminal();
    let workload = launch(User::Ordinary, &[], &["sh", "-c", script])
        .on_terminal(theirs)
        .start();
    let mut reader = ours.try_clone().unwrap();
    let (said, says) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 256];
        // The end of a terminal is an error (EIO).
        while let Ok(length @ 1..) = reader.read(&mut buffer) {
            let _ = said.send(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
    });
    let mut output = String::new();
    workload.wait_until("it is up", || {
        output.extend(says.try_iter());
        output.contains("up")
    });
    ours.write_all(b"\x03").unwrap();
    workload.wait_until("it was interrupted, and the proxy knows", || {
        output.extend(says.try_iter());
        output.contains("interrupted") && workload.log().contains("stopping")
    });
    ours.write_all(b"end\n").unwrap();
    assert_eq!(workload.finish().code(), Some(4));
    output.extend(says.try_iter());
    assert_eq!(output.matches("interrupted").count(), 1, "{output}");
}

#[test]
fn a_terminal_that_goes_away_hangs_up_the_command() {
    let script = "trap 'echo hung up >&2; exit 5' HUP; echo $$ >&2; while :; do sleep 0.02; done";
    let (ours, theirs) = terminal();
    let workload = launch(User::Ordinary, &[], &["sh", "-c", script])
        .on_terminal(theirs)
        .start();
    workload.wait_until("it is up", || workload.stderr().ends_with('\n'));
    drop(ours);
    let outcome = workload.finish();
    assert_eq!(outcome.code(), Some(5));
    assert_eq!(outcome.stderr.matches("hung up").count(), 1, "{outcome:?}");
}
