//! Netlink messages: writing them, sending them, and reading the kernel's answers (RFC 3549,
//! netlink(7)).
//!
//! The kernel answers a request before `sendmsg` returns, so an answer that is not there
//! afterwards will never come: nothing here waits.

use std::{ffi::CStr, io, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink as family},
};
use thiserror::Error;

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_APPEND: u16 = 0x800;
/// In an answer: attributes follow the (here: cut short) copy of the request.
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;
/// `struct nlmsghdr`: length, type, flags, sequence, port.
const HEADER: usize = 16;

/// Why the kernel did not do what was asked.
#[derive(Debug, Error)]
pub enum NetlinkError {
    /// No netlink socket of this kind.
    #[error("no netlink socket for {subsystem}: {source}")]
    Open {
        /// `nf_tables` or `routes`.
        subsystem: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The request did not reach the kernel, or its answer did not come back.
    #[error("netlink: {0}")]
    Transport(#[from] io::Error),
    /// The kernel refused one request; nothing of its batch is in force.
    #[error("the kernel refused {what}: {source}{}", .detail.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// The rule, route or address, as a person would write it.
        what: String,
        /// The kernel's answer.
        source: io::Error,
        /// The kernel's own explanation, if it gave one.
        detail: Option<String>,
    },
    /// The kernel said nothing about a request.
    #[error("the kernel did not answer for {0}")]
    Unanswered(String),
}

/// Which part of the kernel is addressed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subsystem {
    Netfilter,
    Route,
}

/// Requests to be sent together; each remembers what it is, for the error message.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    /// By sequence number; `None` for the marks of a batch, which are not acknowledged.
    names: Vec<Option<String>>,
}

/// The attributes of one message, or of one nesting within it.
#[derive(Debug)]
pub(crate) struct Attributes<'a>(&'a mut Vec<u8>);

// === impl Requests ===

impl Requests {
    /// A request that the kernel acknowledges; `name` tells a person what it is.
    pub(crate) fn request(
        &mut self,
        kind: u16,
        flags: u16,
        name: String,
        header: &[u8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.message(kind, flags | NLM_F_ACK, Some(name), header, attributes);
    }

    /// A message that the kernel does not acknowledge: the begin and the end of a batch.
    pub(crate) fn mark(&mut self, kind: u16, header: &[u8]) {
        self.message(kind, 0, None, header, |_| {});
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        name: Option<String>,
        header: &[u8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        let sequence = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name);
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        pad(&mut self.bytes);
        attributes(&mut Attributes(&mut self.bytes));
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Sends all and reports the first refusal.
    pub(crate) fn send(self, subsystem: Subsystem) -> Result<(), NetlinkError> {
        let socket = open(subsystem)?;
        let sent = rustix::net::send(&socket, &self.bytes, SendFlags::empty()).map_err(io::Error::from)?;
        if sent != self.bytes.len() {
            return Err(io::Error::from(io::ErrorKind::WriteZero).into());
        }
        let mut unanswered: Vec<bool> = self.names.iter().map(Option::is_some).collect();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = match rustix::net::recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(io::Error::from(errno).into()),
            };
            for answer in answers(buffer.get(..length).unwrap_or_default()) {
                let index = usize::try_from(answer.sequence).unwrap_or(usize::MAX);
                if let Some(errno) = answer.errno {
                    return Err(NetlinkError::Refused {
                        what: self
                            .names
                            .get(index)
                            .cloned()
                            .flatten()
                            .unwrap_or_else(|| "the request".to_owned()),
                        source: io::Error::from_raw_os_error(errno),
                        detail: answer.detail,
                    });
                }
                if let Some(waiting) = unanswered.get_mut(index) {
                    *waiting = false;
                }
            }
        }
        match unanswered.iter().position(|waiting| *waiting) {
            Some(index) => Err(NetlinkError::Unanswered(
                self.names.get(index).cloned().flatten().unwrap_or_default(),
            )),
            None => Ok(()),
        }
    }
}

// === impl Attributes ===

impl Attributes<'_> {
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.wrapped(kind, |inner| inner.extend_from_slice(value));
    }

    /// A string with its terminating zero.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        self.wrapped(kind, |inner| {
            inner.extend_from_slice(value.as_bytes());
            inner.push(0);
        });
    }

    /// A number in network order, as nf_tables has them.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A number in host order, as routing has them.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    pub(crate) fn nest(&mut self, kind: u16, attributes: impl FnOnce(&mut Attributes<'_>)) {
        self.wrapped(kind | NLA_F_NESTED, |inner| attributes(&mut Attributes(inner)));
    }

    fn wrapped(&mut self, kind: u16, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        write(self.0);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        pad(self.0);
    }
}

/// An acknowledgement (`errno` is `None`) or a refusal.
#[derive(Debug, Eq, PartialEq)]
struct Answer {
    sequence: u32,
    errno: Option<i32>,
    detail: Option<String>,
}

fn open(subsystem: Subsystem) -> Result<OwnedFd, NetlinkError> {
    let (protocol, name) = match subsystem {
        Subsystem::Netfilter => (Some(family::NETFILTER), "nf_tables"),
        // NETLINK_ROUTE is protocol 0.
        Subsystem::Route => (None, "routes"),
    };
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )
    .map_err(|errno| NetlinkError::Open {
        subsystem: name,
        source: errno.into(),
    })?;
    // Both only make answers better (short, and with the kernel's explanation): an old kernel
    // without them is no error.
    for option in [libc::NETLINK_CAP_ACK, libc::NETLINK_EXT_ACK] {
        let on: libc::c_int = 1;
        // SAFETY: the descriptor is open, and the pointer and length describe a live integer,
        // which the kernel only reads.
        unsafe {
            libc::setsockopt(
                std::os::fd::AsRawFd::as_raw_fd(&socket),
                libc::SOL_NETLINK,
                option,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            );
        }
    }
    Ok(socket)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The answers in one datagram; what is cut short or of another type is passed over.
fn answers(mut datagram: &[u8]) -> impl Iterator<Item = Answer> {
    std::iter::from_fn(move || {
        loop {
            let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
            if length < HEADER || length > datagram.len() {
                return None;
            }
            let message = &datagram[..length];
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
            if let Some(answer) = answer(message) {
                return Some(answer);
            }
        }
    })
}

fn answer(message: &[u8]) -> Option<Answer> {
    if u16_at(message, 4)? != NLMSG_ERROR {
        return None;
    }
    let flags = u16_at(message, 6)?;
    let code = i32::from_ne_bytes(message.get(HEADER..HEADER + 4)?.try_into().ok()?);
    // The sequence number of the answer is the request's.
    let sequence = u32_at(message, 8)?;
    let detail = (flags & NLM_F_ACK_TLVS != 0)
        .then(|| explanation(message.get(HEADER + 4 + HEADER..).unwrap_or_default()))
        .flatten();
    Some(Answer {
        sequence,
        errno: (code != 0).then(|| code.saturating_neg()),
        detail,
    })
}

fn explanation(mut attributes: &[u8]) -> Option<String> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let kind = u16_at(attributes, 2)? & NLA_TYPE_MASK;
        let value = attributes.get(4..length)?;
        if kind == NLMSGERR_ATTR_MSG {
            return Some(
                CStr::from_bytes_until_nul(value)
                    .ok()?
                    .to_string_lossy()
                    .into_owned(),
            );
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        bytes.get(offset..offset + 2)?.try_into().ok()?,
    ))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(offset..offset + 4)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_but_their_length_is_not() {
        let mut bytes = Vec::new();
        Attributes(&mut bytes).text(1, "lo");
        assert_eq!(bytes, [7, 0, 1, 0, b'l', b'o', 0, 0]);
    }

    #[test]
    fn a_refusal_carries_the_kernels_explanation() {
        let mut message = Vec::new();
        message.extend(52_u32.to_ne_bytes());
        message.extend(NLMSG_ERROR.to_ne_bytes());
        message.extend(NLM_F_ACK_TLVS.to_ne_bytes());
        message.extend(3_u32.to_ne_bytes());
        message.extend([0; 4]);
        message.extend((-17_i32).to_ne_bytes());
        message.extend([0; HEADER]);
        Attributes(&mut message).text(NLMSGERR_ATTR_MSG, "it exists");
        assert_eq!(message.len(), 52);
        assert_eq!(
            answers(&message).collect::<Vec<_>>(),
            [Answer {
                sequence: 3,
                errno: Some(17),
                detail: Some("it exists".to_owned())
            }]
        );
    }

    #[test]
    fn a_datagram_cut_at_any_byte_is_no_panic() {
        let mut message = Vec::new();
        message.extend(36_u32.to_ne_bytes());
        message.extend(NLMSG_ERROR.to_ne_bytes());
        message.extend([0; 30]);
        for length in 0..message.len() {
            assert!(answers(&message[..length]).all(|answer| answer.errno.is_none()));
        }
    }
}
