//! Bulk from socket to socket without its bytes coming by: the kernel hands their pages on through a pipe
//! (`splice(2)`), which takes a third off what copying them costs.
//!
//! A pipe is two descriptors and kernel memory, and small messages are dearer through one. So a direction gets it once
//! it has filled the worker's whole buffer several times in a row, and gives it back when what comes gets small.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes that a pipe holds at most, which is what a slow receiver leaves in it.
const CAPACITY: usize = 256 * 1024;
/// Pipes of a worker at a time, and of those how many are kept for the next who needs one.
const MOST: usize = 64;
const SPARE: usize = 4;

/// A worker's pipes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pipes(Rc<RefCell<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lent: usize,
    spare: Vec<Ends>,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A pipe with what is in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// None: it is given back.
    ends: Option<Ends>,
    held: usize,
    pipes: Pipes,
}

// === impl Pipes ===

impl Pipes {
    /// None: there are enough of them, or no descriptors.
    pub(crate) fn lend(&self) -> Option<Pipe> {
        let mut kept = self.0.borrow_mut();
        if kept.lent >= MOST {
            return None;
        }
        let ends = match kept.spare.pop() {
            Some(ends) => ends,
            None => Ends::new().ok()?,
        };
        kept.lent += 1;
        Some(Pipe {
            ends: Some(ends),
            held: 0,
            pipes: self.clone(),
        })
    }
}

impl Ends {
    fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Who has too many pipes has smaller ones.
        if let Err(error) = fcntl_setpipe_size(&write, CAPACITY) {
            tracing::debug!(%error, "a pipe of the usual size");
        }
        Ok(Self { read, write })
    }
}

// === impl Pipe ===

impl Pipe {
    /// Nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes what has come, once. 0: the other side has ended its own.
    pub(crate) fn poll_fill(&mut self, from: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(Ends { write, .. }) = &self.ends else {
            return Poll::Ready(Ok(0));
        };
        loop {
            ready!(from.poll_read_ready(cx))?;
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            let taken = from.try_io(Interest::READABLE, || {
                Ok(splice(from, None, write, None, CAPACITY, flags)?)
            });
            match taken {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(taken) => {
                    self.held += taken;
                    return Poll::Ready(Ok(taken));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Hands on all that is in it.
    pub(crate) fn poll_drain(&mut self, to: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(Ends { read, .. }) = &self.ends else {
            return Poll::Ready(Ok(()));
        };
        while self.held > 0 {
            ready!(to.poll_write_ready(cx))?;
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            let given = to.try_io(Interest::WRITABLE, || {
                Ok(splice(read, None, to, None, self.held, flags)?)
            });
            match given {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(given) => self.held = self.held.saturating_sub(given),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut kept = self.pipes.0.borrow_mut();
        kept.lent -= 1;
        // With something in it, it is nobody else's.
        if self.held == 0
            && kept.spare.len() < SPARE
            && let Some(ends) = self.ends.take()
        {
            kept.spare.push(ends);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (connected.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_go_through_a_pipe_and_the_end_is_seen() {
        let (mut client, from) = pair().await;
        let (to, mut server) = pair().await;
        let mut pipe = Pipes::default().lend().unwrap();
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut all = 0;
        loop {
            let taken = poll_fn(|cx| pipe.poll_fill(&from, cx)).await.unwrap();
            if taken == 0 {
                break;
            }
            all += taken;
            poll_fn(|cx| pipe.poll_drain(&to, cx)).await.unwrap();
            assert!(pipe.is_empty());
        }
        drop(to);
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!((all, &got[..]), (8, &b"question"[..]));
    }

    #[tokio::test]
    async fn a_worker_has_so_many_pipes_and_keeps_a_few() {
        let pipes = Pipes::default();
        let lent: Vec<_> = std::iter::from_fn(|| pipes.lend()).collect();
        assert_eq!(lent.len(), MOST);
        drop(lent);
        assert_eq!(pipes.0.borrow().spare.len(), SPARE);
        assert!(pipes.lend().is_some());
    }
}
