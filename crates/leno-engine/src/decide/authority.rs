//! `:authority`: the host that a request is for, with or without a port.

/// `host`, `host:80`, `[::1]`, `[::1]:80`
pub(crate) fn without_port(authority: &[u8]) -> &[u8] {
    match authority.iter().rposition(|b| *b == b':') {
        Some(at)
            if at > 0
                && authority[at + 1..].iter().all(u8::is_ascii_digit)
                && !in_brackets(authority, at) =>
        {
            &authority[..at]
        }
        _ => authority,
    }
}

/// The same of an authority that is only compared: whatever stands behind the colon.
pub(crate) fn without_any_port(authority: &[u8]) -> &[u8] {
    match authority.iter().rposition(|b| *b == b':') {
        Some(at) if at > 0 && !in_brackets(authority, at) => &authority[..at],
        _ => authority,
    }
}

fn in_brackets(authority: &[u8], at: usize) -> bool {
    authority.first() == Some(&b'[') && authority.get(at - 1) != Some(&b']')
}
