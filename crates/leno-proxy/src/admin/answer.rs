//! An answer, with the headers that Envoy's admin port sends.

use bytes::Bytes;
use leno_engine::message::{Decimal, Headers, ResponseHead, Version};
use serde::Serialize;
use serde_json::Value;

#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    kind: &'static str,
    pub(super) body: Bytes,
}

/// Headers of each.
const SAME: [(&str, &str); 2] = [
    ("cache-control", "no-cache, max-age=0"),
    ("x-content-type-options", "nosniff"),
];

impl Answer {
    pub(super) fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            kind: "text/plain; charset=UTF-8",
            body: body.into(),
        }
    }

    pub(super) fn ok() -> Self {
        Self::text(200, "OK\n")
    }

    /// The exposition format that Prometheus asks for.
    pub(super) fn prometheus(body: String) -> Self {
        Self {
            status: 200,
            kind: "text/plain; version=0.0.4; charset=utf-8",
            body: body.into(),
        }
    }

    pub(super) fn json(body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            kind: "application/json",
            body: body.into(),
        }
    }

    /// Laid out as Envoy does.
    pub(super) fn json_value(value: &Value) -> Self {
        Self::json(pretty(value))
    }

    pub(super) fn head(&self) -> ResponseHead {
        let mut headers = Headers::default();
        headers.append("content-type", self.kind);
        headers.append("content-length", Decimal::from(self.body.len()));
        for (name, value) in SAME {
            headers.append(name, value);
        }
        ResponseHead {
            version: Version::Http11,
            status: self.status,
            headers,
        }
    }

    /// The same for HTTP/2.
    pub(super) fn response(&self) -> Result<http::Response<()>, http::Error> {
        let head = http::Response::builder()
            .status(self.status)
            .header("content-type", self.kind)
            .header("content-length", self.body.len());
        let head = SAME
            .into_iter()
            .fold(head, |head, (name, value)| head.header(name, value));
        head.body(())
    }
}

/// By one space, as Envoy does.
fn pretty(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut writer = serde_json::Serializer::with_formatter(&mut out, format);
    // A value that is JSON already is written to memory.
    let _ = value.serialize(&mut writer);
    out.push(b'\n');
    out
}
