//! Messages of `xds.type.matcher.v3` that `envoy-types` has not; their files are in `proto/xds/type/matcher/v3`.

use envoy_types::pb::xds::core::v3::CidrRange;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::OnMatch;
use envoy_types::pb::xds::r#type::v3::CelExpression;
use prost::{Message, Name};

/// Holds where the expression is true.
#[derive(Clone, PartialEq, Message)]
pub struct CelMatcher {
    #[prost(message, optional, tag = "1")]
    pub expr_match: Option<CelExpression>,
    #[prost(string, tag = "2")]
    pub description: String,
}

/// What expressions know of a request.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct HttpAttributesCelMatchInput {}

/// A branch of a matcher tree, by addresses.
#[derive(Clone, PartialEq, Message)]
pub struct IpMatcher {
    #[prost(message, repeated, tag = "1")]
    pub range_matchers: Vec<IpRangeMatcher>,
}

#[derive(Clone, PartialEq, Message)]
pub struct IpRangeMatcher {
    #[prost(message, repeated, tag = "1")]
    pub ranges: Vec<CidrRange>,
    #[prost(message, optional, tag = "2")]
    pub on_match: Option<OnMatch>,
    #[prost(bool, tag = "3")]
    pub exclusive: bool,
}

macro_rules! named {
    ($($message:ty: $name:literal),* $(,)?) => {$(
        impl Name for $message {
            const NAME: &'static str = $name;
            const PACKAGE: &'static str = "xds.type.matcher.v3";

            fn full_name() -> String {
                concat!("xds.type.matcher.v3.", $name).into()
            }

            fn type_url() -> String {
                concat!("type.googleapis.com/xds.type.matcher.v3.", $name).into()
            }
        }
    )*};
}

named!(
    CelMatcher: "CelMatcher",
    HttpAttributesCelMatchInput: "HttpAttributesCelMatchInput",
    IpMatcher: "IPMatcher",
    IpRangeMatcher: "IPMatcher.IPRangeMatcher",
);
