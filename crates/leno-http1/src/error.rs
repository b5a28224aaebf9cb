//! What is wrong with a message, as data: the answer's status and what records say of it.

/// Why bytes are not a message that is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The grammar is broken in this place.
    #[error("{0}")]
    Syntax(&'static str),
    #[error("a character that a field value may not have")]
    InvalidCharacters,
    #[error("the request target cannot be read")]
    InvalidUrl,
    #[error("a scheme other than http and https")]
    InvalidScheme,
    #[error("a host that cannot be one")]
    InvalidAuthority,
    #[error("Connection names a field that is not the client's to remove")]
    ConnectionHeader,
    #[error("no Host")]
    NoHost,
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndChunked,
    #[error("a transfer coding other than chunked")]
    TransferEncoding,
    #[error("a body where there can be none")]
    BodyDisallowed,
    #[error("a version of HTTP that is not served")]
    Version,
    #[error("more bytes than a head or trailers may have")]
    TooLarge,
    #[error("more fields than a head or trailers may have")]
    TooManyFields,
    #[error("the connection ended inside of a message")]
    Truncated,
}

// === impl Error ===

impl Error {
    /// What a client is answered.
    pub fn status(self) -> u16 {
        match self {
            Self::Version => 426,
            Self::TooLarge | Self::TooManyFields => 431,
            Self::TransferEncoding => 501,
            _ => 400,
        }
    }

    /// `%RESPONSE_CODE_DETAILS%`, in Envoy's words.
    pub fn details(self) -> &'static str {
        match self {
            Self::Syntax(_) | Self::Truncated => "http1.codec_error",
            Self::InvalidCharacters => "http1.invalid_characters",
            Self::InvalidUrl => "http1.invalid_url",
            Self::InvalidScheme => "http1.invalid_scheme",
            Self::InvalidAuthority => "http.invalid_authority",
            Self::ConnectionHeader => "http1.connection_header_rejected",
            Self::NoHost => "missing_host_header",
            Self::LengthAndChunked => "http1.content_length_and_chunked_not_allowed",
            Self::TransferEncoding => "http1.invalid_transfer_encoding",
            Self::BodyDisallowed => "http1.body_disallowed",
            Self::Version => "low_version",
            Self::TooLarge => "http1.headers_too_large",
            Self::TooManyFields => "http1.too_many_headers",
        }
    }
}
