//! `happy_eyeballs_config`: which of an endpoint's addresses are tried first.

use std::net::SocketAddr;

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::pb::cluster as pb;

/// RFC 8305 §4: the two families take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressOrder {
    /// None: that of the first address.
    first_is_v6: Option<bool>,
    /// So many of the first family, before one of the other.
    count: usize,
}

impl Default for AddressOrder {
    fn default() -> Self {
        Self {
            first_is_v6: None,
            count: 1,
        }
    }
}

impl AddressOrder {
    pub fn sort(&self, first: SocketAddr, others: &[SocketAddr]) -> Vec<SocketAddr> {
        let is_v6 = self.first_is_v6.unwrap_or(first.is_ipv6());
        let all = || std::iter::once(first).chain(others.iter().copied());
        let mut preferred = all().filter(|address| address.is_ipv6() == is_v6);
        let mut rest = all().filter(|address| address.is_ipv6() != is_v6);
        let mut sorted = Vec::with_capacity(1 + others.len());
        while sorted.len() <= others.len() {
            sorted.extend(preferred.by_ref().take(self.count));
            sorted.extend(rest.next());
        }
        sorted
    }
}

pub(super) fn order(
    at: &At<'_>,
    message: &pb::upstream_connection_options::HappyEyeballsConfig,
) -> Result<AddressOrder, Rejection> {
    use pb::upstream_connection_options::{FirstAddressFamilyVersion as Family, HappyEyeballsConfig};
    let HappyEyeballsConfig {
        first_address_family_version,
        first_address_family_count,
    } = message;
    let count = first_address_family_count.as_ref().map_or(1, |count| count.value);
    if count == 0 {
        return Err(at
            .field("first_address_family_count")
            .reject("must be more than 0"));
    }
    let family = at.choice("first_address_family_version", *first_address_family_version)?;
    Ok(AddressOrder {
        first_is_v6: match family {
            Family::Default => None,
            Family::V4 => Some(false),
            Family::V6 => Some(true),
            Family::Pipe | Family::Internal => {
                return Err(at
                    .field("first_address_family_version")
                    .reject("endpoints have several addresses of IP only"));
            }
        },
        count: count as usize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(first_is_v6: Option<bool>, count: usize, text: &str) -> String {
        let all: Vec<SocketAddr> = text
            .split(' ')
            .map(|name| match name.as_bytes() {
                [b'v', port] => SocketAddr::from(([127, 0, 0, 1], u16::from(*port))),
                [_, port] => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], u16::from(*port))),
                _ => panic!("{name}"),
            })
            .collect();
        let sorted = AddressOrder { first_is_v6, count }.sort(all[0], &all[1..]);
        let name = |address: &SocketAddr| {
            let family = if address.is_ipv6() { 's' } else { 'v' };
            format!("{family}{}", char::from(address.port() as u8))
        };
        sorted.iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn families_take_turns() {
        assert_eq!(sorted(None, 1, "v1 v2 v3 s1 s2"), "v1 s1 v2 s2 v3");
        assert_eq!(sorted(Some(true), 1, "v1 v2 s1"), "s1 v1 v2");
        assert_eq!(sorted(None, 2, "s1 v1 s2 s3"), "s1 s2 v1 s3");
        assert_eq!(sorted(Some(true), 3, "v1 v2"), "v1 v2");
    }
}
