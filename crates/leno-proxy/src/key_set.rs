//! Fetches sets of keys for tokens, by the clusters that the configuration names.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use leno_engine::jwt::{KeySet, Remote};
use leno_engine::message::{Headers, RequestHead, Version};

use crate::call;
use crate::worker::Worker;

/// Fetches it, or waits until somebody else has: of all workers one request does at a time. What comes of it is noted
/// there.
pub(crate) async fn fetch(worker: &Rc<Worker>, remote: &Remote) {
    let mut seen = None;
    let Some(turn) = poll_fn(|cx| remote.poll_turn(&mut seen, cx)).await else {
        return;
    };
    let place = &remote.place;
    let mut pause = place.pause.0;
    let mut answer = ask(worker, remote).await;
    for _ in 0..place.retries {
        if answer
            .as_deref()
            .is_some_and(|body| KeySet::parse(body).is_some())
        {
            break;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(place.pause.1);
        answer = ask(worker, remote).await;
    }
    if !turn.answered(answer.as_deref(), Instant::now()) {
        let (cluster, authority, path) = (&place.cluster, &place.authority, &place.path);
        tracing::warn!(
            cluster,
            authority,
            path,
            "no set of keys for tokens could be fetched"
        );
    }
}

/// None: there was no answer, or it said that there is nothing.
async fn ask(worker: &Rc<Worker>, remote: &Remote) -> Option<Bytes> {
    let place = &remote.place;
    let head = RequestHead {
        version: Version::Http11,
        method: Bytes::from_static(b"GET"),
        scheme: Bytes::from_static(if place.secure { b"https" } else { b"http" }),
        authority: Bytes::copy_from_slice(place.authority.as_bytes()),
        path: Bytes::copy_from_slice(place.path.as_bytes()),
        headers: Headers::default(),
        upgrade: None,
    };
    let answered = call::by_cluster(worker, &place.cluster, head, Bytes::new(), place.timeout).await;
    let (head, body) = answered.ok()?;
    (head.status == 200).then_some(body)
}
