//! `envoy.config.metrics.v3`: what is told of the statistics, how it is named, and whom it is sent to.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use regex::Regex;

use super::Rejection;
use super::address::{self, Address};
use super::at::{At, no_effect, silent};
use super::matcher::{self, StringMatcher};
use super::pb::{metrics as pb, protobuf};

/// A default one tells all, with Envoy's tags and buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsConfig {
    /// In place of the default ones where it says so.
    pub tags: Vec<Tag>,
    pub default_tags: bool,
    pub told: Told,
    /// The first that matches a name has its buckets' upper bounds.
    pub buckets: Vec<(StringMatcher, Vec<f64>)>,
    pub sinks: Vec<Sink>,
    pub flush_every: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tag {
    pub name: String,
    pub value: TagValue,
}

#[derive(Clone)]
pub enum TagValue {
    Fixed(String),
    /// The first group is taken out of the name, the second, or else the first, is the value.
    Taken(Regex),
    /// One of Envoy's own, by its name.
    Default,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Told {
    #[default]
    All,
    None,
    Without(Vec<StringMatcher>),
    Only(Vec<StringMatcher>),
}

/// Whom statistics are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    Statsd {
        to: SocketAddr,
        /// Before each name, without the dot.
        prefix: String,
        /// With tags, as DataDog reads them.
        tags: bool,
        /// Lines are put together into a datagram of so many bytes. None: each is sent by itself.
        datagram: Option<u64>,
    },
}

/// Before names, where nothing is said.
const PREFIX: &str = "envoy";

/// As Envoy's, so that a file with many rules does not cost more than it may.
const REGEX_LIMIT: usize = 1 << 20;

// === impl StatsConfig ===

impl Default for StatsConfig {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            default_tags: true,
            told: Told::All,
            buckets: Vec::new(),
            sinks: Vec::new(),
            flush_every: Duration::from_secs(5),
        }
    }
}

impl StatsConfig {
    pub fn tells(&self, name: &str) -> bool {
        let any = |of: &[StringMatcher]| of.iter().any(|matcher| matcher.matches(name.as_bytes()));
        match &self.told {
            Told::All => true,
            Told::None => false,
            Told::Without(of) => !any(of),
            Told::Only(of) => any(of),
        }
    }

    /// Upper bounds of a histogram's buckets; None: the default ones.
    pub fn bounds(&self, name: &str) -> Option<&[f64]> {
        let found = self.buckets.iter().find(|(of, _)| of.matches(name.as_bytes()));
        found.map(|(_, bounds)| bounds.as_slice())
    }
}

// === impl TagValue ===

impl PartialEq for TagValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fixed(one), Self::Fixed(other)) => one == other,
            (Self::Taken(one), Self::Taken(other)) => one.as_str() == other.as_str(),
            (Self::Default, Self::Default) => true,
            _ => false,
        }
    }
}

impl fmt::Debug for TagValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(value) => write!(f, "Fixed({value:?})"),
            Self::Taken(regex) => write!(f, "Taken({:?})", regex.as_str()),
            Self::Default => f.write_str("Default"),
        }
    }
}

/// `stats_config`, `stats_sinks` and how often they get something.
pub(super) fn stats(
    at: &At<'_>,
    config: Option<&pb::StatsConfig>,
    sinks: &[pb::StatsSink],
    flush_interval: &Option<protobuf::Duration>,
) -> Result<StatsConfig, Rejection> {
    let empty = pb::StatsConfig::default();
    let pb::StatsConfig {
        stats_tags,
        use_all_default_tags,
        stats_matcher,
        histogram_bucket_settings,
        allow_default_tag_overrides,
    } = config.unwrap_or(&empty);
    let sinks = at.each("stats_sinks", sinks, sink)?;
    let flush_every = at.positive("stats_flush_interval", flush_interval, Duration::from_secs(5))?;
    if flush_every < Duration::from_millis(1) || flush_every > Duration::from_secs(300) {
        return Err(at.field("stats_flush_interval").reject("from 1 ms to 5 min"));
    }
    let at = at.field("stats_config");
    no_effect!(at, "a tag of stats_tags always counts before the default one of its name"; allow_default_tag_overrides);
    let default_tags = use_all_default_tags.as_ref().is_none_or(|all| all.value);
    Ok(StatsConfig {
        tags: at.each("stats_tags", stats_tags, tag)?,
        default_tags,
        told: match stats_matcher {
            None => Told::All,
            Some(told) => self::told(&at.field("stats_matcher"), told)?,
        },
        buckets: at.each("histogram_bucket_settings", histogram_bucket_settings, buckets)?,
        sinks,
        flush_every,
    })
}

fn tag(at: &At<'_>, message: &pb::TagSpecifier) -> Result<Tag, Rejection> {
    use pb::tag_specifier::TagValue as V;
    let pb::TagSpecifier { tag_name, tag_value } = message;
    at.not_empty("tag_name", tag_name)?;
    let value = match tag_value {
        None if tag_name.starts_with("envoy.") => TagValue::Default,
        None => {
            let why = "without a regex or a fixed_value it must be one of Envoy's own";
            return Err(at.field("tag_name").reject(why));
        }
        Some(V::FixedValue(value)) => TagValue::Fixed(value.clone()),
        Some(V::Regex(regex)) => {
            let built = regex::RegexBuilder::new(regex).size_limit(REGEX_LIMIT).build();
            let built = built.map_err(|error| at.field("regex").reject(error.to_string()))?;
            if built.captures_len() < 2 {
                return Err(at.field("regex").reject("it has no group"));
            }
            TagValue::Taken(built)
        }
    };
    Ok(Tag {
        name: tag_name.clone(),
        value,
    })
}

fn told(at: &At<'_>, message: &pb::StatsMatcher) -> Result<Told, Rejection> {
    use pb::stats_matcher::StatsMatcher as M;
    let pb::StatsMatcher { stats_matcher } = message;
    let list = |field: &'static str, list: &super::pb::matcher::ListStringMatcher| {
        let at = at.field(field);
        if list.patterns.is_empty() {
            return Err(at.field("patterns").reject("required"));
        }
        at.each("patterns", &list.patterns, matcher::string)
    };
    Ok(match at.required("stats_matcher", stats_matcher)? {
        M::RejectAll(true) => Told::None,
        M::RejectAll(false) => Told::All,
        M::ExclusionList(of) => Told::Without(list("exclusion_list", of)?),
        M::InclusionList(of) => Told::Only(list("inclusion_list", of)?),
    })
}

fn buckets(
    at: &At<'_>,
    message: &pb::HistogramBucketSettings,
) -> Result<(StringMatcher, Vec<f64>), Rejection> {
    let pb::HistogramBucketSettings {
        r#match: of,
        buckets,
        bins,
    } = message;
    no_effect!(at, "bins have two significant digits"; bins);
    let of = matcher::string(&at.field("match"), at.required("match", of)?)?;
    let mut bounds = buckets.clone();
    bounds.sort_by(f64::total_cmp);
    let positive = bounds.iter().all(|bound| bound.is_finite() && *bound > 0.0);
    if !positive || bounds.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(at.field("buckets").reject("must be different, and more than 0"));
    }
    Ok((of, bounds))
}

fn sink(at: &At<'_>, message: &pb::StatsSink) -> Result<Sink, Rejection> {
    use pb::stats_sink::ConfigType;
    let pb::StatsSink { name, config_type } = message;
    silent!("names are for people"; name);
    let ConfigType::TypedConfig(any) = at.required("typed_config", config_type)?;
    let at = at.field("typed_config");
    match any.type_url.rsplit_once('/').map_or("", |(_, name)| name) {
        "envoy.config.metrics.v3.StatsdSink" => {
            use pb::statsd_sink::StatsdSpecifier as S;
            let pb::StatsdSink {
                statsd_specifier,
                prefix,
            } = &at.unpack(any)?;
            let to = match at.required("statsd_specifier", statsd_specifier)? {
                S::Address(to) => udp(&at.field("address"), to)?,
                S::TcpClusterName(_) => return Err(at.field("tcp_cluster_name").reject("not supported")),
            };
            Ok(Sink::Statsd {
                to,
                prefix: self::prefix(prefix),
                tags: false,
                datagram: None,
            })
        }
        "envoy.config.metrics.v3.DogStatsdSink" => {
            use pb::dog_statsd_sink::DogStatsdSpecifier as S;
            let pb::DogStatsdSink {
                dog_statsd_specifier,
                prefix,
                max_bytes_per_datagram,
            } = &at.unpack(any)?;
            let S::Address(to) = at.required("dog_statsd_specifier", dog_statsd_specifier)?;
            let datagram = max_bytes_per_datagram.as_ref().map(|most| most.value);
            if datagram == Some(0) {
                return Err(at.field("max_bytes_per_datagram").reject("must be more than 0"));
            }
            Ok(Sink::Statsd {
                to: udp(&at.field("address"), to)?,
                prefix: self::prefix(prefix),
                tags: true,
                datagram,
            })
        }
        _ => Err(at.unknown_extension(any)),
    }
}

fn prefix(said: &str) -> String {
    if said.is_empty() { PREFIX } else { said }.to_owned()
}

fn udp(at: &At<'_>, message: &super::pb::core::Address) -> Result<SocketAddr, Rejection> {
    // What is sent there is datagrams, whatever protocol the address says.
    match address::address(at, &datagrams(message))? {
        Address::Socket(to) => Ok(to),
        _ => Err(at.reject("a socket_address is needed")),
    }
}

/// The same, as the address that it is.
fn datagrams(message: &super::pb::core::Address) -> super::pb::core::Address {
    use super::pb::core::{address, socket_address};
    let mut message = message.clone();
    if let Some(address::Address::SocketAddress(socket)) = &mut message.address {
        socket.protocol = socket_address::Protocol::Tcp.into();
    }
    message
}
