//! What proxies tell of their policies' decisions: who may, as whom it counts, and what stands in the audit log.

use leno_proto::envoy::config::core::v3::Node;
use leno_proto::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, HttpRequestProperties, HttpResponseProperties,
};
use leno_proto::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use leno_proto::envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient;
use leno_proto::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, Identifier, LogEntries,
};
use leno_proto::type_url;
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::certificates::identity;
use crate::rig::{Proxy, Rig, node};

const WEB: &str = "spiffe://cluster.local/ns/default/sa/web";
const BANK: &str = "spiffe://cluster.local/ns/default/sa/bank";

fn denials(of: Node, log_name: &str, count: usize) -> StreamAccessLogsMessage {
    let entry = HttpAccessLogEntry {
        common_properties: Some(AccessLogCommon::default()),
        request: Some(HttpRequestProperties {
            path: "/admin\n{\"event\":\"token.created\"}".into(),
            ..Default::default()
        }),
        response: Some(HttpResponseProperties {
            response_code_details: "rbac_access_denied_matched_policy[ns[a]-policy[b]-rule[0]]".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    StreamAccessLogsMessage {
        identifier: Some(Identifier {
            node: Some(of),
            log_name: log_name.into(),
        }),
        log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries {
            log_entry: vec![entry; count],
        })),
    }
}

async fn tell(channel: Channel, message: StreamAccessLogsMessage) -> Result<(), Status> {
    let mut client = AccessLogServiceClient::new(channel);
    let told = client.stream_access_logs(tokio_stream::iter([message])).await;
    told.map(drop)
}

fn of_event<'l>(lines: &'l [Value], event: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[tokio::test]
async fn nobody_tells_of_denials_without_a_certificate() {
    let rig = Rig::start(&[]).await;
    let message = denials(node("web-1", "web", None), "leno.audit", 1);
    for channel in [rig.secure(None).await, rig.plaintext().await] {
        let refused = tell(channel, message.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    }
    let bank = identity(&rig, BANK).await;
    let other = denials(node("web-1", "web", None), "another", 1);
    let refused = tell(rig.secure(Some(bank)).await, other).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let lines = rig.audited(1).await;
    assert!(of_event(&lines, "access.denied").is_empty(), "{lines:?}");
}

#[tokio::test]
async fn a_reporter_is_who_its_certificate_says_and_tells_of_its_own_workload_only() {
    let rig = Rig::start(&[]).await;
    let web = identity(&rig, WEB).await;
    let bank = identity(&rig, BANK).await;
    let named = node("web-1", "web", Some(80));
    let mut proxy = Proxy::connect(
        rig.secure(Some(web.clone())).await,
        named.clone(),
        &[(type_url::LISTENER, "virtualInbound")],
    )
    .await;
    proxy
        .until("it has its listener", |proxy| {
            proxy.has(type_url::LISTENER, "virtualInbound")
        })
        .await;
    tell(
        rig.secure(Some(web)).await,
        denials(named.clone(), "leno.audit", 1),
    )
    .await
    .unwrap();
    // The bank's proxy says that it is the web's.
    tell(rig.secure(Some(bank)).await, denials(named, "leno.audit", 1))
        .await
        .unwrap();
    let lines = rig.audited(4).await;
    let denied = of_event(&lines, "access.denied");
    let told: Vec<(&Value, &Value)> = denied
        .iter()
        .map(|line| (&line["reporter"], &line["object"]))
        .collect();
    assert_eq!(
        told,
        [
            (&WEB.into(), &"web-1.default".into()),
            (&BANK.into(), &BANK.into())
        ]
    );
    // What a client sent is in it as it was, on one line.
    assert_eq!(denied[0]["path"], "/admin\n{\"event\":\"token.created\"}");
    assert_eq!(denied[0]["policy"], "ns[a]-policy[b]-rule[0]");
    assert!(of_event(&lines, "token.created").is_empty());
}

#[tokio::test]
async fn of_a_flood_so_much_is_written_and_the_rest_is_counted() {
    const FLOOD: usize = 5000;
    let rig = Rig::start(&[]).await;
    let web = identity(&rig, WEB).await;
    let flood = denials(node("web-1", "web", None), "leno.audit", FLOOD);
    tell(rig.secure(Some(web)).await, flood).await.unwrap();
    let mut told = 0;
    let mut lost = 0;
    let mut seen = 0;
    while told + lost < FLOOD as u64 {
        let lines = rig.audited(seen + 1).await;
        seen = lines.len();
        told = of_event(&lines, "access.denied").len() as u64;
        let counted = |event: &str, field: &str| -> u64 {
            let lines = of_event(&lines, event);
            lines.iter().filter_map(|line| line[field].as_u64()).sum()
        };
        lost = counted("access.lost", "entries") + counted("audit.lost", "lines");
        assert!(lines.len() < FLOOD, "{}", lines.len());
    }
    assert_eq!(told + lost, FLOOD as u64);
    assert!(lost > 0);
}
