//! Bodies of a connection's streams, received and sent.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use leno_engine::message::{Headers, ResponseHead};
use leno_http2::{ErrorCode, Key};

use super::link::{Link, Machine};
use super::{code, head, unsent};
use crate::codec::{Body, Frame, Source};
use crate::outcome::StreamError;

/// A response's head, and the length that it gives its body.
type Head = (ResponseHead, Option<u64>);

/// What a stream receives. Dropped before its end: nobody wants the rest.
#[derive(Debug)]
pub(super) struct Receiving {
    link: Rc<Link>,
    key: Key,
    length: Option<u64>,
    /// Dropped early, the stream is of no use any more (client).
    all_or_nothing: bool,
}

/// The sending side of a stream. Dropped before its end, it resets the stream.
#[derive(Debug)]
pub(super) struct Sending {
    link: Rc<Link>,
    key: Key,
    done: bool,
}

// === impl Receiving ===

impl Receiving {
    pub(super) fn request(link: Rc<Link>, key: Key) -> Self {
        Self::new(link, key, false)
    }

    pub(super) fn response(link: Rc<Link>, key: Key) -> Self {
        Self::new(link, key, true)
    }

    fn new(link: Rc<Link>, key: Key, all_or_nothing: bool) -> Self {
        link.with(|machine| {
            if let Some(stream) = machine.stream(key) {
                stream.holders += 1;
            }
        });
        Self {
            link,
            key,
            length: None,
            all_or_nothing,
        }
    }

    /// A response's head.
    pub(super) fn poll_head(&mut self, cx: &Context<'_>) -> Poll<Result<Head, StreamError>> {
        self.link.with(|machine| {
            let Some(stream) = machine.stream(self.key) else {
                return Poll::Ready(Err(StreamError::Closed));
            };
            if let Some(head) = stream.head.take() {
                return Poll::Ready(Ok(head));
            }
            if let Some(error) = &stream.error {
                return Poll::Ready(Err(error.clone()));
            }
            stream.wait_to_read(cx);
            Poll::Pending
        })
    }

    /// The body, with the length that its head says. A short one has often come with its head.
    pub(super) fn into_body(mut self, length: Option<u64>) -> Body {
        self.link.count(self.key);
        let whole = self.link.with(|machine| {
            let stream = machine.stream(self.key)?;
            if !stream.ended || stream.trailers.is_some() || stream.body.pieces() > 1 {
                return None;
            }
            let body = stream.body.pop().unwrap_or_default();
            machine.release(self.key, body.len());
            Some(body)
        });
        self.length = length;
        match whole {
            Some(body) if body.is_empty() => Body::Empty,
            Some(body) => Body::Full(body),
            None => Body::Stream(Box::new(self)),
        }
    }

    fn take(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        self.link.with(|machine| {
            let Some(stream) = machine.stream(self.key) else {
                return Poll::Ready(Some(Err(StreamError::Closed)));
            };
            if let Some(data) = stream.body.pop() {
                machine.release(self.key, data.len());
                return Poll::Ready(Some(Ok(Frame::Data(data))));
            }
            if let Some(trailers) = stream.trailers.take() {
                return Poll::Ready(Some(Ok(Frame::Trailers(trailers))));
            }
            if stream.ended {
                return Poll::Ready(None);
            }
            if let Some(error) = &stream.error {
                let error = match error {
                    StreamError::Closed => StreamError::Truncated,
                    other => other.clone(),
                };
                return Poll::Ready(Some(Err(error)));
            }
            stream.wait_to_read(cx);
            Poll::Pending
        })
    }
}

impl Source for Receiving {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        let frame = self.take(cx);
        if frame.is_ready() {
            self.link.count(self.key);
        }
        if let Poll::Ready(Some(Ok(Frame::Data(data)))) = &frame {
            self.length = self.length.map(|left| left.saturating_sub(data.len() as u64));
        }
        frame
    }

    fn is_end(&self) -> bool {
        self.link.with(|machine| {
            machine
                .stream(self.key)
                .is_none_or(|stream| stream.ended && stream.body.is_empty() && stream.trailers.is_none())
        })
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.link.with(|machine| {
            let Some(stream) = machine.stream(self.key) else {
                return;
            };
            let is_whole = stream.ended;
            stream.unread = true;
            let unread = stream.body.discard();
            machine.give_back(unread as u32);
            if self.all_or_nothing && !is_whole {
                machine.reset(self.key, ErrorCode::CANCEL);
                // A body that is still being sent for it has no purpose either.
                if let Some(stream) = machine.stream(self.key) {
                    stream.error.get_or_insert(StreamError::Aborted);
                }
            }
        });
        self.link.release(self.key);
    }
}

// === impl Sending ===

impl Sending {
    pub(super) fn new(link: Rc<Link>, key: Key) -> Self {
        link.with(|machine| {
            if let Some(stream) = machine.stream(key) {
                stream.holders += 1;
            }
        });
        Self {
            link,
            key,
            done: false,
        }
    }

    /// Says something of the stream.
    pub(super) fn say<R>(&self, act: impl FnOnce(&mut Machine, Key) -> R) -> R {
        self.link.with(|machine| act(machine, self.key))
    }

    /// Takes what the stream has come to on the wire to who counts it.
    pub(super) fn count(&self) {
        self.link.count(self.key);
    }

    /// The stream has said all it had to say.
    pub(super) fn end(mut self) {
        self.done = true;
    }

    /// Ends the stream before its end.
    pub(super) fn give_up(mut self, error: &StreamError) {
        self.link.with(|machine| machine.reset(self.key, code(error)));
        self.done = true;
    }

    /// Sends a body as the peer's window and the socket allow, to its end or until the stream is reset.
    pub(super) async fn send(self, mut body: Body) -> Result<(), StreamError> {
        match self.send_all(&mut body).await {
            Ok(()) => {
                self.end();
                Ok(())
            }
            Err(error) => {
                self.give_up(&error);
                Err(error)
            }
        }
    }

    async fn send_all(&self, body: &mut Body) -> Result<(), StreamError> {
        loop {
            let frame = poll_fn(|cx| {
                if let Some(error) = self.lost(cx) {
                    return Poll::Ready(Some(Err(error)));
                }
                body.poll_frame(cx)
            })
            .await;
            match frame {
                None => return self.send_data(Bytes::new(), true, body).await,
                Some(Err(error)) => return Err(error),
                Some(Ok(Frame::Trailers(trailers))) => {
                    self.send_trailers(&trailers)?;
                    self.link.count(self.key);
                    // Whoever counts frames still has to see the end.
                    let _ = body.frame().await;
                    return Ok(());
                }
                Some(Ok(Frame::Data(data))) => {
                    let end = body.is_end();
                    self.send_data(data, end, body).await?;
                    if end {
                        let _ = body.frame().await;
                        return Ok(());
                    }
                }
            }
        }
    }

    fn send_trailers(&self, trailers: &Headers) -> Result<(), StreamError> {
        let sent =
            self.say(|machine, key| machine.trailers(key, |fields| head::write_headers(trailers, fields)));
        sent.map_err(unsent)
    }

    /// `body`: where it comes from.
    async fn send_data(&self, mut data: Bytes, end: bool, body: &mut Body) -> Result<(), StreamError> {
        poll_fn(|cx| {
            if let Some(error) = self.lost(cx) {
                return Poll::Ready(Err(error));
            }
            let room = self.link.room();
            let sent = self.say(|machine, key| machine.data(key, &mut data, end, room));
            self.link.count(self.key);
            match sent {
                Ok(true) => Poll::Ready(Ok(())),
                Ok(false) => {
                    self.link.block(self.key);
                    body.poll_given_up(cx).map(Err)
                }
                Err(error) => Poll::Ready(Err(unsent(error))),
            }
        })
        .await
    }

    /// Why nothing more can be sent; otherwise it is told when that changes.
    fn lost(&self, cx: &Context<'_>) -> Option<StreamError> {
        self.link.with(|machine| {
            let Some(stream) = machine.stream(self.key) else {
                return Some(StreamError::Closed);
            };
            stream.wait_to_write(cx);
            stream.error.clone()
        })
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.done {
            self.link
                .with(|machine| machine.reset(self.key, ErrorCode::CANCEL));
        }
        self.link.release(self.key);
    }
}
