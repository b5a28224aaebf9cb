//! DNS messages from a workload: no panic, and an answer that a resolver can read and that fits.
#![no_main]

use std::sync::LazyLock;

use hickory_proto::op::Message;
use leno_dns::{Answer, NameTable, Transport, server_failure};
use leno_proto::istio::networking::nds::v1::NameTable as Table;
use leno_proto::istio::networking::nds::v1::name_table::NameInfo;
use libfuzzer_sys::fuzz_target;

static NAMES: LazyLock<NameTable> = LazyLock::new(|| {
    let mut table = Table::default();
    for (at, name) in ["reviews", "ratings", "a.b"].into_iter().enumerate() {
        let info = NameInfo {
            ips: vec![format!("240.240.0.{at}"), format!("fd00:6c65:6e6f::{at}")],
            namespace: "default".into(),
            ..NameInfo::default()
        };
        table
            .table
            .insert(format!("{name}.default.svc.cluster.local"), info);
    }
    NameTable::in_namespace(&table, "default")
});

fuzz_target!(|message: &[u8]| {
    for (transport, most) in [(Transport::Udp, 1232), (Transport::Tcp, 65_535)] {
        if let Answer::Reply(bytes) = NAMES.answer(message, transport) {
            assert!(bytes.len() <= most);
            well_formed(message, &bytes);
        }
    }
    if let Some(bytes) = server_failure(message) {
        well_formed(message, &bytes);
    }
});

fn well_formed(asked: &[u8], bytes: &[u8]) {
    Message::from_vec(bytes).expect("an answer reads");
    assert_eq!(asked.get(..2), bytes.get(..2), "the id is the question's");
}
