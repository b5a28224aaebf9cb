//! What a client has taken, in bytes: to be kept where it outlives the process, and given back to the next one.
//!
//! A head of ten bytes, a hash of the rest, and the rest as protobuf. What was cut off, altered or written in another
//! form is not read at all: half of a configuration is none.

use bytes::Bytes;
use prost::Message;
use xxhash_rust::xxh64::xxh64;

const HEAD: &[u8; 10] = b"leno xds 1";
const HASH: usize = size_of::<u64>();

/// All of one node.
#[derive(Clone, PartialEq, Message)]
pub struct Kept {
    /// `node.id` and `node.cluster`: what another node was told is not this one's.
    #[prost(string, tag = "1")]
    pub node: String,
    #[prost(string, tag = "2")]
    pub cluster: String,
    #[prost(message, repeated, tag = "3")]
    pub resources: Vec<KeptResource>,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeptResource {
    /// Who said it, in words of the owner's.
    #[prost(string, tag = "1")]
    pub origin: String,
    #[prost(string, tag = "2")]
    pub type_url: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub version: String,
    #[prost(bytes = "bytes", tag = "5")]
    pub body: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("it is of another form")]
    Form,
    #[error("it is damaged")]
    Damaged,
}

// === impl Kept ===

impl Kept {
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = self.encode_to_vec();
        let mut bytes = Vec::with_capacity(HEAD.len() + HASH + body.len());
        bytes.extend_from_slice(HEAD);
        bytes.extend_from_slice(&xxh64(&body, 0).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    pub fn from_bytes(bytes: Bytes) -> Result<Self, Unreadable> {
        let rest = bytes.strip_prefix(HEAD.as_slice()).ok_or(Unreadable::Form)?;
        let (hash, body) = rest.split_first_chunk::<HASH>().ok_or(Unreadable::Damaged)?;
        if u64::from_le_bytes(*hash) != xxh64(body, 0) {
            return Err(Unreadable::Damaged);
        }
        // Bodies are parts of these bytes.
        Self::decode(bytes.slice_ref(body)).map_err(|_| Unreadable::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        Kept {
            node: "edge-1".into(),
            cluster: "edges".into(),
            resources: vec![KeptResource {
                origin: "ads".into(),
                type_url: leno_proto::type_url::CLUSTER.into(),
                name: "a".into(),
                version: "7".into(),
                body: Bytes::from_static(b"\x0a\x01a"),
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = kept().to_bytes();
        assert_eq!(Kept::from_bytes(bytes.into()), Ok(kept()));
    }

    #[test]
    fn what_is_cut_off_or_altered_anywhere_is_not_read() {
        let bytes = kept().to_bytes();
        for end in 0..bytes.len() {
            let cut = Bytes::copy_from_slice(&bytes[..end]);
            assert!(Kept::from_bytes(cut).is_err(), "{end}");
            let mut altered = bytes.clone();
            altered[end] ^= 1;
            assert!(Kept::from_bytes(altered.into()).is_err(), "{end}");
        }
    }
}
