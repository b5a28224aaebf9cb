//! Reads messages as strictly as the standard says, and shows them.

use std::fmt::Write;

/// One message of a stream.
#[derive(Debug)]
pub(crate) struct Message {
    /// First line and headers, as they were.
    pub(crate) head: Vec<String>,
    pub(crate) body: Body,
    pub(crate) complete: bool,
}

#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) framing: Framing,
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length,
    Chunked,
    /// To the connection's end, or a tunnel.
    Rest,
}

/// What kind of messages a stream is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Requests,
    /// `head`: the first has no body.
    Responses {
        head: bool,
    },
}

// === impl Message ===

impl Message {
    pub(crate) fn first_line(&self) -> &str {
        self.head.first().map_or("", String::as_str)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// 0: there is none.
    pub(crate) fn status(&self) -> u16 {
        let status = self.first_line().split(' ').nth(1);
        status.and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}

/// The messages of a stream, and what is left that is none.
pub(crate) fn messages(mut bytes: &[u8], kind: Kind) -> (Vec<Message>, &[u8]) {
    let mut found = Vec::new();
    let mut headless = matches!(kind, Kind::Responses { head: true });
    while let Some((message, rest)) = first(bytes, kind, headless) {
        let last = !message.complete || message.body.framing == Framing::Rest;
        headless = headless && matches!(message.status(), 100 | 102..200);
        bytes = rest;
        found.push(message);
        if last {
            break;
        }
    }
    (found, bytes)
}

/// None: there is no whole head yet. `headless`: it has no body whatever it says.
pub(crate) fn first(bytes: &[u8], kind: Kind, headless: bool) -> Option<(Message, &[u8])> {
    let end = find(bytes, b"\r\n\r\n")?;
    let text: String = bytes[..end].iter().map(|b| shown(*b)).collect();
    let mut message = Message {
        head: text.split("\\r\\n").map(str::to_owned).collect(),
        body: Body {
            framing: Framing::None,
            bytes: Vec::new(),
            trailers: Vec::new(),
        },
        complete: true,
    };
    message.body.framing = framing(&message, kind, headless);
    let mut rest = &bytes[end + 4..];
    match message.body.framing {
        Framing::None => {}
        Framing::Rest => {
            message.body.bytes = rest.to_vec();
            rest = &[];
        }
        Framing::Length => {
            let length = message.header("content-length")?.parse().ok()?;
            message.complete = rest.len() >= length;
            let (body, after) = rest.split_at(length.min(rest.len()));
            message.body.bytes = body.to_vec();
            rest = after;
        }
        Framing::Chunked => rest = chunks(&mut message, rest),
    }
    Some((message, rest))
}

fn framing(message: &Message, kind: Kind, headless: bool) -> Framing {
    let body = if message.header("transfer-encoding").is_some() {
        Framing::Chunked
    } else if message.header("content-length").is_some() {
        Framing::Length
    } else {
        Framing::None
    };
    let Kind::Responses { .. } = kind else {
        return body;
    };
    match message.status() {
        101 => Framing::Rest,
        0..200 | 204 | 304 => Framing::None,
        _ if headless => Framing::None,
        _ if body == Framing::None => Framing::Rest,
        _ => body,
    }
}

/// Reads chunks into `message`; what is behind them.
fn chunks<'a>(message: &mut Message, mut bytes: &'a [u8]) -> &'a [u8] {
    message.complete = false;
    while let Some(end) = find(bytes, b"\r\n") {
        let Ok(size) = usize::from_str_radix(&String::from_utf8_lossy(&bytes[..end]), 16) else {
            return bytes;
        };
        let data = &bytes[end + 2..];
        if size == 0 {
            return trailers(message, data);
        }
        let Some(next) = data.get(size..).and_then(|rest| rest.strip_prefix(b"\r\n")) else {
            return bytes;
        };
        message.body.bytes.extend_from_slice(&data[..size]);
        bytes = next;
    }
    bytes
}

fn trailers<'a>(message: &mut Message, mut bytes: &'a [u8]) -> &'a [u8] {
    while let Some(end) = find(bytes, b"\r\n") {
        let line = &bytes[..end];
        bytes = &bytes[end + 2..];
        if line.is_empty() {
            message.complete = true;
            return bytes;
        }
        message
            .body
            .trailers
            .push(line.iter().map(|b| shown(*b)).collect());
    }
    bytes
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

// === text ===

pub(crate) fn quoted(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|b| shown(*b)).collect();
    format!("\"{text}\"")
}

fn shown(byte: u8) -> String {
    match byte {
        b'"' => "\"".to_owned(),
        _ => byte.escape_ascii().to_string(),
    }
}

/// Long runs of one character are told by their length.
pub(crate) fn shortened(text: &str) -> String {
    if text.len() < 400 {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(120).collect();
    let _ = write!(short, "... {} characters", text.len());
    short
}
