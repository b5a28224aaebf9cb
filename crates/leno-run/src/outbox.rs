//! The supervisor's side of its channel to the proxy: a proxy that is slow must not stop it.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
};

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
}

impl Outbox {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            channel,
            waiting: VecDeque::new(),
        }
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(crate) fn wants_room(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends now or as soon as there is room. After an error the channel is of no use any more.
    pub(crate) fn push(&mut self, message: ToProxy, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        if self.waiting.len() >= MAX_WAITING {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.waiting.push_back((message, descriptors));
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some((message, descriptors)) = self.waiting.front() {
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            match self.channel.try_send(message, &borrowed) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
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
            outbox.push(ToProxy::Closed { port: sent }, Vec::new()).unwrap();
            sent += 1;
        }
        for port in 0..sent {
            outbox.flush().unwrap();
            assert_eq!(
                theirs.try_recv::<ToProxy>().unwrap().unwrap().0,
                ToProxy::Closed { port }
            );
        }
        assert!(!outbox.wants_room());
    }

    #[test]
    fn a_proxy_that_never_reads_is_given_up() {
        let (ours, _theirs) = Channel::pair().unwrap();
        let mut outbox = Outbox::new(ours);
        assert!((0..10_000).any(|_| outbox.push(ToProxy::Closed { port: 1 }, Vec::new()).is_err()));
    }
}
