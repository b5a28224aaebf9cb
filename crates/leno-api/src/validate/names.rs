//! Names: DNS labels and hosts (RFC 1123), HTTP tokens (RFC 9110).

/// One DNS label in lower case, as Kubernetes wants for namespaces and services.
pub fn is_label(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    matches!(bytes.len(), 1..=63)
        && bytes.iter().all(|b| word(*b) || *b == b'-')
        && bytes.first().is_some_and(|b| word(*b))
        && bytes.last().is_some_and(|b| word(*b))
}

/// Labels joined by dots, in lower case: most objects' names.
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

/// A host without wildcard. In hosts case does not matter and an underscore occurs.
pub fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        matches!(label.len(), 1..=63)
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A port's name: IANA service name.
pub fn is_port_name(name: &str) -> bool {
    is_label(name)
}

/// RFC 9110 token: methods and header names.
pub fn is_token(name: &str) -> bool {
    matches!(name.len(), 1..=256)
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_dns_names() {
        for good in [
            "reviews",
            "reviews.default.svc.cluster.local",
            "A.b",
            "10-0-0-1.x",
        ] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "http://a",
            "a/b",
            "a b",
            "a.",
            &"x".repeat(64),
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
