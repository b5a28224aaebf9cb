//! Waiting for several descriptors, up to a moment.

use std::{
    io,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
};

/// Waits until one of the descriptors has something for us (`write`: or has room), or until the
/// deadline; says which are ready. An interruption counts as nobody being ready.
pub(crate) fn wait<const N: usize>(
    descriptors: [Option<(BorrowedFd<'_>, bool)>; N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut polled: Vec<PollFd<'_>> = descriptors
        .iter()
        .flatten()
        .map(|(descriptor, write)| {
            let room = if *write {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            PollFd::from_borrowed_fd(*descriptor, PollFlags::IN | room)
        })
        .collect();
    let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // poll takes whole milliseconds on some kernels: rounding up spares a busy last one.
    let timeout = timeout.map(|left| left + Duration::from_millis(1));
    let timeout = timeout
        .map(Timespec::try_from)
        .transpose()
        .map_err(io::Error::other)?;
    match rustix::event::poll(&mut polled, timeout.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok([false; N]),
        Err(errno) => return Err(errno.into()),
    }
    let mut results = polled.iter().map(|polled| !polled.revents().is_empty());
    Ok(descriptors.map(|descriptor| descriptor.is_some() && results.next().unwrap_or(false)))
}
