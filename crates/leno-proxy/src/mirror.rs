//! Mirrored requests (`request_mirror_policies`): sent beside the request, their answers thrown away.
//!
//! A mirror gets the whole body or nothing: it starts when the request has ended, from what was kept for retries.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use leno_engine::compile::route::{MirrorCluster, MirrorPolicy};
use leno_engine::decide::headers::mutation::mutate_request;
use leno_engine::message::RequestHead;

use crate::call;
use crate::record::Exchange;
use crate::replay::Replay;

/// A mirror that does not answer is let go.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) fn start(exchange: &Rc<Exchange>, mirrors: &[MirrorPolicy], head: &RequestHead, replay: &Replay) {
    let worker = exchange.worker();
    for mirror in mirrors {
        if !mirror.share.now().takes(worker.random.next()) || head.upgrade.is_some() {
            continue;
        }
        let worker = Rc::clone(worker);
        let cluster = match &mirror.cluster {
            MirrorCluster::One(name) => name.clone(),
            MirrorCluster::Header(header) => match head.headers.get_str(header) {
                Some(name) => name.to_owned(),
                None => continue,
            },
        };
        let mut head = head.clone();
        match &mirror.host {
            Some(host) => head.authority = Bytes::copy_from_slice(host.as_bytes()),
            None if mirror.shadow => head.authority = shadow(&head.authority).into(),
            None => {}
        }
        if !mirror.edits.is_empty() {
            mutate_request(&mirror.edits, &mut head, &**exchange);
        }
        let replay = replay.clone();
        let ended = Ended::of(exchange);
        tokio::task::spawn_local(async move {
            ended.wait().await;
            let Some(body) = replay.copy() else {
                return tracing::debug!(cluster, "not mirrored: the body is larger than what is kept");
            };
            let sending = async {
                let answer = call::send(&worker, &cluster, head, body).await?;
                call::whole(answer.body).await
            };
            match tokio::time::timeout(PATIENCE, sending).await {
                Ok(Ok(_)) => {}
                Ok(Err(failure)) => tracing::debug!(cluster, ?failure, "mirror"),
                Err(_) => tracing::debug!(cluster, "mirror timed out"),
            }
        });
    }
}

/// The end of a request, without keeping its record from being made.
struct Ended(std::rc::Weak<Exchange>);

impl Ended {
    fn of(exchange: &Rc<Exchange>) -> Self {
        Self(Rc::downgrade(exchange))
    }

    async fn wait(&self) {
        while let Some(exchange) = self.0.upgrade() {
            if exchange.request_has_ended() {
                return;
            }
            drop(exchange);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Envoy: `-shadow` is appended to the host, before the port.
fn shadow(authority: &[u8]) -> Vec<u8> {
    let port = authority.iter().rposition(|b| *b == b':').filter(|at| {
        authority
            .get(at + 1..)
            .is_some_and(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit))
    });
    let (host, port) = authority.split_at(port.unwrap_or(authority.len()));
    [host, b"-shadow", port].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_s_host_says_so() {
        assert_eq!(shadow(b"reviews:9080"), b"reviews-shadow:9080");
        assert_eq!(shadow(b"reviews"), b"reviews-shadow");
        assert_eq!(shadow(b"[::1]"), b"[::1]-shadow");
    }
}
