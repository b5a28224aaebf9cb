//! A workload in the foreground of a terminal, as a shell would start it.

// Making a pseudo-terminal the controlling one needs it.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{FromRawFd as _, OwnedFd},
    thread,
};

use crate::workload::{User, launch};

fn terminal() -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let (name, settings, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: the two integers are live; the other arguments may be null (openpty(3)).
    let result = unsafe { libc::openpty(&raw mut ours, &raw mut theirs, name, settings, size) };
    assert_eq!(result, 0);
    // SAFETY: the call succeeded, so both are new descriptors.
    unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) }
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
