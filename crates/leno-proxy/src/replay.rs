//! A request's body, kept as far as a limit allows, so that it can be sent again: to another endpoint on a retry, to a
//! mirror beside.
//!
//! Nothing is copied; the frames that have passed are counted references. Over the limit they are let go, and the
//! request can no longer be repeated.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use leno_engine::message::Headers;

use crate::codec::{Body, Frame, Source};
use crate::outcome::StreamError;
use crate::record::Exchange;

/// None: the request has no body.
#[derive(Clone, Debug)]
pub(crate) struct Replay(Option<Rc<RefCell<State>>>);

#[derive(Debug)]
struct State {
    source: Body,
    length: Option<u64>,
    kept: Vec<Bytes>,
    trailers: Option<Headers>,
    size: usize,
    limit: usize,
    /// Bytes have passed that are not kept.
    lost: bool,
    ended: bool,
    /// Attempts begun: only the newest may take from the source.
    attempt: u32,
    /// Older ones go on beside it.
    beside: bool,
}

/// One attempt's view of the body.
struct Attempt {
    state: Rc<RefCell<State>>,
    number: u32,
    next: usize,
    trailers_sent: bool,
}

/// Counts a request's bytes and tells when it has ended.
pub(crate) struct Received {
    exchange: Rc<Exchange>,
    body: Body,
}

// === impl Replay ===

impl Replay {
    pub(crate) fn new(source: Body, limit: usize) -> Self {
        if source.is_end() {
            return Self(None);
        }
        Self(Some(Rc::new(RefCell::new(State {
            length: source.length(),
            source,
            kept: Vec::new(),
            trailers: None,
            size: 0,
            limit,
            lost: false,
            ended: false,
            attempt: 0,
            beside: false,
        }))))
    }

    /// Attempts go on when others begin.
    pub(crate) fn beside_each_other(self) -> Self {
        if let Some(state) = &self.0 {
            state.borrow_mut().beside = true;
        }
        self
    }

    /// Whether another attempt would see the whole body.
    pub(crate) fn can_repeat(&self) -> bool {
        self.0.as_ref().is_none_or(|state| !state.borrow().lost)
    }

    /// No further attempt will come: lets go of what is kept.
    pub(crate) fn commit(&self) {
        if let Some(state) = &self.0 {
            // An attempt under way may still have frames to send again; it keeps them until it has.
            state.borrow_mut().limit = 0;
        }
    }

    /// The body for the next attempt; those before get nothing more.
    pub(crate) fn attempt(&self) -> Body {
        let Some(shared) = &self.0 else {
            return Body::Empty;
        };
        let mut state = shared.borrow_mut();
        state.attempt += 1;
        if state.ended && state.kept.is_empty() && state.trailers.is_none() {
            return Body::Empty;
        }
        Body::Stream(Box::new(Attempt {
            number: state.attempt,
            state: Rc::clone(shared),
            next: 0,
            trailers_sent: false,
        }))
    }

    /// The body for another request, if it has passed and is kept.
    pub(crate) fn again(&self) -> Option<Body> {
        let is_whole = |state: &Rc<RefCell<State>>| {
            let state = state.borrow();
            state.ended && !state.lost
        };
        self.0.as_ref().is_none_or(is_whole).then(|| self.attempt())
    }

    /// The whole body, if it has passed and is kept.
    pub(crate) fn copy(&self) -> Option<Body> {
        let Some(state) = &self.0 else {
            return Some(Body::Empty);
        };
        let state = state.borrow();
        if !state.ended || state.lost {
            return None;
        }
        Some(match state.kept.as_slice() {
            [] => Body::Empty,
            [one] => Body::Full(one.clone()),
            many => Body::Full(many.concat().into()),
        })
    }
}

// === impl Attempt ===

impl Source for Attempt {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        let mut state = self.state.borrow_mut();
        // What is kept whole is there for all of them: of tries beside each other more than one may still be sending.
        let may_be_older = state.beside && state.ended && !state.lost;
        if state.attempt != self.number && !may_be_older {
            return Poll::Ready(Some(Err(StreamError::Aborted)));
        }
        if let Some(data) = state.kept.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::Data(data.clone()))));
        }
        if state.ended {
            return Poll::Ready(match (&state.trailers, self.trailers_sent) {
                (Some(trailers), false) => {
                    self.trailers_sent = true;
                    Some(Ok(Frame::Trailers(trailers.clone())))
                }
                _ => None,
            });
        }
        let frame = ready!(state.source.poll_frame(cx));
        match &frame {
            None => state.ended = true,
            Some(Ok(Frame::Data(data))) => {
                if state.keep(data) {
                    self.next += 1;
                } else {
                    self.next = 0;
                }
                state.ended = state.source.is_end();
            }
            Some(Ok(Frame::Trailers(trailers))) => {
                state.trailers = Some(trailers.clone());
                state.ended = true;
                self.trailers_sent = true;
            }
            Some(Err(_)) => state.lost = true,
        }
        Poll::Ready(frame)
    }

    fn is_end(&self) -> bool {
        let state = self.state.borrow();
        let trailing = state.trailers.is_some() && !self.trailers_sent;
        state.ended && self.next >= state.kept.len() && !trailing
    }

    fn length(&self) -> Option<u64> {
        self.state.borrow().length
    }
}

impl State {
    /// False: the limit is passed, and nothing is kept any more.
    fn keep(&mut self, data: &Bytes) -> bool {
        if self.lost || self.size + data.len() > self.limit {
            self.lost = true;
            self.kept = Vec::new();
            return false;
        }
        self.size += data.len();
        self.kept.push(data.clone());
        true
    }
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

// === impl Received ===

impl Received {
    pub(crate) fn follow(exchange: &Rc<Exchange>, body: Body) -> Body {
        if body.is_end() {
            exchange.ended_with_its_head();
            return Body::Empty;
        }
        Body::Stream(Box::new(Self {
            exchange: Rc::clone(exchange),
            body,
        }))
    }
}

impl Source for Received {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        let frame = ready!(self.body.poll_frame(cx));
        let exchange = &self.exchange;
        match &frame {
            None => exchange.end_request(),
            Some(Ok(Frame::Data(data))) => {
                exchange.received.set(exchange.received.get() + data.len() as u64);
                exchange.watch.moved();
            }
            Some(Ok(Frame::Trailers(_))) => {}
            // It is there, and is to be told.
            Some(Err(StreamError::Malformed { .. })) => {}
            Some(Err(_)) => exchange.client_gone.set(true),
        }
        if self.body.is_end() {
            exchange.end_request();
        }
        Poll::Ready(frame)
    }

    fn is_end(&self) -> bool {
        self.body.is_end()
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received")
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[derive(Debug)]
    struct Frames(VecDeque<&'static [u8]>);

    impl Source for Frames {
        fn poll_frame(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
            Poll::Ready(
                self.0
                    .pop_front()
                    .map(|data| Ok(Frame::Data(Bytes::from_static(data)))),
            )
        }
    }

    fn replay(limit: usize) -> Replay {
        Replay::new(
            Body::stream(Frames(VecDeque::from([&b"one"[..], b"two", b"three"]))),
            limit,
        )
    }

    async fn read(mut body: Body, frames: usize) -> Vec<u8> {
        let mut all = Vec::new();
        for _ in 0..frames {
            if let Some(Ok(Frame::Data(data))) = body.frame().await {
                all.extend_from_slice(&data);
            }
        }
        all
    }

    #[tokio::test]
    async fn a_second_attempt_sees_the_whole_body() {
        let replay = replay(100);
        let mut first = replay.attempt();
        assert!(first.frame().await.is_some());
        assert!(replay.can_repeat());
        assert_eq!(read(replay.attempt(), 9).await, b"onetwothree");
        assert!(matches!(first.frame().await, Some(Err(StreamError::Aborted))));
        assert_eq!(read(replay.copy().unwrap(), 1).await, b"onetwothree");
    }

    #[tokio::test]
    async fn over_the_limit_the_body_passes_but_cannot_be_repeated() {
        let replay = replay(4);
        assert_eq!(read(replay.attempt(), 9).await, b"onetwothree");
        assert!(!replay.can_repeat());
        assert!(replay.copy().is_none());
    }
}
