//! Service: ports, names, types.

use super::{Check, names};
use crate::codes::Code;
use crate::kinds::service::{ServiceSpec, ServiceType, Transport};
use crate::quantity::IntOrString;

/// Whom the service is for: namespaces with commas between them.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

pub(super) fn check(check: &mut Check<'_>, spec: &ServiceSpec) {
    external_name(check, spec);
    if let Some(said) = check.object.annotations.get(EXPORT_TO) {
        let words: Vec<String> = said.split(',').map(|word| word.trim().to_owned()).collect();
        check.export_to("metadata.annotations", &words, true);
    }
    if !names::is_label(&check.object.key.name) {
        let message = format!("{:?} is no name for a service", check.object.key.name);
        check.error(
            Code::BadName,
            "metadata.name",
            message,
            "use lower-case letters, digits and dashes",
        );
    }
    if spec.ports.is_empty() && spec.kind == Some(ServiceType::ExternalName) {
        check.not_served("spec.type", "a Service of type ExternalName without ports");
    } else if spec.ports.is_empty() {
        check.error(
            Code::Empty,
            "spec",
            "a service needs at least one port",
            "add spec.ports",
        );
    }
    for (i, port) in spec.ports.iter().enumerate() {
        let at = format!("spec.ports[{i}]");
        check.port(format!("{at}.port"), port.port);
        if port.name.is_empty() && spec.ports.len() > 1 {
            check.error(
                Code::MissingField,
                &at,
                "with several ports each needs a name",
                "add name",
            );
        } else if !port.name.is_empty() && !names::is_port_name(&port.name) {
            let message = format!("{:?} is no name for a port", port.name);
            check.error(
                Code::BadName,
                format!("{at}.name"),
                message,
                "use lower-case letters, digits and dashes",
            );
        }
        if port.protocol == Some(Transport::Sctp) {
            check.not_served(format!("{at}.protocol"), "SCTP");
        }
        match &port.target_port {
            Some(IntOrString::Int(number)) => check.port(format!("{at}.targetPort"), *number),
            Some(IntOrString::Text(name)) if !names::is_port_name(name) => {
                let message = format!("{name:?} is neither a port nor a port's name");
                check.error(Code::BadName, format!("{at}.targetPort"), message, "");
            }
            _ => {}
        }
    }
    let named = spec
        .ports
        .iter()
        .enumerate()
        .filter(|(_, port)| !port.name.is_empty());
    check.distinct(
        "port name",
        named.map(|(i, port)| (format!("spec.ports[{i}].name"), port.name.as_str())),
    );
    let numbers: Vec<String> = spec
        .ports
        .iter()
        .map(|p| format!("{}/{:?}", p.port, p.protocol.unwrap_or(Transport::Tcp)))
        .collect();
    let numbers = numbers
        .iter()
        .enumerate()
        .map(|(i, number)| (format!("spec.ports[{i}].port"), number.as_str()));
    check.distinct("port", numbers);
}

fn external_name(check: &mut Check<'_>, spec: &ServiceSpec) {
    match (spec.kind == Some(ServiceType::ExternalName), &spec.external_name) {
        (true, None) => check.error(
            Code::MissingField,
            "spec",
            "type ExternalName without externalName",
            "add externalName",
        ),
        (true, Some(name)) => {
            check.host("spec.externalName", name);
            if !spec.selector.is_empty() {
                check.warning(
                    Code::NoEffect,
                    "spec.selector",
                    "behind an ExternalName there is the name, and no workload",
                    "leave it out",
                );
            }
        }
        (false, Some(_)) => check.warning(
            Code::NoEffect,
            "spec.externalName",
            "externalName is for type ExternalName",
            "leave it out, or change the type",
        ),
        (false, None) => {}
    }
}
