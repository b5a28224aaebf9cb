//! Make before break: what refers comes after what it refers to.

use leno_proto::type_url;

/// The place of a type in a push: CDS, EDS, LDS, RDS, then the rest (which nothing refers to). Removals go in
/// the opposite order. As in "Eventual consistency considerations" of Envoy's protocol page.
pub fn push_order(type_url: &str) -> u8 {
    match type_url {
        type_url::CLUSTER => 0,
        type_url::CLUSTER_LOAD_ASSIGNMENT => 1,
        type_url::LISTENER => 2,
        type_url::ROUTE_CONFIGURATION => 3,
        type_url::VIRTUAL_HOST => 4,
        _ => 5,
    }
}
