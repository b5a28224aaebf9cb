//! What has been done for the proxies, counted: a change costs what it affects, and this is how one sees it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use leno_xds::server::Response;
use prost::Message;

#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) responses: AtomicU64,
    /// Those of a state of the world as often as they are said.
    pub(crate) resources: AtomicU64,
    /// Of encoded responses.
    pub(crate) bytes: AtomicU64,
    /// Responses that a proxy did not take.
    pub(crate) rejections: AtomicU64,
    /// By LRS: reports, and what they tell of requests.
    pub(crate) load_reports: AtomicU64,
    pub(crate) load_requests: AtomicU64,
    pub(crate) load_failures: AtomicU64,
    pub(crate) load_dropped: AtomicU64,
}

impl Work {
    pub(crate) fn sent(&self, response: &Response) {
        let (resources, bytes) = match response {
            Response::Delta(response) => (response.resources.len(), response.encoded_len()),
            Response::Sotw(response) => (response.resources.len(), response.encoded_len()),
        };
        self.responses.fetch_add(1, Relaxed);
        self.resources.fetch_add(resources as u64, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }
}
