//! One step of a case.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::message::quoted;

/// `GET /path`, or with a host, headers and more; bytes to a listener without HTTP; or `release`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Step {
    Line(String),
    Request(Box<Request>),
    Bytes(Bytes),
    Call(Call),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) send: String,
    #[serde(default)]
    host: Option<String>,
    /// Values may be lists, for headers that come more than once.
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    pub(crate) body: Option<String>,
    /// HTTP/2 with prior knowledge.
    #[serde(default)]
    pub(crate) http2: bool,
    /// Bytes before everything else, also before TLS.
    #[serde(default)]
    pub(crate) ahead: Option<String>,
    /// Over TLS: version, protocol and the names of the server's certificate are told first.
    #[serde(default)]
    pub(crate) tls: Option<Tls>,
    /// One after the other, each on a connection of its own.
    #[serde(default = "once")]
    pub(crate) times: usize,
    /// What is told of an answer.
    #[serde(default)]
    pub(crate) show: Show,
    /// Again and again until the status is that; only this is told.
    #[serde(default)]
    pub(crate) until: Option<u16>,
    /// The backend holds its answer until `release`, where the answers of all such are told. The next step begins when
    /// the request has come to the backend or has been answered.
    #[serde(default)]
    pub(crate) hold: bool,
    /// Sent one by one once the connection is a tunnel.
    #[serde(default)]
    pub(crate) then: Vec<String>,
    /// `:protocol`, for HTTP/2.
    #[serde(default)]
    pub(crate) protocol: Option<String>,
    /// Milliseconds to let pass before it, where time is what the case is about.
    #[serde(default)]
    pub(crate) after: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    #[serde(default)]
    pub(crate) sni: Option<String>,
    #[serde(default)]
    pub(crate) alpn: Vec<String>,
    /// `client` or `stranger`.
    #[serde(default)]
    pub(crate) certificate: Option<String>,
    /// `1.2` or `1.3`; else both.
    #[serde(default)]
    pub(crate) version: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Show {
    #[default]
    All,
    /// Status and backend.
    Backend,
    /// The different ones among all, in the order of their names.
    Set,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bytes {
    /// One by one, each but the last after something has come back.
    pub(crate) bytes: Vec<String>,
    #[serde(default = "once")]
    pub(crate) times: usize,
    /// Milliseconds to let pass before it.
    #[serde(default)]
    pub(crate) after: u64,
    /// The client has no more to say behind the last, and waits for the end.
    #[serde(default)]
    pub(crate) close: bool,
}

/// Of the grpcio server, by a grpcio client.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    /// `One`, `Up`, `Down`, `Both`, `Wait`, `Ended` (`grpc/peer.py`), or a path.
    call: String,
    /// Messages; of `Both` each is sent when the one before has been answered.
    #[serde(default = "one_message")]
    send: Vec<String>,
    /// Each message that often over, in one.
    #[serde(default)]
    size: usize,
    #[serde(default = "host")]
    host: String,
    /// `x-script`: a status for each try.
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
    /// Milliseconds.
    #[serde(default)]
    deadline: u64,
    /// The caller goes after so many messages.
    #[serde(default)]
    cancel: usize,
    /// Of what is sent: `gzip` or `deflate`.
    #[serde(default)]
    compression: Option<String>,
}

fn one_message() -> Vec<String> {
    vec!["hello".to_owned()]
}

fn host() -> String {
    "a.example".to_owned()
}

fn once() -> usize {
    1
}

// === impl Step ===

impl Step {
    pub(crate) fn times(&self) -> usize {
        match self {
            Self::Line(line) if line == "release" => 0,
            Self::Line(_) | Self::Call(_) => 1,
            Self::Request(request) => request.times,
            Self::Bytes(bytes) => bytes.times,
        }
    }

    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Line(line) => line.clone(),
            Self::Request(request) => request.shown(),
            Self::Bytes(bytes) => {
                let shown = bytes.bytes.iter().map(|text| quoted(text.as_bytes()));
                shown.collect::<Vec<_>>().join(" | ")
            }
            Self::Call(call) => call.shown(),
        }
    }
}

// === impl Call ===

impl Call {
    fn shown(&self) -> String {
        let mut text = format!("{} {}", self.call, self.send.join(" "));
        let told = [
            (self.size > 0, format!(" × {}", self.size)),
            (self.host != host(), format!(" | host: {}", self.host)),
            (self.deadline > 0, format!(" | within {} ms", self.deadline)),
            (self.cancel > 0, format!(" | cancelled after {}", self.cancel)),
        ];
        text.extend(
            told.into_iter()
                .filter_map(|(is_said, told)| is_said.then_some(told)),
        );
        text.extend(self.compression.iter().map(|word| format!(" | {word}")));
        text.extend(
            self.metadata
                .iter()
                .map(|(name, value)| format!(" | {name}: {value}")),
        );
        text
    }
}

// === impl Request ===

impl Request {
    /// `GET /path`
    pub(crate) fn plain(line: &str) -> Self {
        Self {
            send: line.to_owned(),
            host: None,
            headers: BTreeMap::new(),
            body: None,
            http2: false,
            ahead: None,
            tls: None,
            times: 1,
            show: Show::All,
            until: None,
            hold: false,
            then: Vec::new(),
            protocol: None,
            after: 0,
        }
    }

    /// As the backends know it: `run` is of the case, `number` of the request.
    pub(crate) fn keyed(&self, run: &str, number: usize) -> Self {
        let mut keyed = self.clone();
        if keyed.headers.contains_key("x-script") {
            keyed
                .headers
                .insert("x-key".into(), format!("{run} {number}").into());
        }
        if keyed.hold {
            keyed.headers.insert("x-hold".into(), run.into());
        }
        keyed
    }

    pub(crate) fn host(&self) -> &str {
        self.host.as_deref().unwrap_or("a.example")
    }

    fn shown(&self) -> String {
        let mut text = self.send.clone();
        if self.http2 {
            text += " HTTP/2";
        }
        if let Some(tls) = &self.tls {
            text += " | TLS";
            let told = [
                tls.sni.as_deref(),
                tls.certificate.as_deref(),
                Some(tls.version.as_str()),
            ];
            for told in told.into_iter().flatten().filter(|told| !told.is_empty()) {
                text += &format!(" {told}");
            }
        }
        if let Some(ahead) = &self.ahead {
            text += &format!(" | ahead: {}", quoted(ahead.as_bytes()));
        }
        if let Some(host) = &self.host {
            text += &format!(" | host: {host}");
        }
        for (name, value) in self.fields() {
            text += &format!(" | {name}: {value}");
        }
        if self.hold {
            text += " | held";
        }
        if self.times > 1 {
            text += &format!(" × {}", self.times);
        }
        text
    }

    pub(crate) fn fields(&self) -> Vec<(&str, String)> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut all = Vec::new();
        for (name, value) in &self.headers {
            match value {
                Value::Array(values) => all.extend(values.iter().map(|value| (name.as_str(), text(value)))),
                one => all.push((name.as_str(), text(one))),
            }
        }
        all
    }

    /// HTTP/1.1.
    pub(crate) fn bytes(&self) -> String {
        let mut text = format!("{} HTTP/1.1\r\nhost: {}\r\n", self.send, self.host());
        for (name, value) in self.fields() {
            text += &format!("{name}: {value}\r\n");
        }
        if self.then.is_empty() && !self.send.starts_with("CONNECT ") {
            text += "connection: close\r\n";
        }
        if let Some(body) = &self.body {
            text += &format!("content-length: {}\r\n\r\n{body}", body.len());
        } else {
            text += "\r\n";
        }
        text
    }
}
