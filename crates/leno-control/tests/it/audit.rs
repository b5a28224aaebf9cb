//! Who has done what, when: the audit log.

use leno_proto::control::{CreateTokenRequest, RevokeTokenRequest};
use serde_json::Value;

use crate::certificates::identity;
use crate::rig::Rig;

const WEB: &str = "spiffe://cluster.local/ns/default/sa/web";
const STRICT: &str = "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
";

fn summary(line: &Value) -> String {
    let text = |field: &str| line[field].as_str().unwrap().to_owned();
    assert!(text("time").ends_with('Z'), "{line}");
    // Files are named with their directory.
    let actor = text("actor");
    let actor = actor
        .rsplit_once("/config/")
        .map_or(actor.as_str(), |(_, file)| file);
    format!("{} {actor} {}", text("event"), text("object"))
}

#[tokio::test]
async fn joins_tokens_refusals_and_changes_of_the_configuration_are_told() {
    let rig = Rig::start(&[("policy.yaml", STRICT)]).await;
    let mut mesh = rig.mesh().await;
    let made = mesh
        .create_token(CreateTokenRequest {
            namespace: "shop".into(),
            service_account: "web".into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let token = made.token.unwrap().id;
    mesh.revoke_token(RevokeTokenRequest { id: token.clone() })
        .await
        .unwrap();
    identity(&rig, WEB).await;
    assert!(
        crate::certificates::refused(&rig, WEB, &made.text)
            .await
            .contains("not known here")
    );

    let told = rig.audited(5).await;
    let summaries: Vec<String> = told.iter().map(summary).collect();
    let local = told[3]["actor"].as_str().unwrap().to_owned();
    assert!(local.starts_with("token "), "{local}");
    assert_eq!(
        summaries,
        [
            "configuration.added policy.yaml PeerAuthentication default/default".to_owned(),
            format!("token.created operator {token}"),
            format!("token.revoked operator {token}"),
            format!("workload.joined {local} {WEB}"),
            format!("certificate.refused 127.0.0.1 {WEB}"),
        ]
    );
    assert_eq!(told[1]["identities"], "ns/shop/sa/web");
    assert!(
        told[3]["serial"].is_string() && told[3]["expires"].is_string(),
        "{}",
        told[3]
    );
    let all = told.iter().map(Value::to_string).collect::<String>();
    assert!(!all.contains(&made.text), "no secret is in it");

    // Moved to another line it says the same: nothing is told of that.
    rig.write(
        "policy.yaml",
        &format!("# who may call\n{}", STRICT.replace("STRICT", "DISABLE")),
    );
    assert_eq!(
        summary(&rig.audited(6).await[5]),
        "configuration.changed policy.yaml PeerAuthentication default/default"
    );
    rig.write("policy.yaml", &STRICT.replace("STRICT", "DISABLE"));
    rig.write("more.yaml", &STRICT.replace("default", "more"));
    assert_eq!(
        summary(&rig.audited(7).await[6]),
        "configuration.added more.yaml PeerAuthentication default/more"
    );
    rig.remove("more.yaml");
    assert_eq!(
        summary(&rig.audited(8).await[7]),
        "configuration.removed more.yaml PeerAuthentication default/more"
    );
}
