//! What operators ask.

use leno_proto::control::mesh_client::MeshClient;
use leno_proto::control::{
    ConfigRequest, Dump, Edge, Hello, ObjectsRequest, Peer, Report, Resource, ResourcesRequest,
    StatusRequest, TapRequest, TrafficReport, TrafficRequest, command, report,
};
use leno_proto::envoy::config::core::v3::Node;
use leno_proto::type_url::LISTENER;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::rig::{PATIENCE, Proxy, Rig, node};

fn report(what: report::What) -> Report {
    Report { what: Some(what) }
}

#[tokio::test]
async fn status_shows_each_proxy_and_whether_it_follows() {
    let rig = Rig::start(&[]).await;
    let mut web = Proxy::connect(
        rig.plaintext().await,
        node("web-1", "web", Some(1)),
        &[(LISTENER, "virtualInbound")],
    )
    .await;
    web.until("its listener", |p| !p.pushed.is_empty()).await;
    // Goes on acknowledging what comes.
    tokio::spawn(async move { while web.next().await.is_ok() {} });
    let mut mesh = rig.mesh().await;
    let synced = tokio::time::timeout(PATIENCE, async {
        loop {
            let status = mesh.status(StatusRequest {}).await.unwrap().into_inner();
            let proxy = status.proxies.into_iter().find(|p| p.workload == "web-1.default");
            if let Some(proxy) = proxy
                && proxy
                    .types
                    .iter()
                    .any(|t| t.r#type == "LDS" && t.state == "SYNCED")
            {
                return proxy;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let proxy = synced.await.unwrap();
    assert!(proxy.healthy);
    assert_eq!((proxy.kind.as_str(), proxy.service.as_str()), ("leno", "web"));
}

#[tokio::test]
async fn a_proxy_is_asked_for_what_it_has_and_reports_its_traffic() {
    let rig = Rig::start(&[]).await;
    let node = node("web-1", "web", None);
    let _web = Proxy::connect(
        rig.plaintext().await,
        node.clone(),
        &[(LISTENER, "virtualInbound")],
    )
    .await;
    let (reports, outgoing) = mpsc::channel(8);
    reports.send(report(hello(&node, 1))).await.unwrap();
    let traffic = TrafficReport { edges: vec![edge(7)] };
    reports
        .send(report(report::What::Traffic(traffic)))
        .await
        .unwrap();
    let mut commands = MeshClient::new(rig.plaintext().await)
        .attach(ReceiverStream::new(outgoing))
        .await
        .unwrap()
        .into_inner();
    tokio::spawn(async move {
        while let Ok(Some(command)) = commands.message().await {
            let Some(command::What::Dump(asked)) = command.what else {
                continue;
            };
            let dump = Dump {
                id: command.id,
                resources: vec![Resource {
                    name: asked.kind,
                    ..Default::default()
                }],
                ..Default::default()
            };
            let _ = reports.send(report(report::What::Dump(dump))).await;
        }
    });
    let mut mesh = rig.mesh().await;
    let mut seen = mesh
        .traffic(TrafficRequest {
            interval_ms: 100,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let told = tokio::time::timeout(PATIENCE, async {
        while seen
            .message()
            .await
            .unwrap()
            .unwrap()
            .edges
            .iter()
            .all(|e| e.requests != 7)
        {}
    });
    told.await.unwrap();
    let config = |workload: &str| ConfigRequest {
        workload: workload.to_owned(),
        kind: "clusters".to_owned(),
    };
    for name in ["web-1", "web-1.default", "web", "web.default", &node.id] {
        let answer = mesh.config(config(name)).await.unwrap().into_inner();
        assert_eq!(answer.resources[0].name, "clusters", "{name}");
    }
    for name in ["nobody", "web.other", "we", "web-1.defaul"] {
        let unknown = mesh.config(config(name)).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound, "{name}");
    }
    let _second = Proxy::connect(
        rig.plaintext().await,
        self::node("web-2", "web", None),
        &[(LISTENER, "virtualInbound")],
    )
    .await;
    let ambiguous = mesh.config(config("web")).await.unwrap_err();
    assert_eq!(ambiguous.code(), Code::InvalidArgument);
    let said = ambiguous.message();
    assert!(
        said.contains("web-1.default") && said.contains("web-2.default"),
        "{said}"
    );
}

/// How a side stream with these reports ends.
async fn attach(channel: Channel, said: Vec<report::What>) -> Result<(), Code> {
    let reports = tokio_stream::iter(said.into_iter().map(report));
    let mut commands = MeshClient::new(channel)
        .attach(reports)
        .await
        .unwrap()
        .into_inner();
    let end = tokio::time::timeout(PATIENCE, commands.message()).await.unwrap();
    end.map(|command| assert_eq!(command, None))
        .map_err(|status| status.code())
}

fn hello(node: &Node, start: u64) -> report::What {
    report::What::Hello(Hello {
        node_id: node.id.clone(),
        start,
    })
}

fn edge(requests: u64) -> Edge {
    Edge {
        id: 1,
        source: Some(Peer::default()),
        requests,
        ..Default::default()
    }
}

#[tokio::test]
async fn a_proxy_speaks_for_itself_only_and_introduces_itself_once() {
    let rig = Rig::start(&[]).await;
    let secure = async |account: &str| {
        let id = format!("spiffe://cluster.local/ns/default/sa/{account}");
        rig.secure(Some(crate::certificates::identity(&rig, &id).await))
            .await
    };
    let (web, bank) = (node("web-1", "web", None), node("bank-1", "bank", None));
    let names = [(LISTENER, "virtualInbound")];
    let _web = Proxy::connect(secure("web").await, web.clone(), &names).await;
    let _bank = Proxy::connect(secure("bank").await, bank.clone(), &names).await;
    let mine = secure("web").await;

    assert_eq!(attach(mine.clone(), vec![hello(&web, 1)]).await, Ok(()));
    let another = attach(mine.clone(), vec![hello(&bank, 1)]).await;
    assert_eq!(another, Err(Code::PermissionDenied));
    let unproven = attach(rig.plaintext().await, vec![hello(&web, 1)]).await;
    assert_eq!(unproven, Err(Code::PermissionDenied));
    let nobody = attach(rig.secure(None).await, vec![hello(&web, 1)]).await;
    assert_eq!(nobody, Err(Code::Unauthenticated));
    let unknown = attach(mine.clone(), vec![hello(&node("web-2", "web", None), 1)]).await;
    assert_eq!(unknown, Err(Code::FailedPrecondition));
    let twice = attach(mine.clone(), vec![hello(&web, 1), hello(&web, 1)]).await;
    assert_eq!(twice, Err(Code::InvalidArgument));
    let traffic = report::What::Traffic(TrafficReport::default());
    assert_eq!(
        attach(mine.clone(), vec![traffic]).await,
        Err(Code::InvalidArgument)
    );
    let unlabelled = Edge {
        source: None,
        ..edge(1)
    };
    let traffic = report::What::Traffic(TrafficReport {
        edges: vec![unlabelled],
    });
    let refused = attach(mine, vec![hello(&web, 1), traffic]).await;
    assert_eq!(refused, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn what_a_proxy_counted_stays_when_it_is_gone_or_begins_again() {
    let rig = Rig::start(&[]).await;
    let web = node("web-1", "web", None);
    let names = [(LISTENER, "virtualInbound")];
    let _web = Proxy::connect(rig.plaintext().await, web.clone(), &names).await;
    for (start, requests) in [(1, 7), (2, 2), (2, 3)] {
        let edges = vec![edge(requests)];
        let traffic = report::What::Traffic(TrafficReport { edges });
        let ended = attach(rig.plaintext().await, vec![hello(&web, start), traffic]).await;
        assert_eq!(ended, Ok(()));
    }
    let mut seen = rig
        .mesh()
        .await
        .traffic(TrafficRequest::default())
        .await
        .unwrap()
        .into_inner();
    let edges = seen.message().await.unwrap().unwrap().edges;
    assert_eq!(edges.iter().map(|e| e.requests).sum::<u64>(), 10);
}

#[tokio::test]
async fn what_operators_ask_is_answered_to_nobody_without_their_token() {
    let rig = Rig::start(&[]).await;
    let unknown = format!("leno_join_{}", "0".repeat(64));
    for (token, words) in [
        (None, "Bearer TOKEN"),
        (Some("nonsense"), "is no join token"),
        (Some(unknown.as_str()), "not known here"),
    ] {
        for channel in [rig.plaintext().await, rig.secure(None).await] {
            let mut mesh = MeshClient::new(channel);
            let refusals = [
                mesh.status(with(token, StatusRequest::default())).await.map(drop),
                mesh.config(with(token, ConfigRequest::default())).await.map(drop),
                mesh.traffic(with(token, TrafficRequest::default()))
                    .await
                    .map(drop),
            ];
            for refused in refusals {
                let refused = refused.unwrap_err();
                assert_eq!(refused.code(), Code::Unauthenticated);
                assert!(refused.message().contains(words), "{refused}");
            }
        }
    }
    let web = crate::certificates::identity(&rig, "spiffe://cluster.local/ns/default/sa/web").await;
    let mut member = MeshClient::new(rig.secure(Some(web)).await);
    let node = || ConfigRequest {
        workload: "reviews".into(),
        ..ConfigRequest::default()
    };
    let refusals = [
        member.status(StatusRequest::default()).await.map(drop),
        member.config(node()).await.map(drop),
        member.resources(ResourcesRequest::default()).await.map(drop),
        member.objects(ObjectsRequest::default()).await.map(drop),
        member.traffic(TrafficRequest::default()).await.map(drop),
        member.tap(TapRequest::default()).await.map(drop),
    ];
    for refused in refusals {
        assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    }
}

fn with<T>(token: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}
