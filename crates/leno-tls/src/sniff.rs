//! Looking into a TLS ClientHello without consuming it: the part of Envoy's
//! `tls_inspector`. Filter chains are chosen by server name and application
//! protocol before any TLS is spoken, from bytes peeked off the socket.
//!
//! A hello with a post-quantum key share is larger than one TCP segment, so
//! "not yet all there" is the normal first answer.

/// The largest ClientHello looked at (bytes), as Envoy's default.
pub const MAX_CLIENT_HELLO: usize = 16 * 1024;

const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;
const CONTENT_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// RFC 8446 §5.1: a plaintext record holds at most 2^14 bytes.
const MAX_RECORD: usize = 1 << 14;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peek {
    /// A ClientHello so far, but not all of it.
    NeedMore,
    /// No TLS, or no ClientHello that is well formed and within [`MAX_CLIENT_HELLO`].
    NotTls,
    Tls {
        /// Lower case.
        sni: Option<String>,
        alpn: Vec<Vec<u8>>,
    },
}

/// Looks at the first bytes of a connection. Pure: call it again with a longer prefix.
pub fn peek(prefix: &[u8]) -> Peek {
    let mut hello = Vec::new();
    match joined(prefix, &mut hello) {
        Ok(Some(body)) => read_hello(body).unwrap_or(Peek::NotTls),
        Ok(None) => Peek::NeedMore,
        Err(NotTls) => Peek::NotTls,
    }
}

/// The body of the ClientHello that a connection begins with, where all of it is there.
pub(crate) fn hello_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut hello = Vec::new();
    let body = joined(prefix, &mut hello).ok().flatten()?;
    Some(body.to_vec())
}

/// A ClientHello that a peer splits into many small records is joined first.
fn joined<'h>(prefix: &[u8], hello: &'h mut Vec<u8>) -> Result<Option<&'h [u8]>, NotTls> {
    let mut rest = prefix;
    loop {
        let (content, after) = read_record(rest)?;
        hello.extend_from_slice(content);
        match (whole_hello(hello)?.is_some(), after) {
            (true, _) => return whole_hello(hello),
            (false, Some(after)) => rest = after,
            (false, None) => return Ok(None),
        }
    }
}

struct NotTls;

/// What there is of one record's content, and what follows it once it is complete.
fn read_record(bytes: &[u8]) -> Result<(&[u8], Option<&[u8]>), NotTls> {
    // Every byte that is there must fit, so that plaintext is known as such at once.
    let fits = |index: usize, check: fn(u8) -> bool| bytes.get(index).is_none_or(|byte| check(*byte));
    if !fits(0, |b| b == CONTENT_HANDSHAKE) || !fits(1, |b| b == 3) || !fits(2, |b| b <= 4) {
        return Err(NotTls);
    }
    let Some((&[_, _, _, high, low], content)) = bytes.split_first_chunk::<RECORD_HEADER>() else {
        return Ok((&[], None));
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length == 0 || length > MAX_RECORD {
        return Err(NotTls);
    }
    Ok(match content.split_at_checked(length) {
        Some((content, after)) => (content, Some(after)),
        None => (content, None),
    })
}

/// The body of a ClientHello message; `None` while it is incomplete.
fn whole_hello(message: &[u8]) -> Result<Option<&[u8]>, NotTls> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(NotTls);
    }
    let Some((&[_, a, b, c], body)) = message.split_first_chunk::<HANDSHAKE_HEADER>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).map_err(|_| NotTls)?;
    if length + HANDSHAKE_HEADER > MAX_CLIENT_HELLO {
        return Err(NotTls);
    }
    Ok(body.get(..length))
}

/// RFC 8446 §4.1.2; `None` when malformed.
fn read_hello(body: &[u8]) -> Option<Peek> {
    let mut hello = Reader(body);
    hello.take(2 + 32)?; // legacy_version, random
    hello.vector8()?; // legacy_session_id
    hello.vector16()?; // cipher_suites
    hello.vector8()?; // legacy_compression_methods
    let mut sni = None;
    let mut alpn = Vec::new();
    // A TLS 1.2 hello may end here.
    if !hello.is_empty() {
        let mut extensions = hello.vector16()?;
        while !extensions.is_empty() {
            let kind = extensions.u16()?;
            let content = extensions.vector16()?;
            match kind {
                EXTENSION_SERVER_NAME => sni = read_server_name(content)?,
                EXTENSION_ALPN => alpn = read_alpn(content)?,
                _ => {}
            }
        }
    }
    hello.is_empty().then_some(Peek::Tls { sni, alpn })
}

/// RFC 6066 §3. A name that is not ASCII is malformed; an unknown kind of name is passed over.
fn read_server_name(mut extension: Reader<'_>) -> Option<Option<String>> {
    let mut names = extension.vector16()?;
    while !names.is_empty() {
        let kind = names.u8()?;
        let name = names.vector16()?.0;
        if kind == 0 {
            let valid = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
            let name = std::str::from_utf8(name).ok().filter(|_| valid)?;
            return Some(Some(name.to_ascii_lowercase()));
        }
    }
    Some(None)
}

/// RFC 7301 §3.1.
fn read_alpn(mut extension: Reader<'_>) -> Option<Vec<Vec<u8>>> {
    let mut list = extension.vector16()?;
    let mut protocols = Vec::new();
    while !list.is_empty() {
        let protocol = list.vector8()?.0;
        if protocol.is_empty() {
            return None;
        }
        protocols.push(protocol.to_vec());
    }
    Some(protocols)
}

/// Takes fields off the front; `None` past the end.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(crate) fn vector8(&mut self) -> Option<Reader<'a>> {
        let length = self.u8()?;
        self.take(length.into()).map(Reader)
    }

    pub(crate) fn vector16(&mut self) -> Option<Reader<'a>> {
        let length = self.u16()?;
        self.take(length.into()).map(Reader)
    }
}
