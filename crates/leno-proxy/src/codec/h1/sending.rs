//! A message on its way out: its head with the first of its body, then the rest as it comes and is taken.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use leno_http1::{BodyWriter, EncodeError};

use super::wire::Wire;
use crate::codec::{Body, Frame};
use crate::outcome::StreamError;

/// A piece of a body of no more bytes is copied behind what stands before it: the kernel takes one piece for less than
/// two.
const COPIED: usize = 2048;

#[derive(Debug)]
pub(super) struct Sending {
    body: Body,
    writer: BodyWriter,
    ended: bool,
}

/// Whose fault it is that a message does not reach its end.
#[derive(Debug)]
pub(super) enum SendError {
    /// The connection that it goes out on.
    Connection,
    /// Where it comes from.
    Body(StreamError),
}

// === impl Sending ===

impl Sending {
    /// Sends a head, with the first of the body if that is there.
    pub(super) fn begin(
        body: Body,
        writer: BodyWriter,
        head: &mut Vec<u8>,
        wire: &RefCell<Wire>,
        cx: &mut Context<'_>,
    ) -> Result<Self, SendError> {
        let mut sending = Self {
            ended: false,
            body,
            writer,
        };
        if sending.body.is_end() {
            sending.last(head)?;
            wire.borrow_mut().write(&[head], cx)?;
            return Ok(sending);
        }
        match sending.body.poll_frame(cx) {
            Poll::Pending => wire.borrow_mut().write(&[head], cx)?,
            Poll::Ready(frame) => {
                if let Err(error) = sending.frame(frame, head, wire, cx) {
                    // The other side may still learn how it began.
                    wire.borrow_mut().write(&[head], cx)?;
                    return Err(error);
                }
            }
        }
        Ok(sending)
    }

    /// Ready when the message is out.
    pub(super) fn poll(&mut self, wire: &RefCell<Wire>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        loop {
            let flushed = wire.borrow_mut().poll_flush(cx);
            if flushed.is_pending() {
                let error = ready!(self.body.poll_given_up(cx));
                return Poll::Ready(Err(SendError::Body(error)));
            }
            ready!(flushed)?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            let frame = ready!(self.body.poll_frame(cx));
            let workspace = Rc::clone(wire.borrow().workspace());
            let mut before = workspace.head();
            let sent = self.frame(frame, &mut before, wire, cx);
            workspace.keep(before);
            sent?;
        }
    }

    /// Sends a frame after what is in `before`.
    fn frame(
        &mut self,
        frame: Option<Result<Frame, StreamError>>,
        before: &mut Vec<u8>,
        wire: &RefCell<Wire>,
        cx: &mut Context<'_>,
    ) -> Result<(), SendError> {
        match frame {
            Some(Err(error)) => return Err(SendError::Body(error)),
            Some(Ok(Frame::Data(_))) if self.writer.is_withheld() => {
                wire.borrow_mut().write(&[before], cx)?
            }
            Some(Ok(Frame::Data(data))) => {
                let last = self.body.is_end();
                let after = self.writer.data(data.len(), last, before)?;
                if data.len() <= COPIED {
                    before.extend_from_slice(&data);
                    before.extend_from_slice(after);
                    wire.borrow_mut().write(&[before], cx)?;
                } else {
                    wire.borrow_mut().write(&[before, &data, after], cx)?;
                }
                self.ended = last;
            }
            Some(Ok(Frame::Trailers(trailers))) => {
                self.writer.end(Some(&trailers), before)?;
                wire.borrow_mut().write(&[before], cx)?;
                self.ended = true;
            }
            None => {
                self.last(before)?;
                wire.borrow_mut().write(&[before], cx)?;
            }
        }
        if self.ended && !matches!(self.body, Body::Empty) {
            // The end is known without polling; whoever counts frames still has to see it.
            let _ = self.body.poll_frame(cx);
            self.body = Body::Empty;
        }
        Ok(())
    }

    /// Nothing but what waits to be written is still to come.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    fn last(&mut self, before: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.writer.end(None, before)?;
        self.ended = true;
        Ok(())
    }
}

impl From<io::Error> for SendError {
    fn from(_: io::Error) -> Self {
        Self::Connection
    }
}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        Self::Body(match error {
            EncodeError::Invalid(what) => StreamError::Invalid(what),
            EncodeError::TooLong | EncodeError::TooShort => StreamError::Protocol(error.to_string().into()),
        })
    }
}
