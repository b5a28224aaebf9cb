//! PeerAuthentication.

use super::Check;
use crate::codes::Code;
use crate::kinds::peer_authentication::PeerAuthenticationSpec;

pub(super) fn check(check: &mut Check<'_>, spec: &PeerAuthenticationSpec) {
    let Some(ports) = &spec.port_level_mtls else {
        return;
    };
    if ports.is_empty() {
        check.error(
            Code::Empty,
            "spec.portLevelMtls",
            "portLevelMtls without a port",
            "name a port, or leave it out",
        );
    }
    let selects = spec
        .selector
        .as_ref()
        .is_some_and(|selector| !selector.match_labels.is_empty());
    if !selects {
        let hint = "add spec.selector.matchLabels";
        check.error(
            Code::BadCombination,
            "spec.portLevelMtls",
            "portLevelMtls needs a selector",
            hint,
        );
    }
    for port in ports.keys() {
        check.port(format!("spec.portLevelMtls.{}", port.0), i64::from(port.0));
    }
}
