//! One case: what a client writes, and what the upstream answers.

use crate::message::quoted;

/// A request that everyone understands, put behind what is tried: whether it is answered says whether the connection
/// is still open, and that nothing else is to come.
pub(crate) const SENTINEL: &str = "GET /sentinel HTTP/1.1\r\nhost: sentinel\r\n\r\n";
/// The body of the sentinel's answer.
pub(crate) const MARK: &str = "sentinel answered";

pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) cases: Vec<Case>,
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) request: Vec<u8>,
    pub(crate) answer: Answer,
    pub(crate) end: End,
    /// The first response has no body whatever its head says.
    pub(crate) head: bool,
}

/// What the upstream says to every request but the sentinel.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    /// Ends the connection behind them.
    pub(crate) close: bool,
    /// As soon as the request's head is there.
    pub(crate) early: bool,
}

/// How a client that has written its request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With the sentinel.
    Sentinel,
    /// The request is unfinished: it closes its side.
    Close,
    /// The same, when the upstream has the head.
    CloseOnceForwarded,
    /// The same, when an answer has begun.
    CloseOnceAnswered,
}

// === impl Case ===

/// Answered with a simple 200.
pub(crate) fn case(name: &'static str, request: impl AsRef<[u8]>) -> Case {
    Case {
        name,
        request: request.as_ref().to_vec(),
        answer: Answer {
            bytes: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(),
            close: false,
            early: false,
        },
        end: End::Sentinel,
        head: false,
    }
}

/// A simple request with this answer.
pub(crate) fn answer(name: &'static str, bytes: impl AsRef<[u8]>) -> Case {
    case(name, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").answered(bytes)
}

impl Case {
    pub(crate) fn answered(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.answer.bytes = bytes.as_ref().to_vec();
        self
    }

    pub(crate) fn then_close(mut self) -> Self {
        self.answer.close = true;
        self
    }

    pub(crate) fn early(mut self) -> Self {
        self.answer.early = true;
        self
    }

    pub(crate) fn unfinished(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    pub(crate) fn head(mut self) -> Self {
        self.head = true;
        self
    }

    /// The case itself, for whoever reads the facts.
    pub(crate) fn shown(&self) -> String {
        let mut text = format!("> {}\n", short(&self.request));
        let plain = case("", "").answer;
        if self.answer.bytes != plain.bytes || self.answer.close || self.answer.early {
            let close = if self.answer.close { " and closes" } else { "" };
            let early = if self.answer.early { " at once" } else { "" };
            text.push_str(&format!("< {}{early}{close}\n", short(&self.answer.bytes)));
        }
        text
    }
}

fn short(bytes: &[u8]) -> String {
    match bytes.len() {
        0..400 => quoted(bytes),
        length => format!("{}... {length} bytes", quoted(&bytes[..120])),
    }
}
