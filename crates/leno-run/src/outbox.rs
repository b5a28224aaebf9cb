//! The supervisor's side of its channel to the proxy: a proxy that is slow must not stop it.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::net::Shutdown;

use crate::{
    channel::Channel,
    message::{FromProxy, ToProxy},
};

/// What may wait for the proxy. It asks for every larger message itself, so one that lets this
/// many wait has stopped reading.
const MAX_WAITING: usize = 1024;

#[derive(Debug)]
pub(crate) struct Outbox {
    channel: Channel,
    waiting: VecDeque<(ToProxy, Vec<OwnedFd>)>,
    /// Nothing can be sent any more; what the proxy has said is still to be read.
    given_up: bool,
}

impl Outbox {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            channel,
            waiting: VecDeque::new(),
            given_up: false,
        }
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(crate) fn wants_room(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends now or as soon as there is room.
    pub(crate) fn push(&mut self, message: ToProxy, descriptors: Vec<OwnedFd>) {
        if self.given_up {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            return self.give_up();
        }
        self.waiting.push_back((message, descriptors));
        self.flush();
    }

    pub(crate) fn flush(&mut self) {
        while let Some((message, descriptors)) = self.waiting.front() {
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            match self.channel.try_send(message, &borrowed) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.give_up(),
            }
        }
    }

    /// The proxy sees the channel end, if it ever looks.
    fn give_up(&mut self) {
        self.given_up = true;
        self.waiting.clear();
        // Fails only if the proxy is gone already.
        let _ = rustix::net::shutdown(&self.channel, Shutdown::Write);
    }

    /// The proxy's next message; `None` if none is waiting.
    pub(crate) fn next(&self) -> io::Result<Option<FromProxy>> {
        match self.channel.try_recv() {
            Ok(Some((message, _))) => Ok(Some(message)),
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_waits_in_order_until_there_is_room() {
        let (ours, theirs) = Channel::pair().unwrap();
        let mut outbox = Outbox::new(ours);
        let mut sent = 0;
        while !outbox.wants_room() {
            outbox.push(ToProxy::Closed { port: sent }, Vec::new());
            sent += 1;
        }
        for port in 0..sent {
            outbox.flush();
            assert_eq!(
                theirs.try_recv::<ToProxy>().unwrap().unwrap().0,
                ToProxy::Closed { port }
            );
        }
        assert!(!outbox.wants_room());
    }

    #[test]
    fn a_proxy_that_never_reads_is_given_up_but_still_heard() {
        let (ours, theirs) = Channel::pair().unwrap();
        let mut outbox = Outbox::new(ours);
        for _ in 0..10_000 {
            outbox.push(ToProxy::Closed { port: 1 }, Vec::new());
        }
        assert!(outbox.given_up && !outbox.wants_room());
        theirs.try_send(&FromProxy::Drained, &[]).unwrap();
        assert_eq!(outbox.next().unwrap(), Some(FromProxy::Drained));
        while let Some((message, _)) = theirs.try_recv::<ToProxy>().unwrap() {
            assert_eq!(message, ToProxy::Closed { port: 1 });
        }
    }
}
