//! What a case came to, as text that can be compared.

use std::fmt::Write;

use super::case::{Case, MARK};
use super::upstream::Received;
use crate::message::{Framing, Kind, Message, messages, quoted, shortened};

/// Differ from run to run.
const VARIABLE: [&str; 2] = ["date", "x-envoy-upstream-service-time"];

/// How the client's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The sentinel was answered.
    Open,
    Closed,
    /// Neither in all the time a test has.
    Stuck,
}

pub(crate) fn outcome(case: &Case, client: &[u8], ended: Ended, upstream: &[Received]) -> String {
    let mut lines = Vec::new();
    let (found, rest) = messages(client, Kind::Responses { head: case.head });
    let answers = found
        .iter()
        .filter(|message| message.body.bytes != MARK.as_bytes());
    lines.extend(answers.map(|message| shown("client", message)));
    if !rest.is_empty() {
        lines.push(format!("client gets {}", shortened(&quoted(rest))));
    }
    lines.push(match ended {
        Ended::Open => "client's connection stays open".to_owned(),
        Ended::Closed => "client's connection is closed".to_owned(),
        Ended::Stuck => "STUCK".to_owned(),
    });
    for received in upstream {
        let (found, rest) = messages(&received.bytes, Kind::Requests);
        // What is given up half way is no request; how much of it went out before is chance.
        let requests = found
            .iter()
            .filter(|message| message.complete && !message.first_line().contains(" /sentinel "));
        lines.extend(requests.map(|message| shown("upstream", message)));
        if ended == Ended::Stuck {
            lines.push(format!("upstream has {}", quoted(rest)));
        }
    }
    counted(&lines)
}

/// Lines that repeat are written once.
fn counted(lines: &[String]) -> String {
    let mut text = String::new();
    for same in lines.chunk_by(|a, b| a == b) {
        let times = if same.len() > 1 {
            format!("{} x ", same.len())
        } else {
            String::new()
        };
        let _ = writeln!(text, "{times}{}", same[0]);
    }
    text
}

/// One message in one line.
fn shown(who: &str, message: &Message) -> String {
    let mut text = format!("{who} gets {}", shortened(message.first_line()));
    let mut headers = String::new();
    for line in message.head.iter().skip(1) {
        if !is_variable(line) {
            let _ = write!(headers, " | {}", shortened(line));
        }
    }
    text.push_str(&shortened(&headers));
    if message.body.framing != Framing::None {
        let body = quoted(&message.body.bytes);
        // A tunnel may hold heads.
        let lines: Vec<&str> = body.split("\\r\\n").filter(|line| !is_variable(line)).collect();
        let _ = write!(text, " | {}", shortened(&lines.join("\\r\\n")));
    }
    let mut trailers = String::new();
    for line in &message.body.trailers {
        let _ = write!(trailers, " | trailer {}", shortened(line));
    }
    text.push_str(&shortened(&trailers));
    if !message.complete {
        text.push_str(" | cut off");
    }
    text
}

fn is_variable(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    VARIABLE
        .iter()
        .any(|variable| variable.eq_ignore_ascii_case(name))
}
