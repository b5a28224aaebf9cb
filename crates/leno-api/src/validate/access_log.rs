//! Access-log formats: the command operators that a proxy of the mesh can answer.
//!
//! A format that the proxies reject would take every listener with it, so it is refused here.

/// Operators without an argument.
pub const PLAIN_OPERATORS: &[&str] = &[
    "START_TIME",
    "PROTOCOL",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_FLAGS",
    "CONNECTION_TERMINATION_DETAILS",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "DURATION",
    "REQUEST_DURATION",
    "RESPONSE_DURATION",
    "UPSTREAM_HOST",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_TLS_VERSION",
    "REQUESTED_SERVER_NAME",
    "ROUTE_NAME",
    "VIRTUAL_CLUSTER_NAME",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "CONNECTION_ID",
];

/// Operators with a header's name: `%REQ(X?Y):10%`.
pub const HEADER_OPERATORS: &[&str] = &["REQ", "RESP"];

/// The first operator that is none.
pub(super) fn unknown_operator(format: &str) -> Option<String> {
    let mut rest = format;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(escaped) = after.strip_prefix('%') {
            rest = escaped;
            continue;
        }
        let Some((operator, after)) = after.split_once('%') else {
            return Some(after.to_owned());
        };
        let (call, _) = operator
            .rsplit_once("):")
            .map_or((operator, ""), |(call, max)| (call, max));
        let known = match call.trim_end_matches(')').split_once('(') {
            Some((name, argument)) => HEADER_OPERATORS.contains(&name) && !argument.is_empty(),
            None => PLAIN_OPERATORS.contains(&call.split(':').next().unwrap_or(call)),
        };
        if !known {
            return Some(operator.to_owned());
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn istios_default_operators_are_known() {
        let line = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% 100%% %REQ(A):10%";
        assert_eq!(unknown_operator(line), None);
    }

    #[test]
    fn a_mistyped_operator_is_named() {
        assert_eq!(unknown_operator("%STRTA_TIME%"), Some("STRTA_TIME".into()));
        assert_eq!(unknown_operator("%REQ%"), Some("REQ".into()));
        assert_eq!(unknown_operator("%DURATION"), Some("DURATION".into()));
    }
}
