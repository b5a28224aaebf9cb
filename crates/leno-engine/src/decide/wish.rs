//! Endpoints that a request asks for, whatever the policy would choose (Envoy: "override host").

use std::cell::Cell;

/// The endpoint that a session is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// As endpoints are shown: `10.0.0.1:80`.
    pub address: String,
    /// No other takes the request.
    pub strict: bool,
    /// What the client gets where a strict wish is for an endpoint that is not there.
    pub status_if_missing: u16,
}

/// Endpoints for a request's attempts, one after the other.
#[derive(Debug)]
pub struct Wishes {
    addresses: Vec<String>,
    next: Cell<usize>,
}

// === impl Wishes ===

impl Wishes {
    /// From the values of headers, each a list divided by commas.
    pub fn of<'v>(values: impl Iterator<Item = &'v [u8]>) -> Self {
        let parts = values.flat_map(|value| value.split(|b| *b == b','));
        let texts = parts.filter_map(|part| std::str::from_utf8(part.trim_ascii()).ok());
        Self {
            addresses: texts.filter(|text| !text.is_empty()).map(str::to_owned).collect(),
            next: Cell::new(0),
        }
    }

    /// Each is given once.
    pub fn next(&self) -> Option<&str> {
        let at = self.next.get();
        let address = self.addresses.get(at)?;
        self.next.set(at + 1);
        Some(address)
    }
}
