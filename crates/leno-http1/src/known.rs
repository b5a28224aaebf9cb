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
        // Each against a constant, which the compiler compares in place.
        match name {
            b"te" => Self::Te,
            b"host" => Self::Host,
            b"expect" => Self::Expect,
            b"upgrade" => Self::Upgrade,
            b"keep-alive" => Self::KeepAlive,
            b"connection" => Self::Connection,
            b"http2-settings" => Self::Http2Settings,
            b"content-length" => Self::ContentLength,
            b"proxy-connection" => Self::ProxyConnection,
            b"transfer-encoding" => Self::TransferEncoding,
            _ => Self::Other,
        }
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
