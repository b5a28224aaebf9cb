//! One JSON object a line, as Envoy's `json_format` writes it: a value that is one operator keeps its type, and is
//! null where there is nothing; a value made of several pieces is a string.

use std::io::Write;

use leno_engine::compile::access_log::{Format, FormatValues, Heads, Operator, Piece};

pub(super) fn write(
    keys: &[(String, Format)],
    heads: Heads<'_>,
    values: &dyn FormatValues,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    for (at, (key, format)) in keys.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let start = out.len();
        out.extend_from_slice(key.as_bytes());
        quote(out, start);
        out.push(b':');
        value(format, heads, values, out);
    }
    out.extend_from_slice(b"}\n");
}

fn value(format: &Format, heads: Heads<'_>, values: &dyn FormatValues, out: &mut Vec<u8>) {
    let start = out.len();
    let [Piece::Operator { operator, max }] = format.0.as_slice() else {
        format.write(heads, values, out);
        return quote(out, start);
    };
    if !operator.write(heads, values, out) {
        out.truncate(start);
        out.extend_from_slice(b"null");
        return;
    }
    if let Some(max) = max {
        out.truncate(start.saturating_add(*max));
    }
    if max.is_some() || !is_number(operator) {
        quote(out, start);
    }
}

fn is_number(operator: &Operator) -> bool {
    matches!(
        operator,
        Operator::ResponseCode
            | Operator::BytesReceived
            | Operator::BytesSent
            | Operator::Duration
            | Operator::RequestDuration
            | Operator::ResponseDuration
            | Operator::UpstreamRequestAttemptCount
            | Operator::ConnectionId
            | Operator::DownstreamLocalPort
    )
}

/// Makes a JSON string of what was appended since `start`. Most text needs no escapes and stays where it is.
fn quote(out: &mut Vec<u8>, start: usize) {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if out.iter().skip(start).all(plain) {
        out.insert(start, b'"');
        out.push(b'"');
        return;
    }
    let raw = out.split_off(start);
    out.push(b'"');
    // A header may hold any byte, JSON may not.
    for c in String::from_utf8_lossy(&raw).chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if u32::from(c) < 0x20 => {
                // Writing to memory does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}
