//! The fields that mean something to the codec itself.

/// Found out once for each field, when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Connection,
    ContentLength,
    Expect,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyConnection,
    Te,
    TransferEncoding,
    Upgrade,
    Other,
}

// === impl Known ===

impl Known {
    /// `name` in lower case.
    pub(crate) fn of(name: &[u8]) -> Self {
        // By length first: nearly all others end here.
        let (known, is) = match name.len() {
            2 => (Self::Te, &b"te"[..]),
            4 => (Self::Host, &b"host"[..]),
            6 => (Self::Expect, &b"expect"[..]),
            7 => (Self::Upgrade, &b"upgrade"[..]),
            10 if name.first() == Some(&b'k') => (Self::KeepAlive, &b"keep-alive"[..]),
            10 => (Self::Connection, &b"connection"[..]),
            14 if name.first() == Some(&b'h') => (Self::Http2Settings, &b"http2-settings"[..]),
            14 => (Self::ContentLength, &b"content-length"[..]),
            16 => (Self::ProxyConnection, &b"proxy-connection"[..]),
            17 => (Self::TransferEncoding, &b"transfer-encoding"[..]),
            _ => return Self::Other,
        };
        if name == is { known } else { Self::Other }
    }

    /// Fields that are of one connection only (RFC 9110 §7.6.1), whoever names them.
    pub(crate) fn is_of_connection(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::Upgrade
                | Self::TransferEncoding
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Http2Settings
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_known_by_its_whole_name() {
        let names = [
            ("te", Known::Te),
            ("host", Known::Host),
            ("expect", Known::Expect),
            ("upgrade", Known::Upgrade),
            ("keep-alive", Known::KeepAlive),
            ("connection", Known::Connection),
            ("http2-settings", Known::Http2Settings),
            ("content-length", Known::ContentLength),
            ("proxy-connection", Known::ProxyConnection),
            ("transfer-encoding", Known::TransferEncoding),
        ];
        for (name, known) in names {
            assert_eq!(Known::of(name.as_bytes()), known, "{name}");
            let other = format!("{}_", name.get(..name.len() - 1).unwrap_or_default());
            assert_eq!(Known::of(other.as_bytes()), Known::Other, "{other}");
        }
    }
}
