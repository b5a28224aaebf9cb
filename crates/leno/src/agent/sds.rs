//! SDS on a Unix socket: the workload's certificate with its key (`default`), and whom to trust (`ROOTCA`).

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;

use leno_proto::envoy::config::core::v3::DataSource;
use leno_proto::envoy::config::core::v3::data_source::Specifier;
use leno_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};
use leno_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use leno_proto::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use leno_proto::type_url;
use leno_proxy::identity::Issued;
use leno_tls::{ROOT_CA, WORKLOAD_CERTIFICATE};
use leno_xds::server::{Outcome, Protocol, RequestError, Resource, Response as Pushed, Stream, Update};
use prost::Message;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::taken::{Place, Taken};

/// Responses that wait for a slow client.
const IN_FLIGHT: usize = 4;

type Certificate = watch::Receiver<Option<Arc<Issued>>>;
type Responses<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

struct Sds(Certificate, Arc<Taken>);

pub async fn serve(listener: UnixListener, certificate: Certificate, taken: Arc<Taken>) {
    let service = SecretDiscoveryServiceServer::new(Sds(certificate, taken));
    let server = tonic::transport::Server::builder().add_service(service);
    if let Err(error) = server
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await
    {
        tracing::error!(%error, "secrets are no longer served");
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for Sds {
    type DeltaSecretsStream = Responses<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Responses<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        let stream = Stream::new(Protocol::Delta);
        let conversation = Conversation::new(stream, self, Stream::on_delta, |pushed| match pushed {
            Pushed::Delta(response) => Some(response),
            Pushed::Sotw(_) => None,
        });
        Ok(conversation.answer(request.into_inner()))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let stream = Stream::new(Protocol::StateOfTheWorld);
        let conversation = Conversation::new(stream, self, Stream::on_sotw, |pushed| match pushed {
            Pushed::Sotw(response) => Some(response),
            Pushed::Delta(_) => None,
        });
        Ok(conversation.answer(request.into_inner()))
    }

    async fn fetch_secrets(
        &self,
        _: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented(
            "secrets are streamed — FetchSecrets — use StreamSecrets or DeltaSecrets",
        ))
    }
}

/// One stream while it is served; what the two protocols differ in are two functions.
struct Conversation<Q, A> {
    stream: Stream,
    certificate: Certificate,
    feed: fn(&mut Stream, Q) -> Result<Outcome, RequestError>,
    unwrap: fn(Pushed) -> Option<A>,
    /// Names that were warned of.
    unknown: BTreeSet<String>,
    /// What the peer has taken is told there.
    place: Place,
}

impl<Q: Send + 'static, A: Send + 'static> Conversation<Q, A> {
    fn new(
        stream: Stream,
        sds: &Sds,
        feed: fn(&mut Stream, Q) -> Result<Outcome, RequestError>,
        unwrap: fn(Pushed) -> Option<A>,
    ) -> Self {
        Self {
            stream,
            certificate: sds.0.clone(),
            place: sds.1.stream(),
            feed,
            unwrap,
            unknown: BTreeSet::new(),
        }
    }

    fn answer(self, requests: Streaming<Q>) -> Response<Responses<A>> {
        let (out, responses) = mpsc::channel(IN_FLIGHT);
        tokio::spawn(self.converse(requests, out));
        Response::new(Box::pin(ReceiverStream::new(responses)))
    }

    async fn converse(mut self, mut requests: Streaming<Q>, out: mpsc::Sender<Result<A, Status>>) {
        loop {
            tokio::select! {
                request = requests.message() => {
                    let Ok(Some(request)) = request else { return };
                    match (self.feed)(&mut self.stream, request) {
                        Ok(outcome) => report(&outcome),
                        Err(error) => {
                            let _ = out.send(Err(Status::invalid_argument(error.to_string()))).await;
                            return;
                        }
                    }
                }
                changed = self.certificate.changed() => if changed.is_err() { return },
            }
            if let Some(response) = self.push()
                && out.send(Ok(response)).await.is_err()
            {
                return;
            }
            self.place.set(self.taken());
        }
    }

    /// What the peer has acknowledged, if that is all that it asks for of the newest.
    fn taken(&self) -> Option<Arc<Issued>> {
        let issued = self.certificate.borrow().clone()?;
        let has = |name: &&str| {
            let acknowledged = self.stream.acknowledged(type_url::SECRET, name);
            acknowledged == Some(&*resource(name, &issued).version)
        };
        let mut asked = [WORKLOAD_CERTIFICATE, ROOT_CA]
            .into_iter()
            .filter(|name| self.stream.subscribed(type_url::SECRET, name));
        asked.all(|name| has(&name)).then_some(issued)
    }

    fn push(&mut self) -> Option<A> {
        let issued = self.certificate.borrow_and_update().clone()?;
        let wanted = self.stream.wanted(type_url::SECRET);
        let known = [WORKLOAD_CERTIFICATE, ROOT_CA];
        let absent: Vec<String> = wanted
            .names
            .into_iter()
            .filter(|name| !known.contains(&name.as_str()))
            .collect();
        for name in &absent {
            // Bounded, whatever a peer asks for.
            if self.unknown.len() < 64 && self.unknown.insert(name.clone()) {
                tracing::warn!(
                    "there is no secret {name:?} — SDS — it has {}",
                    known.join(" and ")
                );
            }
        }
        let present: Vec<Arc<Resource>> = known
            .into_iter()
            .filter(|name| self.stream.subscribed(type_url::SECRET, name))
            .map(|name| Arc::new(resource(name, &issued)))
            .collect();
        let update = Update {
            present: &present,
            absent: &absent,
            wildcard: wanted.wildcard,
        };
        self.stream.update(type_url::SECRET, update).and_then(self.unwrap)
    }
}

fn report(outcome: &Outcome) {
    if let Some(message) = &outcome.rejected {
        tracing::warn!("the peer rejects a secret: {message} — SDS — see its log");
    }
}

fn resource(name: &str, issued: &Issued) -> Resource {
    let content = if name == ROOT_CA {
        let revocations = issued.revocations.as_ref();
        secret::Type::ValidationContext(CertificateValidationContext {
            trusted_ca: Some(inline(&issued.roots)),
            crl: revocations.map(|revocations| inline(&revocations.lists)),
            only_verify_leaf_cert_crl: revocations.is_some_and(|revocations| revocations.leaf_only),
            ..Default::default()
        })
    } else {
        secret::Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(inline(&issued.chain)),
            private_key: Some(inline(&issued.key)),
            ..Default::default()
        })
    };
    let secret = Secret {
        name: name.to_owned(),
        r#type: Some(content),
    };
    let mut hasher = DefaultHasher::new();
    if name == ROOT_CA {
        let revocations = issued.revocations.as_ref();
        let revocations = revocations.map(|of| (&of.lists, of.leaf_only));
        (&issued.roots, revocations).hash(&mut hasher);
    } else {
        issued.chain.hash(&mut hasher);
    }
    Resource {
        name: name.into(),
        version: format!("{:016x}", hasher.finish()).into(),
        body: secret.encode_to_vec().into(),
    }
}

fn inline(text: &str) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineString(text.to_owned())),
        ..Default::default()
    }
}
