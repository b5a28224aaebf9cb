//! The end of a connection that the proxy ends.

use std::future::poll_fn;
use std::task::{Poll, ready};

use super::Connection;
use crate::codec::Service;
use crate::outcome::StreamError;

/// So many bytes of a client that still sends are read over while it takes note that its answer is the last; a
/// connection that is closed at once may lose the answer (RFC 9112 §9.6).
const LINGER_BYTES: usize = 4 * 1024 * 1024;

impl Connection {
    /// Lets the client take what has been sent. `linger`: it may still be sending.
    pub(super) async fn close<S: Service>(&self, linger: bool, service: &S) -> Result<(), StreamError> {
        self.wire.borrow().meter.ended(false);
        let linger = linger && self.delayed_close.is_some();
        if !linger && self.wire.borrow().is_plain() {
            // Closing says the same.
            return Ok(());
        }
        let closing = async {
            let shut = poll_fn(|cx| self.wire.borrow_mut().poll_shutdown(cx)).await;
            if linger && shut.is_ok() {
                self.read_over().await;
            }
        };
        match self.delayed_close {
            None => closing.await,
            Some(time) => {
                if tokio::time::timeout(time, closing).await.is_err() {
                    service.ended_late();
                }
            }
        }
        Ok(())
    }

    /// Until the client has closed its side.
    async fn read_over(&self) {
        let mut read = 0;
        poll_fn(|cx| {
            let mut wire = self.wire.borrow_mut();
            while read < LINGER_BYTES {
                wire.input.clear();
                wire.release_input();
                match ready!(wire.poll_read(cx)) {
                    Ok(more) if more > 0 => read += more,
                    _ => break,
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}
