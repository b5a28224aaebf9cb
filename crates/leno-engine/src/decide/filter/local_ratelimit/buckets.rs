//! The buckets of one limit: the default one, one a descriptor, and those that come into being with the values that
//! requests bring.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use smallvec::SmallVec;

use crate::compile::Rejection;
use crate::compile::at::{At, no_effect};
use crate::compile::pb::{local_ratelimit as pb, ratelimit};
use crate::compile::rate_limit::RateLimit;
use crate::compile::token_bucket::{self, BucketSize};
use crate::decide::bucket::TokenBucket;
use crate::decide::rate_limit::{Counted, Entries};

/// As many values of a descriptor are kept as Envoy keeps.
const MOST_VALUES: usize = 20;

#[derive(Debug)]
pub(crate) struct Buckets {
    default: Option<Arc<TokenBucket>>,
    /// Also where a descriptor matches.
    always_default: bool,
    described: Vec<Described>,
}

#[derive(Debug)]
struct Described {
    /// An empty value stands for every value.
    entries: Vec<(String, String)>,
    /// What is more is not refused.
    shadow: bool,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    One(Arc<TokenBucket>),
    /// One for each combination of values, at most so many, the last used at the end. The lock is held to find one.
    Each {
        size: BucketSize,
        most: usize,
        buckets: Mutex<Vec<(Values, Arc<TokenBucket>)>>,
    },
}

type Values = SmallVec<[Box<[u8]>; 2]>;

/// What becomes of a request.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) allowed: bool,
    /// The bucket that refused it, or else the slowest of those that let it pass.
    pub(super) bucket: Option<Arc<TokenBucket>>,
    /// A descriptor that only tries would have refused it.
    pub(super) shadowed: bool,
    /// What its descriptor says of telling the client.
    pub(super) tell: Option<bool>,
}

/// None: there are no buckets.
pub(super) fn buckets(at: &At<'_>, message: &pb::LocalRateLimit) -> Result<Option<Buckets>, Rejection> {
    let default = match &message.token_bucket {
        None => None,
        Some(bucket) => Some(token_bucket::token_bucket(&at.field("token_bucket"), bucket)?),
    };
    let most = match &message.max_dynamic_descriptors {
        None => MOST_VALUES,
        Some(most) => most.value as usize,
    };
    let described = at.each("descriptors", &message.descriptors, |at, one| {
        self::described(at, one, most)
    })?;
    for (i, one) in described.iter().enumerate() {
        if described[..i].iter().any(|other| other.entries == one.entries) {
            return Err(at.item("descriptors", i).reject("it is there already"));
        }
    }
    if !described.iter().any(|one| matches!(one.kept, Kept::Each { .. })) {
        let max_dynamic_descriptors = &message.max_dynamic_descriptors;
        no_effect!(at, "no descriptor is of any value"; max_dynamic_descriptors);
    }
    if default.is_none() && described.is_empty() {
        return Ok(None);
    }
    let always = message.always_consume_default_token_bucket.as_ref();
    Ok(Some(Buckets {
        default: default.map(Arc::new),
        always_default: always.is_none_or(|always| always.value),
        described,
    }))
}

fn described(
    at: &At<'_>,
    message: &ratelimit::LocalRateLimitDescriptor,
    most: usize,
) -> Result<Described, Rejection> {
    let ratelimit::LocalRateLimitDescriptor {
        entries,
        token_bucket,
        shadow_mode,
    } = message;
    if entries.is_empty() {
        return Err(at.field("entries").reject("required"));
    }
    let entries = at.each("entries", entries, |at, entry| {
        let ratelimit::rate_limit_descriptor::Entry { key, value } = entry;
        at.not_empty("key", key)?;
        Ok((key.clone(), value.clone()))
    })?;
    let size = token_bucket::size(
        &at.field("token_bucket"),
        at.required("token_bucket", token_bucket)?,
    )?;
    Ok(Described {
        kept: match entries.iter().any(|(_, value)| value.is_empty()) {
            false => Kept::One(Arc::new(size.bucket())),
            true => Kept::Each {
                size,
                most: most.max(1),
                buckets: Mutex::default(),
            },
        },
        entries,
        shadow: *shadow_mode,
    })
}

// === impl Buckets ===

impl Buckets {
    /// The same buckets once more, all of them full.
    pub(super) fn anew(&self) -> Self {
        Self {
            default: self.default.as_ref().map(|bucket| Arc::new(bucket.anew())),
            always_default: self.always_default,
            described: self.described.iter().map(Described::anew).collect(),
        }
    }

    pub(super) fn has_descriptors(&self) -> bool {
        !self.described.is_empty()
    }

    /// Takes what a request costs: of the bucket of each of its descriptors, the slowest first, then of the default one.
    pub(super) fn take<'l>(
        &self,
        limits: impl Iterator<Item = &'l RateLimit>,
        request: &Counted<'_>,
        now: Instant,
    ) -> Taken {
        let mut matched: SmallVec<[(&Described, Arc<TokenBucket>, &RateLimit); 4]> = limits
            .filter_map(|limit| {
                let (described, bucket) = self.find(&limit.entries(request)?)?;
                Some((described, bucket, limit))
            })
            .collect();
        matched.sort_by_key(|(_, bucket, _)| std::cmp::Reverse(bucket.pace()));
        let mut shadowed = false;
        for (described, bucket, limit) in &matched {
            if bucket.take_some(limit.hits, now) {
                continue;
            }
            if described.shadow {
                shadowed = true;
            } else {
                return Taken {
                    allowed: false,
                    shadowed,
                    bucket: Some(Arc::clone(bucket)),
                    tell: limit.tell,
                };
            }
        }
        let slowest = matched.first();
        let refused = match &self.default {
            Some(default) if slowest.is_none() || self.always_default => !default.take(now),
            _ => false,
        };
        let slowest = slowest.filter(|_| !refused);
        Taken {
            allowed: !refused,
            shadowed,
            bucket: match slowest {
                Some((_, bucket, _)) => Some(Arc::clone(bucket)),
                None => self.default.clone(),
            },
            tell: slowest.and_then(|(_, _, limit)| limit.tell),
        }
    }

    /// What is said of these very values goes before what is said of any.
    fn find(&self, entries: &Entries<'_>) -> Option<(&Described, Arc<TokenBucket>)> {
        let of = |described: &&Described| described.matches(entries);
        let exact = |described: &&Described| matches!(described.kept, Kept::One(_)) && of(described);
        let found = self.described.iter().find(exact);
        let described = found.or_else(|| self.described.iter().find(of))?;
        Some((described, described.bucket(entries)))
    }
}

// === impl Described ===

impl Described {
    fn anew(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            shadow: self.shadow,
            kept: match &self.kept {
                Kept::One(bucket) => Kept::One(Arc::new(bucket.anew())),
                Kept::Each { size, most, .. } => Kept::Each {
                    size: *size,
                    most: *most,
                    buckets: Mutex::default(),
                },
            },
        }
    }

    fn matches(&self, entries: &Entries<'_>) -> bool {
        let mut both = self.entries.iter().zip(entries);
        self.entries.len() == entries.len()
            && both.all(|((key, value), (of_request, said))| {
                key == of_request && (value.is_empty() || value.as_bytes() == said.as_ref())
            })
    }

    fn bucket(&self, entries: &Entries<'_>) -> Arc<TokenBucket> {
        let (size, most, buckets) = match &self.kept {
            Kept::One(bucket) => return Arc::clone(bucket),
            Kept::Each { size, most, buckets } => (size, *most, buckets),
        };
        let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let is = |(values, _): &(Values, _)| {
            let said = entries.iter().map(|(_, value)| value.as_ref());
            values.iter().map(AsRef::as_ref).eq(said)
        };
        let one = match buckets.iter().rposition(is) {
            Some(at) => buckets.remove(at),
            None => {
                if buckets.len() >= most {
                    buckets.remove(0);
                }
                let values = entries.iter().map(|(_, value)| value.as_ref().into());
                (values.collect(), Arc::new(size.bucket()))
            }
        };
        let bucket = Arc::clone(&one.1);
        buckets.push(one);
        bucket
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::compile::rate_limit::Action;
    use crate::message::{Headers, RequestHead, Version};

    fn request(user: &str) -> RequestHead {
        let mut headers = Headers::default();
        headers.append("x-user", user);
        RequestHead {
            version: Version::Http11,
            method: Bytes::from_static(b"GET"),
            scheme: Bytes::from_static(b"http"),
            authority: Bytes::from_static(b"a.example"),
            path: Bytes::from_static(b"/"),
            headers,
            upgrade: None,
        }
    }

    #[test]
    fn of_any_value_the_last_used_are_kept() {
        let size = BucketSize {
            most: 1,
            fill: 1,
            interval: Duration::from_secs(60),
        };
        let buckets = Buckets {
            default: None,
            always_default: true,
            described: vec![Described {
                entries: vec![("user".into(), String::new())],
                shadow: false,
                kept: Kept::Each {
                    size,
                    most: 2,
                    buckets: Mutex::default(),
                },
            }],
        };
        let limit = RateLimit {
            stage: 0,
            actions: vec![Action::Header {
                name: "x-user".into(),
                key: "user".into(),
                skip: false,
            }],
            hits: 1,
            tell: None,
        };
        let now = Instant::now();
        let take = |user| {
            let head = request(user);
            let request = Counted {
                head: &head,
                cluster: None,
                remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
            };
            buckets.take([&limit].into_iter(), &request, now).allowed
        };
        assert_eq!(
            ["a", "a", "b", "b", "a"].map(take),
            [true, false, true, false, false]
        );
        // `c` takes the place of `b`, which was not asked for as long; `b` then begins anew.
        assert_eq!(["c", "a", "b"].map(take), [true, false, true]);
    }
}
