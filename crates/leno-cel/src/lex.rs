//! Words and signs of an expression.

use crate::literal;
use crate::token::{ParseError, Token};

/// Longer ones first.
const SIGNS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", "?", ":", "!", "<", ">", "+",
    "-", "*", "/", "%",
];

/// Everything in it, each with where it begins.
pub(crate) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ParseError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = after_space(text, at) {
        let (token, end) = token(text, next)?;
        found.push((next, token));
        at = end;
    }
    found.push((text.len(), Token::End));
    Ok(found)
}

/// Where the next word begins, behind spaces and comments.
fn after_space(text: &str, mut at: usize) -> Option<usize> {
    loop {
        let rest = text.get(at..)?;
        let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
        at += rest.len() - trimmed.len();
        match trimmed.strip_prefix("//") {
            Some(comment) => at += 2 + comment.find('\n').unwrap_or(comment.len()),
            None if trimmed.is_empty() => return None,
            None => return Some(at),
        }
    }
}

fn token(text: &str, at: usize) -> Result<(Token, usize), ParseError> {
    let wrong = |why: &str| ParseError {
        at,
        why: why.to_owned(),
    };
    let rest = text.get(at..).unwrap_or_default();
    if let Some((token, length)) = literal::quoted(rest).map_err(wrong)? {
        return Ok((token, at + length));
    }
    let first = rest.chars().next().unwrap_or_default();
    if first.is_ascii_digit() || (first == '.' && rest.get(1..2).is_some_and(is_digits)) {
        let (token, length) = literal::number(rest).map_err(wrong)?;
        return Ok((token, at + length));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default().to_owned();
        return Ok((Token::Name(name), at + end));
    }
    let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
    let sign = sign.ok_or_else(|| wrong(&format!("{first:?} means nothing here")))?;
    Ok((Token::Sign(sign), at + sign.len()))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
