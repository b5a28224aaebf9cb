//! DER (X.690), as far as it is read here: elements of definite length, one after the other.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const OBJECT: u8 = 0x06;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;

/// `[n] EXPLICIT`.
pub(crate) const fn explicit(number: u8) -> u8 {
    0xa0 | number
}

/// What is left of an element's content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Der<'d>(&'d [u8]);

impl<'d> Der<'d> {
    pub(crate) fn new(bytes: &'d [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever it is: its tag, its content, and all of it.
    pub(crate) fn next(&mut self) -> Option<(u8, &'d [u8], &'d [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            long @ 0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - rest.len())?;
        self.0 = rest;
        Some((*tag, content, whole))
    }

    /// The content of the next element, which is to have this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'d [u8]> {
        let mut after = *self;
        let (found, content, _) = after.next()?;
        (found == tag).then(|| {
            *self = after;
            content
        })
    }

    /// The same of an element of elements.
    pub(crate) fn within(&mut self, tag: u8) -> Option<Der<'d>> {
        self.take(tag).map(Der)
    }
}
