//! The PROXY protocol before a client's first byte.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use leno_engine::compile::proxy_protocol::ProxyProtocol;
use leno_engine::decide::proxy_protocol::{Beginning, Header, Malformed};

use crate::inspect::read_more;
use crate::stream::Stream;

#[derive(Debug, thiserror::Error)]
pub(crate) enum IntroductionError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("it did not come in time")]
    Late,
    #[error("the client has gone")]
    Gone,
    #[error(transparent)]
    Read(#[from] io::Error),
}

// === impl IntroductionError ===

impl IntroductionError {
    /// For the access log.
    pub(crate) fn details(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "proxy_protocol_error",
            Self::Late => "listener_filter_timeout",
            Self::Gone | Self::Read(_) => "listener_filter_remote_close",
        }
    }
}

/// Reads the header; what has come behind it stays in `prefix`. None: the client does without.
pub(crate) async fn read(
    stream: &mut Stream,
    prefix: &mut BytesMut,
    protocol: &ProxyProtocol,
    patience: Duration,
) -> Result<Option<Header>, IntroductionError> {
    let reading = async {
        loop {
            if read_more(stream, prefix).await? == 0 {
                return Err(IntroductionError::Gone);
            }
            match protocol.read(prefix)? {
                Beginning::Unfinished => {}
                Beginning::Plain => return Ok(None),
                Beginning::Header(header) => {
                    prefix.advance(header.length);
                    return Ok(Some(header));
                }
            }
        }
    };
    let late = |_| Err(IntroductionError::Late);
    tokio::time::timeout(patience, reading).await.unwrap_or_else(late)
}
