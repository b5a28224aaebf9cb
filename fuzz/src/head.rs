//! A request head from bytes: one line each for method, authority and path, then `name: value` lines.
//!
//! Unlike a codec this refuses nothing, so the engine sees more than it ever will in service.

use bytes::Bytes;
use leno_engine::message::{Headers, RequestHead, Version};

pub fn from_bytes(bytes: &[u8]) -> RequestHead {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice);
    let mut line = || lines.next().unwrap_or_default();
    let (method, authority, path) = (line(), line(), line());
    let mut headers = Headers::default();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.slice((colon + 1).min(line.len())..);
        headers.append(line[..colon].to_ascii_lowercase(), value);
    }
    RequestHead {
        version: Version::Http11,
        method,
        scheme: Bytes::from_static(b"http"),
        authority,
        path,
        upgrade: headers.get("upgrade").map(Bytes::copy_from_slice),
        headers,
    }
}
