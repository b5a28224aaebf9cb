//! Certificates: who gets one, who does not, and what the refusal says.

use leno_proto::istio::v1::auth::IstioCertificateRequest;
use leno_proto::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use leno_tls::{Crypto, Identity, PendingIdentity};
use leno_xds::Client;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::rig::{Proxy, Rig, node};

const WEB: &str = "spiffe://cluster.local/ns/default/sa/web";

async fn ask(channel: Channel, id: &str, token: Option<&str>) -> Result<Identity, Status> {
    let pending = PendingIdentity::generate(id.parse().unwrap()).unwrap();
    let mut request = Request::new(IstioCertificateRequest {
        csr: pending.csr_pem().to_owned(),
        ..Default::default()
    });
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let answer = IstioCertificateServiceClient::new(channel)
        .create_certificate(request)
        .await?;
    Ok(pending
        .complete(&answer.into_inner().cert_chain, &Crypto::system())
        .unwrap())
}

/// An identity as a proxy gets it with the join token.
pub(crate) async fn identity(rig: &Rig, id: &str) -> Identity {
    ask(rig.secure(None).await, id, Some(&rig.token())).await.unwrap()
}

/// What is said to a token that gives nothing.
pub(crate) async fn refused(rig: &Rig, id: &str, token: &str) -> String {
    let refused = ask(rig.secure(None).await, id, Some(token)).await.unwrap_err();
    refused.message().to_owned()
}

#[tokio::test]
async fn a_token_gets_a_certificate_and_that_certificate_the_next() {
    let rig = Rig::start(&[]).await;
    let first = ask(rig.secure(None).await, WEB, Some(&rig.token()))
        .await
        .unwrap();
    assert_eq!(first.spiffe_id().unwrap().as_str(), WEB);
    let renewed = ask(rig.secure(Some(first.clone())).await, WEB, None)
        .await
        .unwrap();
    assert_eq!(renewed.spiffe_id(), first.spiffe_id());

    let other = "spiffe://cluster.local/ns/default/sa/bank";
    let refused = ask(rig.secure(Some(first)).await, other, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains(WEB) && refused.message().contains(other));
}

#[tokio::test]
async fn a_wrong_token_is_refused_with_the_remedy() {
    let rig = Rig::start(&[]).await;
    let wrong = format!("leno_join_{}", "0".repeat(64));
    for (token, words) in [
        (Some(wrong.as_str()), "not known here"),
        (Some("nonsense"), "is no join token"),
        (None, "Bearer TOKEN"),
    ] {
        let refused = ask(rig.secure(None).await, WEB, token).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{token:?}");
        assert!(refused.message().contains(words), "{}", refused.message());
    }
}

#[tokio::test]
async fn a_token_does_not_travel_without_tls() {
    let rig = Rig::start(&[]).await;
    let refused = ask(rig.plaintext().await, WEB, Some(&rig.token()))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn xds_over_tls_is_for_the_node_that_the_certificate_names() {
    let rig = Rig::start(&[]).await;
    let web = ask(rig.secure(None).await, WEB, Some(&rig.token()))
        .await
        .unwrap();

    let open = async |channel: Channel, service: &str| {
        let mut client = Client::new(node(&format!("{service}-1"), service, None));
        client.subscribe_wildcard(leno_proto::type_url::LISTENER);
        let mut proxy = Proxy::open(channel, client).await?;
        proxy.next().await
    };
    open(rig.secure(Some(web.clone())).await, "web").await.unwrap();
    let other = open(rig.secure(Some(web)).await, "bank").await.unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied);
    assert!(other.message().contains("sa/bank") && other.message().contains("sa/web"));
    let nobody = open(rig.secure(None).await, "web").await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
}
