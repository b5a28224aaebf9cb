//! HPACK (RFC 7541).

mod decode;
mod encode;
mod huffman;
mod integer;
mod table;

pub use decode::{Decoder, Malformed};
pub use encode::Encoder;
