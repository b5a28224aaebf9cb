//! Names that two sides agree on: a Gateway's and a route's.

/// `*`, `*.example.com` or a name. The narrower of the two where one covers the other; None: nothing in common.
///
/// A wildcard stands for at least one label (Gateway API, "Hostname"): `*.example.com` does not cover `example.com`.
pub(crate) fn intersection(one: &str, other: &str) -> Option<String> {
    let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
    if covers(&one, &other) {
        Some(other)
    } else if covers(&other, &one) {
        Some(one)
    } else {
        None
    }
}

fn covers(wide: &str, narrow: &str) -> bool {
    if wide == "*" || wide == narrow {
        return true;
    }
    let Some(suffix) = wide.strip_prefix('*') else {
        return false;
    };
    let rest = narrow.strip_prefix('*').unwrap_or(narrow);
    rest.len() > suffix.len() && rest.ends_with(suffix)
}

#[cfg(test)]
mod tests {
    use super::intersection;

    #[test]
    fn the_narrower_of_two_names_holds() {
        for (one, other, want) in [
            ("*", "*", Some("*")),
            ("*", "a.example.com", Some("a.example.com")),
            ("*.example.com", "a.example.com", Some("a.example.com")),
            ("*.example.com", "a.b.example.com", Some("a.b.example.com")),
            ("*.example.com", "*.b.example.com", Some("*.b.example.com")),
            ("*.example.com", "example.com", None),
            ("*.example.com", "*.example.org", None),
            ("A.example.com", "a.EXAMPLE.com", Some("a.example.com")),
            ("a.example.com", "b.example.com", None),
        ] {
            assert_eq!(intersection(one, other).as_deref(), want, "{one} {other}");
            assert_eq!(intersection(other, one).as_deref(), want, "{other} {one}");
        }
    }
}
