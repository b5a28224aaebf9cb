//! The engine's own message types: a filter sees these, never a codec's.

pub(crate) mod base64;
mod decimal;
mod headers;
mod spelling;

use std::borrow::Cow;

use bytes::Bytes;

pub use decimal::Decimal;
pub use headers::{Headers, Lines, Names};
pub use spelling::{Spelling, proper_case};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

impl Version {
    /// As `%PROTOCOL%` prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    pub version: Version,
    pub method: Bytes,
    /// `http` or `https` as the client said or the connection implies.
    pub scheme: Bytes,
    /// `Host` or `:authority`; not among the headers.
    pub authority: Bytes,
    /// Path and query as sent, after normalisation.
    pub path: Bytes,
    pub headers: Headers,
    /// `Upgrade` wanted, or extended CONNECT's `:protocol`.
    pub upgrade: Option<Bytes>,
}

impl RequestHead {
    /// The path without query and fragment.
    pub fn path_only(&self) -> &[u8] {
        let end = self
            .path
            .iter()
            .position(|b| matches!(b, b'?' | b'#'))
            .unwrap_or(self.path.len());
        &self.path[..end]
    }

    /// `/a;x=1/b` → `/a/b` (RFC 3986 §3.3).
    pub fn path_without_parameters(&self) -> Cow<'_, [u8]> {
        let path = self.path_only();
        if !path.contains(&b';') {
            return Cow::Borrowed(path);
        }
        let segments = path.split(|b| *b == b'/');
        let bare = segments.map(|segment| segment.split(|b| *b == b';').next().unwrap_or_default());
        Cow::Owned(bare.collect::<Vec<_>>().join(&b'/'))
    }

    /// A header, or by its pseudo-header name (`:path`, `:method`, `:authority` or `host`, `:scheme`) a field.
    /// `name` must be lower case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        // A CONNECT has no path, and what could not be read neither path nor method.
        let said = |field: &Bytes| !field.is_empty();
        match name {
            ":path" => Some(&*self.path).filter(|_| said(&self.path)),
            ":method" => Some(&*self.method).filter(|_| said(&self.method)),
            ":authority" | "host" => Some(&self.authority),
            ":scheme" => Some(&self.scheme),
            _ => self.headers.get(name),
        }
    }

    /// A header's values with commas between them, or the field of that name.
    pub fn joined(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        if matches!(name, ":path" | ":method" | ":authority" | "host" | ":scheme") {
            return self.field(name).map(Cow::Borrowed);
        }
        self.headers.joined(name)
    }

    /// The first cookie of this name, without its quotes.
    pub fn cookie(&self, name: &str) -> Option<&[u8]> {
        let pairs = self
            .headers
            .get_all("cookie")
            .flat_map(|v| v.split(|b| *b == b';'));
        pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            let inner = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
            Some(inner.unwrap_or(value))
        })
    }

    pub fn query(&self) -> Option<&[u8]> {
        let start = self.path.iter().position(|b| *b == b'?')?;
        Some(&self.path[start + 1..])
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    pub version: Version,
    pub status: u16,
    pub headers: Headers,
}

/// An answer that the proxy itself makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    pub status: u16,
    pub headers: Headers,
    pub body: Bytes,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: Cow<'static, str>,
    pub flags: crate::flags::Flags,
    /// `grpc-status` of the answer to a gRPC call, where it is not the one that goes with `status`.
    pub grpc_status: Option<u32>,
}
