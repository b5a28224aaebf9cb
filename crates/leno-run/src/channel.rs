//! Messages with descriptors between two processes of one workload.
//!
//! A SOCK_SEQPACKET socket pair keeps messages apart and carries descriptors with them
//! (SCM_RIGHTS, unix(7)). Nothing here belongs to a runtime: the proxy waits for readiness of
//! [`Channel::as_fd`] in its own way and calls the `try_` functions.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use crate::message::MAX_SOCKETS;

/// The largest message, in bytes.
const MAX_MESSAGE: usize = 16 * 1024;

/// One end of a pair.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// A connected pair; both ends are closed on exec.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        Ok((Self(one), Self(other)))
    }

    /// Sends one message, or fails with [`io::ErrorKind::WouldBlock`] when the other end does not
    /// keep up. A message is sent whole or not at all.
    pub fn try_send<M: Serialize>(&self, message: &M, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MAX_MESSAGE || descriptors.len() > MAX_SOCKETS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too large"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        // NOSIGNAL: a dead peer is an error to handle, not a reason to die.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut ancillary, flags)?;
        Ok(())
    }

    /// Sends one message without descriptors, waiting for room: for a peer that always reads.
    pub(crate) fn send<M: Serialize>(&self, message: &M) -> io::Result<()> {
        loop {
            match self.try_send(message, &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut room = [PollFd::new(&self.0, PollFlags::OUT)];
                    match rustix::event::poll(&mut room, None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
                result => return result,
            }
        }
    }

    /// Takes the next message with its descriptors, or fails with [`io::ErrorKind::WouldBlock`].
    /// `None`: the other end is closed. [`io::ErrorKind::InvalidData`]: not a message of type `M`,
    /// or one that was cut, for instance because this process has no descriptors left.
    pub fn try_recv<M: DeserializeOwned>(&self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            match rustix::net::recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut buffer)],
                &mut ancillary,
                flags,
            ) {
                // The peer closed with messages of ours unread. That is told once, before what it
                // had sent itself, which may be why it closed.
                Err(Errno::CONNRESET | Errno::INTR) => {}
                result => break result?,
            }
        };
        let descriptors = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        if received.bytes == 0 {
            return Ok(None);
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut"));
        }
        let message = serde_json::from_slice(buffer.get(..received.bytes).unwrap_or_default())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Some((message, descriptors)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Channel {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read as _, io::Write as _};

    use super::*;
    use crate::message::{Family, FromProxy, ToProxy};

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (one, other) = Channel::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        one.try_send(
            &ToProxy::Sockets {
                family: Family::V4,
                error: None,
            },
            &[writer.as_fd()],
        )
        .unwrap();
        drop(writer);
        let (message, mut descriptors) = other.try_recv::<ToProxy>().unwrap().unwrap();
        assert_eq!(
            message,
            ToProxy::Sockets {
                family: Family::V4,
                error: None
            }
        );
        File::from(descriptors.pop().unwrap())
            .write_all(b"through")
            .unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn an_idle_channel_would_block_and_a_closed_one_says_so() {
        let (one, other) = Channel::pair().unwrap();
        assert_eq!(
            other.try_recv::<ToProxy>().unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(one);
        assert!(other.try_recv::<ToProxy>().unwrap().is_none());
        assert_eq!(
            other.try_send(&FromProxy::Ready, &[]).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn last_words_are_heard_of_a_peer_that_closed_without_listening() {
        let (one, other) = Channel::pair().unwrap();
        other.try_send(&ToProxy::Closed { port: 1 }, &[]).unwrap();
        one.try_send(&FromProxy::Drained, &[]).unwrap();
        drop(one);
        assert_eq!(
            other.try_recv::<FromProxy>().unwrap().unwrap().0,
            FromProxy::Drained
        );
        assert!(other.try_recv::<FromProxy>().unwrap().is_none());
    }

    #[test]
    fn something_else_than_a_message_is_invalid_data() {
        let (one, other) = Channel::pair().unwrap();
        rustix::net::send(&one, b"{\"Rea", SendFlags::empty()).unwrap();
        assert_eq!(
            other.try_recv::<FromProxy>().unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn a_peer_that_does_not_read_is_noticed_without_waiting() {
        let (one, _other) = Channel::pair().unwrap();
        let error = (0..100_000)
            .find_map(|_| one.try_send(&FromProxy::Ready, &[]).err())
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
