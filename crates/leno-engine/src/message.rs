//! The engine's own message types: a filter sees these, never a codec's.

use bytes::Bytes;

/// Header names are lower case; order and repetition are kept. Pseudo-headers are fields of the heads instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    entries: Vec<(Bytes, Bytes)>,
}

impl Headers {
    pub fn with_capacity(n: usize) -> Self {
        Self {
            entries: Vec::with_capacity(n),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The first value of `name`, which must be lower case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.entries
            .iter()
            .find(|(n, _)| n == name.as_bytes())
            .map(|(_, v)| v.as_ref())
    }

    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.entries
            .iter()
            .filter(move |(n, _)| n == name.as_bytes())
            .map(|(_, v)| v.as_ref())
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Adds a value, keeping those that are there.
    pub fn append(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.entries.push((name.into(), value.into()));
    }

    /// Replaces every value of `name` by one.
    pub fn set(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        let name = name.into();
        let value = value.into();
        match self.entries.iter().position(|(n, _)| *n == name) {
            Some(at) => {
                self.entries[at].1 = value;
                let mut seen = false;
                self.entries
                    .retain(|(n, _)| *n != name || !std::mem::replace(&mut seen, true));
            }
            None => self.entries.push((name, value)),
        }
    }

    /// Removes every value of `name`; the last one is returned.
    pub fn remove(&mut self, name: &str) -> Option<Bytes> {
        let mut last = None;
        self.entries.retain(|(n, v)| {
            let hit = n == name.as_bytes();
            if hit {
                last = Some(v.clone());
            }
            !hit
        });
        last
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.entries.iter().map(|(n, v)| (n, v))
    }

    /// Sum of name and value lengths, for limits.
    pub fn size(&self) -> usize {
        self.entries.iter().map(|(n, v)| n.len() + v.len()).sum()
    }
}

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

    /// A header, or by its pseudo-header name (`:path`, `:method`, `:authority` or `host`, `:scheme`) a field.
    /// `name` must be lower case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        match name {
            ":path" => Some(&self.path),
            ":method" => Some(&self.method),
            ":authority" | "host" => Some(&self.authority),
            ":scheme" => Some(&self.scheme),
            _ => self.headers.get(name),
        }
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
    pub details: &'static str,
    pub flags: crate::flags::Flags,
}
