//! What a request wants to be answered with: `x-script: 503 reset 200`, one step a try, the last for ever after.
//!
//! A step is a status (`200`), or what happens instead of an answer, with a delay before it (`100ms:200`) and headers and
//! trailers behind (`503;retry-after=1;~grpc-status=14`).

use std::time::Duration;

use super::Told;

#[derive(Debug)]
pub(super) struct Answer {
    /// From 1; 0 of a request without a script.
    pub(super) attempt: usize,
    pub(super) what: What,
    pub(super) headers: Vec<(String, String)>,
    pub(super) trailers: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Status(u16),
    /// The connection (HTTP/1) or stream (HTTP/2) is reset.
    Reset,
    /// HTTP/2: refused, nothing was done.
    Refuse,
    /// A head and half of a body, then a reset.
    Half,
    /// No answer at all.
    Never,
}

impl Answer {
    /// Waits as the request wants.
    pub(super) async fn of<'h>(told: &Told, header: impl Fn(&str) -> Option<&'h str>) -> Self {
        if let Some(what) = header("x-hold") {
            told.hold(what).await;
        }
        let (Some(script), Some(key)) = (header("x-script"), header("x-key")) else {
            let status = header("x-answer").and_then(|status| status.parse().ok());
            return Self {
                attempt: 0,
                what: What::Status(status.unwrap_or(200)),
                headers: Vec::new(),
                trailers: Vec::new(),
            };
        };
        let attempt = told.tried(key);
        let steps: Vec<&str> = script.split_whitespace().collect();
        let step = steps[attempt.min(steps.len()) - 1];
        let (delay, step) = step.split_once("ms:").unwrap_or(("0", step));
        tokio::time::sleep(Duration::from_millis(delay.parse().unwrap())).await;
        let mut parts = step.split(';');
        let mut answer = Self {
            attempt,
            what: What::parse(parts.next().unwrap_or_default()),
            headers: Vec::new(),
            trailers: Vec::new(),
        };
        for part in parts {
            let (name, value) = part.split_once('=').unwrap();
            match name.strip_prefix('~') {
                Some(name) => answer.trailers.push((name.to_owned(), value.to_owned())),
                None => answer.headers.push((name.to_owned(), value.to_owned())),
            }
        }
        answer
    }

    /// Who it is and what came.
    pub(super) fn body(&self, name: &str, came: &[String]) -> String {
        let attempt = match self.attempt {
            0 => String::new(),
            attempt => format!(" (try {attempt})"),
        };
        format!("{name}{attempt} gets {}", came.join(" | "))
    }
}

impl What {
    fn parse(word: &str) -> Self {
        match word {
            "reset" => Self::Reset,
            "refuse" => Self::Refuse,
            "half" => Self::Half,
            "never" => Self::Never,
            status => Self::Status(
                status
                    .parse()
                    .unwrap_or_else(|_| panic!("no step of a script: {word}")),
            ),
        }
    }
}
