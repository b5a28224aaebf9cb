//! WorkloadGroup.

use super::{Check, workload_entry};
use crate::codes::Code;
use crate::kinds::workload_group::{Probe, WorkloadGroupSpec};

pub(super) fn check(check: &mut Check<'_>, spec: &WorkloadGroupSpec) {
    if spec.template.address.is_some() {
        check.error(
            Code::BadCombination,
            "spec.template.address",
            "a template with an address would be one workload",
            "leave it out: each workload has its own",
        );
    }
    workload_entry::parts(check, "spec.template", &spec.template);
    if let Some(probe) = &spec.probe {
        self::probe(check, probe);
    }
    check.warning(
        Code::NoEffect,
        "spec",
        "a WorkloadGroup has no effect: workloads register by themselves, with labels and ports of their own",
        "give them at the start: leno run --label KEY=VALUE --port PORT",
    );
}

fn probe(check: &mut Check<'_>, probe: &Probe) {
    let ways = [
        ("httpGet", probe.http_get.is_some()),
        ("tcpSocket", probe.tcp_socket.is_some()),
        ("exec", probe.exec.is_some()),
        ("grpc", probe.grpc.is_some()),
    ];
    check.one_of("spec.probe", &ways);
    let counts = [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ];
    for (field, value) in counts {
        if let Some(value) = value {
            check.range(format!("spec.probe.{field}"), value, 0..=i64::from(i32::MAX));
        }
    }
    if let Some(get) = &probe.http_get {
        check.port("spec.probe.httpGet.port", get.port);
        for (i, header) in get.http_headers.iter().enumerate() {
            let at = format!("spec.probe.httpGet.httpHeaders[{i}]");
            // Kubernetes' own rule, which is narrower than HTTP's.
            let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            if header.name.is_empty() || !header.name.bytes().all(word) {
                let message = format!("{:?} is not a header's name", header.name);
                let hint = "use letters, digits, dashes and underscores";
                check.error(Code::BadHeader, format!("{at}.name"), message, hint);
            }
            check.header_value(format!("{at}.value"), &header.value);
        }
    }
    if let Some(socket) = &probe.tcp_socket {
        check.port("spec.probe.tcpSocket.port", socket.port);
    }
    if let Some(port) = probe.grpc.as_ref().and_then(|grpc| grpc.port) {
        check.port("spec.probe.grpc.port", port);
    }
    if probe.exec.as_ref().is_some_and(|exec| exec.command.is_empty()) {
        check.error(
            Code::Empty,
            "spec.probe.exec.command",
            "no command to be executed",
            "",
        );
    }
}
