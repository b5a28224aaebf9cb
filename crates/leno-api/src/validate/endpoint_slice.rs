//! EndpointSlice.

use std::net::IpAddr;

use super::Check;
use crate::codes::Code;
use crate::kinds::endpoint_slice::{AddressType, EndpointSliceSpec, SERVICE};

pub(super) fn check(check: &mut Check<'_>, spec: &EndpointSliceSpec) {
    if !check.object.labels.contains_key(SERVICE) {
        check.warning(
            Code::NoEffect,
            "metadata.labels",
            "the EndpointSlice is of no Service",
            format!("add the label {SERVICE}: NAME"),
        );
    }
    if spec.address_type == AddressType::Fqdn {
        return check.warning(
            Code::NoEffect,
            "spec.addressType",
            "names are no endpoints of a Service, as in Istio",
            "use a ServiceEntry of resolution: DNS",
        );
    }
    for (i, endpoint) in spec.endpoints.iter().enumerate() {
        if endpoint.addresses.is_empty() {
            check.error(
                Code::Empty,
                format!("spec.endpoints[{i}].addresses"),
                "an endpoint without address",
                "add one",
            );
        }
        for (at, address) in endpoint.addresses.iter().enumerate() {
            let fits = match address.parse() {
                Ok(IpAddr::V4(_)) => spec.address_type == AddressType::IPv4,
                Ok(IpAddr::V6(_)) => spec.address_type == AddressType::IPv6,
                Err(_) => false,
            };
            if !fits {
                let message = format!("{address:?} is no address of the type that addressType says");
                check.error(
                    Code::BadAddress,
                    format!("spec.endpoints[{i}].addresses[{at}]"),
                    message,
                    "",
                );
            }
        }
    }
    for (i, port) in spec.ports.iter().enumerate() {
        if let Some(number) = port.port {
            check.port(format!("spec.ports[{i}].port"), number);
        }
    }
}
