//! Header names that peers want in capitals, or as they were (`header_key_format`). Where nothing is configured, and no
//! message that is passed on was noted so, this costs a look at two fields.

use bytes::Bytes;
use leno_engine::compile::http::HeaderCase;
use leno_engine::message::{Headers, Spelling};
use leno_http1::respell;

/// Notes how the names of a head that has been read were written, if this side of the proxy is to.
pub(super) fn note(how: HeaderCase, head: &[u8], headers: &mut Headers) {
    if let HeaderCase::Preserved { proper, reason } = how {
        headers.set_spelling(Spelling::of(Bytes::copy_from_slice(head), proper, reason));
    }
}

/// Writes the names of an encoded head as its reader wants them.
pub(super) fn write(how: HeaderCase, headers: &Headers, encoded: &mut Vec<u8>) {
    let spelling = headers.spelling();
    if spelling.is_some() || how.is_proper() {
        respell(encoded, spelling, how.is_proper());
    }
}
