//! HPACK (RFC 7541).

mod decode;
mod encode;
mod huffman;
mod integer;
mod malformed;
mod table;

pub use decode::Decoder;
pub use encode::Encoder;
pub use malformed::Malformed;
