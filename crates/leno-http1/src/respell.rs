//! Header names as somebody wants them who makes a difference between upper and lower case (`header_key_format`).

use leno_engine::message::{Spelling, proper_case};

/// Rewrites the names of an encoded head, which are in lower case: as they were received where that is known, else
/// with capitals if `proper`. A reason phrase that was kept takes the place of the one that goes with the status.
pub fn respell(head: &mut Vec<u8>, spelling: Option<&Spelling>, proper: bool) {
    if spelling.is_none() && !proper {
        return;
    }
    if let Some(reason) = spelling.and_then(Spelling::reason)
        && head.starts_with(b"HTTP/1.")
        && let Some(end) = head.iter().position(|byte| *byte == b'\r')
        && let Some(start) = head.iter().position(|byte| *byte == b' ')
    {
        // The status has three digits, and a blank on each side.
        let reason = reason.iter().copied();
        head.splice((start + 5).min(end)..end, reason);
    }
    let mut first = true;
    for line in head.split_mut(|byte| *byte == b'\n') {
        if std::mem::replace(&mut first, false) {
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = &mut line[..colon];
        match spelling {
            Some(spelling) => spelling.spell(name),
            None => proper_case(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn respelled(head: &str, received: Option<&'static str>, proper: bool) -> String {
        let mut head = head.as_bytes().to_vec();
        let spelling = received.map(|text| Spelling::of(text.into(), proper, true));
        respell(&mut head, spelling.as_ref(), proper);
        String::from_utf8(head).expect("text")
    }

    #[test]
    fn names_are_respelled() {
        let head = "HTTP/1.1 200 OK\r\nx-a: b:c\r\ndate: now\r\n\r\n";
        assert_eq!(
            respelled(head, None, true),
            "HTTP/1.1 200 OK\r\nX-A: b:c\r\nDate: now\r\n\r\n"
        );
        assert_eq!(respelled(head, None, false), head);
        let received = "HTTP/1.1 200 So Be It\r\nX-a: 1\r\n\r\n";
        assert_eq!(
            respelled(head, Some(received), false),
            "HTTP/1.1 200 So Be It\r\nX-a: b:c\r\ndate: now\r\n\r\n"
        );
    }
}
