//! How figures and parties are written: short, and never better than they are.

use std::time::Duration;

use leno_proto::control::{Edge, Peer};

/// Never rounds a failure away: 99.999 % is 99.99 %.
pub fn percent(share: f64) -> String {
    if share >= 1.0 {
        "100%".into()
    } else {
        format!("{:.2}%", (share * 10_000.0).floor() / 100.0)
    }
}

pub fn latency(value: Duration) -> String {
    let ms = value.as_secs_f64() * 1000.0;
    match ms {
        // As they are rounded: 9.96 ms are 10ms, no wider than its column.
        ms if ms < 9.95 => format!("{ms:.1}ms"),
        ms if ms < 999.5 => format!("{ms:.0}ms"),
        ms if ms < 100_000.0 => format!("{:.1}s", ms / 1000.0),
        ms => format!("{:.0}s", ms / 1000.0),
    }
}

pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 999.95 => format!("{rate:.1}"),
        rate if rate < 100_000.0 => format!("{rate:.0}"),
        rate => format!("{:.0}k", rate / 1000.0),
    }
}

/// Binary units.
pub fn bytes(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1000.0 {
            return match unit {
                "B" => format!("{value:.0}B"),
                unit if value < 10.0 => format!("{value:.1}{unit}"),
                unit => format!("{value:.0}{unit}"),
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1}TiB")
}

pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

/// `reviews-v1.default`
pub fn workload(peer: Option<&Peer>) -> Option<String> {
    let peer = peer.filter(|peer| !peer.workload.is_empty())?;
    Some(match peer.namespace.as_str() {
        "" => peer.workload.clone(),
        namespace => format!("{}.{namespace}", peer.workload),
    })
}

/// `reviews.default.svc.cluster.local` as `reviews.default`; hosts outside of the cluster stay whole.
pub fn service(host: &str) -> String {
    let short = host.split_once(".svc.").map_or(host, |(short, _)| short);
    match short {
        "" => "unknown".into(),
        short => short.to_owned(),
    }
}

pub fn source(edge: &Edge) -> String {
    workload(edge.source.as_ref()).unwrap_or_else(|| "unknown".into())
}

/// In the default namespace, where most is, the name is enough.
pub fn short(name: &str) -> &str {
    name.strip_suffix(".default").unwrap_or(name)
}

/// The workload, or the service where no workload has answered.
pub fn destination(edge: &Edge) -> String {
    workload(edge.destination.as_ref()).unwrap_or_else(|| service(&edge.destination_service))
}

/// `spiffe://cluster.local/ns/default/sa/reviews` as `default/reviews`: what differs within a mesh.
pub fn identity(principal: &str) -> String {
    let path = principal
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once("/ns/"));
    let parts = path.and_then(|(_, path)| path.split_once("/sa/"));
    match parts {
        Some((namespace, account)) => format!("{namespace}/{account}"),
        None if principal.is_empty() => "-".into(),
        None => principal.to_owned(),
    }
}

/// The user's name of a rule, or which of the object's it is.
pub fn route(edge: &Edge) -> String {
    match (edge.route.as_str(), edge.rule) {
        ("" | "default", 0) => "(default)".into(),
        ("" | "default", rule) => format!("rule {rule}"),
        (name, _) => name.to_owned(),
    }
}

/// `/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews` as `virtual-service/reviews.default`.
pub fn made_by(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [.., "namespaces", namespace, kind, name] => format!("{kind}/{name}.{namespace}"),
        [""] => "-".into(),
        _ => path.to_owned(),
    }
}

/// What somebody outside chose is shown without doing anything to the terminal.
pub fn harmless(text: &str) -> String {
    let harmless = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_not_rounded_away() {
        assert_eq!(percent(1.0), "100%");
        assert_eq!(percent(0.999_999), "99.99%");
        assert_eq!(percent(0.0), "0.00%");
    }

    #[test]
    fn figures_keep_their_width() {
        let ms = |ms| latency(Duration::from_micros(ms));
        assert_eq!([ms(120), ms(42_000), ms(1_500_000)], ["0.1ms", "42ms", "1.5s"]);
        assert_eq!([ms(9_960), ms(999_600), rate(999.96)], ["10ms", "1.0s", "1000"]);
        assert_eq!(
            [rate(0.04), rate(999.9), rate(12_345.6)],
            ["0.0", "999.9", "12346"]
        );
        assert_eq!(
            [bytes(999.0), bytes(2048.0), bytes(5e6), bytes(1e13)],
            ["999B", "2.0KiB", "4.8MiB", "9.1TiB"]
        );
    }

    #[test]
    fn names_are_short() {
        assert_eq!(service("reviews.default.svc.cluster.local"), "reviews.default");
        assert_eq!(service("httpbin.org"), "httpbin.org");
        assert_eq!(identity("spiffe://cluster.local/ns/a/sa/b"), "a/b");
        assert_eq!(identity("spiffe://else"), "spiffe://else");
        let path = "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews";
        assert_eq!(made_by(path), "virtual-service/reviews.default");
        assert_eq!(made_by(""), "-");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(harmless("/\u{1b}[2J\n"), "/\u{fffd}[2J\u{fffd}");
    }
}
