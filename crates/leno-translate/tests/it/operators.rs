//! What `accessLogFormat` may name is what the proxies' engine parses.

use leno_api::validate::access_log::{HEADER_OPERATORS, PLAIN_OPERATORS};
use leno_engine::compile::access_log::Format;

#[test]
fn every_operator_that_validation_knows_is_one_of_the_engines() {
    let plain = PLAIN_OPERATORS.iter().map(|name| format!("%{name}%"));
    let headers = HEADER_OPERATORS
        .iter()
        .map(|name| format!("%{name}(X-A?X-B):10%"));
    for format in plain.chain(headers) {
        assert!(
            Format::parse(&format).is_ok(),
            "{format}: {:?}",
            Format::parse(&format)
        );
    }
}
