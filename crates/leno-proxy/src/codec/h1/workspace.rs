//! What the HTTP/1 connections of one worker share: the memory that they read into, the buffer that heads are written
//! in, and the date.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of one read, for bulk.
const BLOCK: usize = 512 * 1024;
/// With less room than this, another block is taken.
const LEAST_READ: usize = 64 * 1024;
/// Blocks of which somebody may still hold slices. When all are held, what is read is copied.
const BLOCKS: usize = 4;
/// A head buffer that has grown beyond this is not kept.
const HEAD_KEPT: usize = 64 * 1024;

pub(crate) struct Workspace {
    blocks: RefCell<Blocks>,
    head: Cell<Vec<u8>>,
    date: Cell<Date>,
}

struct Blocks {
    current: BytesMut,
    /// Blocks of which slices were held when they were full.
    held: Vec<BytesMut>,
    made: bool,
}

#[derive(Clone, Copy)]
struct Date {
    second: u64,
    text: [u8; 29],
}

// === impl Workspace ===

impl Workspace {
    /// Reads once, at most `most` bytes, and appends to `input`: by reference if that is empty. The result: how many,
    /// and whether `input` is a slice of the worker's block.
    pub(super) fn poll_read<R: AsyncRead + Unpin>(
        &self,
        io: &mut R,
        most: usize,
        input: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(usize, bool)>> {
        let mut blocks = self.blocks.borrow_mut();
        let may_share = blocks.make_room();
        let block = &mut blocks.current;
        let read = {
            let mut room = (&mut *block).limit(most);
            ready!(pin!(io.read_buf(&mut room)).poll(cx))
        };
        let share = may_share && input.is_empty() && !block.is_empty();
        if share {
            *input = block.split();
        } else {
            input.extend_from_slice(block);
            block.clear();
        }
        Poll::Ready(read.map(|read| (read, share)))
    }

    /// The buffer for heads, empty. It is given back with [`Self::keep`].
    pub(super) fn head(&self) -> Vec<u8> {
        self.head.take()
    }

    pub(super) fn keep(&self, mut head: Vec<u8>) {
        if head.capacity() <= HEAD_KEPT {
            head.clear();
            self.head.set(head);
        }
    }

    /// For `Date` (RFC 9110 §6.6.1): formatted at most once a second.
    pub(super) fn date(&self, now: SystemTime) -> [u8; 29] {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let kept = self.date.get();
        if kept.second == second {
            return kept.text;
        }
        let mut text = [b' '; 29];
        for (to, from) in text.iter_mut().zip(httpdate::fmt_http_date(now).bytes()) {
            *to = from;
        }
        self.date.set(Date { second, text });
        text
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self {
            blocks: RefCell::new(Blocks {
                current: BytesMut::new(),
                held: Vec::new(),
                made: false,
            }),
            head: Cell::default(),
            date: Cell::new(Date {
                second: u64::MAX,
                text: [b' '; 29],
            }),
        }
    }
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Workspace")
    }
}

// === impl Blocks ===

impl Blocks {
    /// Makes sure that the current block has room. False: slices of it may not be held.
    fn make_room(&mut self) -> bool {
        let shared = self.held.len() < BLOCKS;
        // Where nobody holds a slice it begins again at its start, where the cache is warm.
        let has_room = self.current.try_reclaim(BLOCK) || self.current.capacity() >= LEAST_READ;
        if has_room && shared {
            return true;
        }
        match self.held.iter_mut().position(|block| block.try_reclaim(BLOCK)) {
            Some(free) if shared => std::mem::swap(&mut self.current, &mut self.held[free]),
            Some(free) => self.current = self.held.swap_remove(free),
            None if has_room => {}
            None => {
                let full = std::mem::replace(&mut self.current, BytesMut::with_capacity(BLOCK));
                // The very first has never been one.
                if self.made {
                    self.held.push(full);
                }
                self.made = true;
            }
        }
        self.held.len() < BLOCKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(workspace: &Workspace, bytes: &[u8]) -> (BytesMut, bool) {
        let mut input = BytesMut::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut io = bytes;
        match workspace.poll_read(&mut io, BLOCK, &mut input, &mut cx) {
            Poll::Ready(Ok((_, shared))) => (input, shared),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_let_go_is_read_into_again() {
        let workspace = Workspace::default();
        let (first, _) = read(&workspace, b"first");
        let place = first.as_ptr();
        drop(first);
        let (second, shared) = read(&workspace, b"second");
        assert_eq!(
            (second.as_ptr(), &second[..], shared),
            (place, &b"second"[..], true)
        );
    }

    #[test]
    fn whoever_holds_on_to_slices_holds_a_few_blocks_at_most() {
        let workspace = Workspace::default();
        let much = vec![7; BLOCK];
        let held: Vec<_> = (0..20).map(|_| read(&workspace, &much)).collect();
        let shared = held.iter().filter(|(_, shared)| *shared).count();
        assert_eq!(shared, BLOCKS);
        assert!(held.iter().all(|(input, _)| input[..] == much[..]));
        drop(held);
        assert!(
            read(&workspace, b"x").1,
            "shared again when the others have let go"
        );
    }

    #[test]
    fn the_date_moves_with_the_second() {
        let workspace = Workspace::default();
        let at = |millis| workspace.date(UNIX_EPOCH + std::time::Duration::from_millis(millis));
        assert_eq!(&at(784_111_777_000), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&at(784_111_777_999), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&at(784_111_778_000), b"Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
