//! Streaming bodies with backpressure: a frame is produced only when somebody polls for it.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;
use leno_engine::message::Headers;

use crate::outcome::StreamError;

#[derive(Debug)]
pub(crate) enum Frame {
    Data(Bytes),
    Trailers(Headers),
}

/// Where a body's frames come from.
pub(crate) trait Source: fmt::Debug {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>>;
    /// True: no further frame comes, known without polling.
    fn is_end(&self) -> bool {
        false
    }
    /// The bytes still to come, when known.
    fn length(&self) -> Option<u64> {
        None
    }
    /// Asked while what it gave is not taken: ready when nobody waits for that any longer.
    fn poll_given_up(&mut self, _cx: &mut Context<'_>) -> Poll<StreamError> {
        Poll::Pending
    }
}

#[derive(Debug, Default)]
pub(crate) enum Body {
    #[default]
    Empty,
    Full(Bytes),
    Stream(Box<dyn Source>),
}

// === impl Body ===

impl Body {
    pub(crate) fn stream(source: impl Source + 'static) -> Self {
        if source.is_end() {
            return Self::Empty;
        }
        Self::Stream(Box::new(source))
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then_some(Ok(Frame::Data(bytes))))
            }
            Self::Stream(source) => source.poll_frame(cx),
        }
    }

    /// Ready when nobody waits any longer for what was given to be taken.
    pub(crate) fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        match self {
            Self::Empty | Self::Full(_) => Poll::Pending,
            Self::Stream(source) => source.poll_given_up(cx),
        }
    }

    pub(crate) async fn frame(&mut self) -> Option<Result<Frame, StreamError>> {
        poll_fn(|cx| self.poll_frame(cx)).await
    }

    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(source) => source.is_end(),
        }
    }

    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::Stream(source) => source.length(),
        }
    }
}
