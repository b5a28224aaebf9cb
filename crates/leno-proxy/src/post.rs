//! What another thread asks a worker to post.

use std::time::Duration;

use bytes::Bytes;
use leno_engine::flags::Flags;
use tokio::sync::oneshot;

/// A request that another thread makes: for `application/json`, to a cluster.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) cluster: String,
    pub(crate) path: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Duration,
    /// Bytes of an answer; larger ones are refused.
    pub(crate) limit: usize,
    pub(crate) answer: oneshot::Sender<Result<(u16, Bytes), Flags>>,
}
