//! RequestAuthentications as Envoy's JWT filter, in the shape that istiod gives it.
//!
//! Keys are always in the filter, also those that the control plane fetched: a proxy that starts while a key server is
//! away has them with its configuration, and what happens to one issuer's server is nothing to the others.

use std::collections::HashMap;
use std::sync::Arc;

use leno_model::{JwtRule, Keys, Labels, Origin};
use leno_proto::ToAny;

use crate::Proxy;
use crate::claims::{JWT, PAYLOAD};
use crate::parts::string;
use crate::pb::{core, hcm, jwt_authn as jwt, protobuf, route};
use crate::reader::Reader;

/// Claims that are lists with spaces between their items, to everybody (RFC 8693 §4.2).
const DIVIDED: [&str; 2] = ["permission", "scope"];

/// A key of P-256 to which nobody has the private half: its x is the SHA-256 of `leno: nobody has this key 0`, a hash
/// that happens to be a point's. A set of keys must not be empty, or a proxy refuses the listener with it.
const NOBODY: &str = r#"{"kty":"EC","crv":"P-256","kid":"nobody","alg":"ES256","x":"hqnTWCEDHeqCtb6CiPAxD3L8UQ6ieT8Q3q6e97oxSQs","y":"c-MuDXKYRvbaquPJIs9xRmqPAp960vZK3T-GVDdHoBI"}"#;

/// Whose tokens a proxy takes; without any rule tokens are nothing to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct AuthenticationInput {
    rules: Vec<Rule>,
    /// Where a route depends on claims, it is chosen when they are known.
    reroutes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rule {
    /// Of its provider.
    name: String,
    rule: JwtRule,
    /// None: none are known.
    keys: Option<Arc<str>>,
    /// Told to leno's proxies, for people.
    place: Option<String>,
}

/// What a proxy holds tokens to. `gateways`: those it serves at this place.
pub(crate) fn authentication_input(
    reader: &mut Reader<'_>,
    proxy: &Proxy,
    labels: &Labels,
    gateways: &[&Origin],
) -> AuthenticationInput {
    let policies = reader.authentication(proxy, labels, gateways);
    let each = policies.iter().flat_map(|policy| {
        let rules = policy.rules.iter().enumerate();
        rules.map(move |(i, rule)| (policy, i, rule))
    });
    let mut each: Vec<_> = each.collect();
    // As istiod.
    each.sort_by(|(_, _, a), (_, _, b)| a.issuer.cmp(&b.issuer));
    let rules = each.into_iter().enumerate().map(|(at, (policy, i, rule))| {
        let keys = match &rule.keys {
            Keys::Inline(keys) => Some(keys.clone()),
            Keys::Fetched(source, _) => reader.keys(source).cloned(),
        };
        // A rule that has only moved in its file is no news to Envoy.
        let place = proxy
            .on_demand
            .then(|| format!("{} ({})", policy.origin, rule.place));
        Rule {
            name: match place.is_some() {
                true => policy.rule_name(i),
                false => format!("origins-{at}"),
            },
            rule: JwtRule {
                place: Arc::from(""),
                ..rule.clone()
            },
            keys,
            place,
        }
    });
    AuthenticationInput {
        rules: rules.collect(),
        reroutes: !gateways.is_empty(),
    }
}

impl AuthenticationInput {
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn http_filter(&self) -> Option<hcm::HttpFilter> {
        if self.rules.is_empty() {
            return None;
        }
        let message = jwt::JwtAuthentication {
            rules: vec![jwt::RequirementRule {
                r#match: Some(route::RouteMatch {
                    path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
                    ..Default::default()
                }),
                requirement_type: Some(jwt::requirement_rule::RequirementType::Requires(
                    self.requirement(),
                )),
            }],
            bypass_cors_preflight: true,
            ..Default::default()
        };
        let mut config = message.to_any();
        // In their order: what a map would be written in changes from time to time, and a proxy would take the same
        // rules for others. Messages one after the other are one message to protobuf.
        for rule in &self.rules {
            let provider = (rule.name.clone(), self.provider(rule));
            let one = jwt::JwtAuthentication {
                providers: [provider].into(),
                ..Default::default()
            };
            config.value.extend(one.to_any().value);
        }
        Some(hcm::HttpFilter {
            name: JWT.into(),
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
            ..Default::default()
        })
    }

    /// Where each rule is written, by the name of its provider.
    pub(crate) fn places(&self) -> Option<HashMap<String, protobuf::Value>> {
        let told = self.rules.iter();
        let told = told.filter_map(|rule| Some((rule.name.clone(), string(rule.place.as_ref()?))));
        let places: HashMap<_, _> = told.collect();
        (!places.is_empty()).then_some(places)
    }

    /// A token of one rule is enough. Without any, those that are there have to be good; where a rule demands a token,
    /// one such has to be there.
    fn requirement(&self) -> jwt::JwtRequirement {
        use jwt::jwt_requirement::RequiresType as R;
        let provider = |rule: &Rule| requirement(R::ProviderName(rule.name.clone()));
        let demanded: Vec<_> = self
            .rules
            .iter()
            .filter(|rule| rule.rule.required)
            .map(provider)
            .collect();
        if !demanded.is_empty() {
            return any(demanded);
        }
        let missing = || requirement(R::AllowMissing(protobuf::Empty::default()));
        let optional = |rule: &Rule| any(vec![provider(rule), missing()]);
        match self.rules.as_slice() {
            [only] => optional(only),
            several => {
                let requirements = several.iter().map(optional).collect();
                let all = requirement(R::RequiresAll(jwt::JwtRequirementAndList { requirements }));
                any(several.iter().map(provider).chain([all]).collect())
            }
        }
    }

    fn provider(&self, rule: &Rule) -> jwt::JwtProvider {
        let said = &rule.rule;
        let mut divided: Vec<String> = said.divided_claims.clone();
        divided.extend(DIVIDED.map(str::to_owned));
        divided.sort_unstable();
        divided.dedup();
        let header = |(name, prefix): &(String, String)| jwt::JwtHeader {
            name: name.clone(),
            value_prefix: prefix.clone(),
        };
        let claim = |(header, claim): &(String, String)| jwt::JwtClaimToHeader {
            header_name: header.clone(),
            claim_name: claim.clone(),
            ..Default::default()
        };
        let keys = core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(key_set(
                rule.keys.as_deref(),
            ))),
            ..Default::default()
        };
        jwt::JwtProvider {
            issuer: said.issuer.clone(),
            audiences: said.audiences.clone(),
            jwks_source_specifier: Some(jwt::jwt_provider::JwksSourceSpecifier::LocalJwks(keys)),
            forward: said.forward,
            forward_payload_header: said.payload_header.clone().unwrap_or_default(),
            from_headers: said.from_headers.iter().map(header).collect(),
            from_params: said.from_params.clone(),
            from_cookies: said.from_cookies.clone(),
            claim_to_headers: said.claim_headers.iter().map(claim).collect(),
            payload_in_metadata: PAYLOAD.into(),
            normalize_payload_in_metadata: Some(jwt::jwt_provider::NormalizePayload {
                space_delimited_claims: divided,
            }),
            clear_route_cache: self.reroutes,
            ..Default::default()
        }
    }
}

/// Two filters' places in one map.
pub(crate) fn all_places(
    one: Option<HashMap<String, protobuf::Value>>,
    other: Option<HashMap<String, protobuf::Value>>,
) -> Option<HashMap<String, protobuf::Value>> {
    match (one, other) {
        (Some(mut one), Some(other)) => {
            one.extend(other);
            Some(one)
        }
        (one, other) => one.or(other),
    }
}

fn requirement(requires: jwt::jwt_requirement::RequiresType) -> jwt::JwtRequirement {
    jwt::JwtRequirement {
        requires_type: Some(requires),
    }
}

fn any(mut requirements: Vec<jwt::JwtRequirement>) -> jwt::JwtRequirement {
    if requirements.len() == 1
        && let Some(only) = requirements.pop()
    {
        return only;
    }
    requirement(jwt::jwt_requirement::RequiresType::RequiresAny(
        jwt::JwtRequirementOrList { requirements },
    ))
}

/// A set that every proxy accepts. Of a point nobody knows here whether it is on its curve, so that a set of such alone
/// gets a key that is sound.
fn key_set(keys: Option<&str>) -> String {
    match keys.and_then(|keys| keys.strip_suffix("]}")) {
        None => format!(r#"{{"keys":[{NOBODY}]}}"#),
        Some(open)
            if ["RSA", "OKP", "oct"]
                .iter()
                .any(|kind| open.contains(&format!(r#""kty":"{kind}""#))) =>
        {
            format!("{open}]}}")
        }
        Some(open) => format!("{open},{NOBODY}]}}"),
    }
}
