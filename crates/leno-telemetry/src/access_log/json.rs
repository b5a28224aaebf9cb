//! One JSON object a line, as Envoy's `json_format` writes it: a value that is one operator keeps its type, and is
//! null where there is nothing; a value made of several pieces is a string.

use std::io::Write;

use leno_engine::compile::access_log::{Format, FormatValues, Heads, Json, Piece};

pub(super) fn write(
    value: &Json,
    omit_empty: bool,
    heads: Heads<'_>,
    values: &dyn FormatValues,
    out: &mut Vec<u8>,
) {
    let line = Line {
        omit_empty,
        heads,
        values,
    };
    // Nothing at all is still an object.
    if !line.value(value, out) {
        out.extend_from_slice(b"{}");
    }
    out.push(b'\n');
}

struct Line<'l> {
    omit_empty: bool,
    heads: Heads<'l>,
    values: &'l dyn FormatValues,
}

impl Line<'_> {
    /// False: it is empty, and nothing was written.
    fn value(&self, value: &Json, out: &mut Vec<u8>) -> bool {
        match value {
            Json::Format(format) => return self.format(format, out),
            Json::Fixed(text) => out.extend_from_slice(text.as_bytes()),
            Json::List(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    if !self.value(item, out) {
                        out.extend_from_slice(b"null");
                    }
                }
                out.push(b']');
            }
            Json::Object(keys) => return self.object(keys, out),
        }
        true
    }

    fn object(&self, keys: &[(String, Json)], out: &mut Vec<u8>) -> bool {
        let begin = out.len();
        out.push(b'{');
        for (key, value) in keys {
            let start = out.len();
            if start > begin + 1 {
                out.push(b',');
            }
            let name = out.len();
            out.extend_from_slice(key.as_bytes());
            quote(out, name);
            out.push(b':');
            if !self.value(value, out) {
                out.truncate(start);
            }
        }
        if self.omit_empty && out.len() == begin + 1 {
            out.truncate(begin);
            return false;
        }
        out.push(b'}');
        true
    }

    fn format(&self, format: &Format, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let [Piece::Operator { operator, max }] = format.0.as_slice() else {
            format.write(self.heads, self.values, out);
            quote(out, start);
            return true;
        };
        // What has a type of its own.
        if max.is_none()
            && let Some(found) = operator.write_json(self.heads, self.values, out)
        {
            if !found && !self.omit_empty {
                out.extend_from_slice(b"null");
            }
            return found || !self.omit_empty;
        }
        if !operator.write(self.heads, self.values, out) {
            out.truncate(start);
            if self.omit_empty {
                return false;
            }
            out.extend_from_slice(b"null");
            return true;
        }
        if let Some(max) = max {
            out.truncate(start.saturating_add(*max));
        }
        if max.is_some() || !operator.is_number() {
            quote(out, start);
        }
        true
    }
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
    escape(&raw, out);
    out.push(b'"');
}

/// A header may hold any byte, JSON may not.
pub(crate) fn escape(raw: &[u8], out: &mut Vec<u8>) {
    for c in String::from_utf8_lossy(raw).chars() {
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
}
