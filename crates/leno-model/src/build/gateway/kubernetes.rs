//! The Gateway API's Gateway, and which routes its listeners allow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use leno_api::kinds::Labels;
use leno_api::kinds::gateway_api::{
    FromNamespaces, GatewaySpec, LabelOperator, LabelSelector, Listener, ListenerTls, TlsMode,
};
use leno_api::validate::gateway_api::TERMINATE_MODE;
use leno_api::{Code, Object, Severity, Spec};

use super::{Admits, Draft};
use crate::build::{Context, of_kind, origin, port};
use crate::gateway::{
    CertificateSource, ClientCertificates, Gateway, GatewayProtocol, GatewaySelector, GatewayServer,
    GatewayTls,
};

const GROUP: &str = "gateway.networking.k8s.io";
/// Classes that need no object, and the controllers of those that have one.
const CLASSES: [&str; 2] = ["istio", "leno"];
const CONTROLLERS: [&str; 2] = ["istio.io/gateway-controller", "leno/gateway-controller"];

/// Namespaces and kinds of the routes that may attach.
pub(crate) struct Allowed {
    namespaces: Namespaces,
    /// Empty: every kind that fits the protocol.
    kinds: Vec<String>,
}

enum Namespaces {
    All,
    These(BTreeSet<String>),
}

pub(super) fn gateways<'o>(context: &mut Context<'_>, objects: &[&'o Arc<Object>]) -> Vec<Draft<'o>> {
    let classes = of_kind(objects, |spec| match spec {
        Spec::GatewayClass(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let classes: BTreeMap<&str, &str> = classes
        .into_iter()
        .map(|(object, spec)| (&*object.key.name, spec.controller_name.as_str()))
        .collect();
    let labelled = of_kind(objects, |spec| match spec {
        Spec::Namespace(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let namespaces: BTreeMap<String, Labels> = labelled
        .into_iter()
        .map(|(object, _)| (object.key.name.to_string(), object.labels.clone()))
        .collect();
    let specs = of_kind(objects, |spec| match spec {
        Spec::KubernetesGateway(spec) => Some(spec.as_ref()),
        _ => None,
    });
    let mut drafts = Vec::new();
    for (object, spec) in specs {
        let class = spec.gateway_class_name.as_str();
        let ours = match classes.get(class) {
            Some(controller) => CONTROLLERS.contains(controller),
            None => CLASSES.contains(&class),
        };
        if ours {
            drafts.push(draft(context, object, spec, &namespaces));
        } else {
            let message = format!("the class {class} is not leno's; the Gateway is not served");
            let hint = "use gatewayClassName: istio, or a GatewayClass of istio.io/gateway-controller";
            context.report(
                object,
                (Code::ClassNotServed, Severity::Warning),
                "spec.gatewayClassName",
                message,
                hint,
            );
        }
    }
    drafts
}

fn draft<'o>(
    context: &mut Context<'_>,
    object: &'o Object,
    spec: &GatewaySpec,
    namespaces: &BTreeMap<String, Labels>,
) -> Draft<'o> {
    let (mut servers, mut admits) = (Vec::new(), Vec::new());
    for (i, listener) in spec.listeners.iter().enumerate() {
        let path = format!("spec.listeners[{i}]");
        if let Some(server) = server(context, object, &path, listener) {
            servers.push(server);
            admits.push(Admits::Routes(allowed(
                listener,
                &object.key.namespace,
                namespaces,
            )));
        }
    }
    Draft {
        object,
        gateway: Gateway {
            origin: origin(object),
            selector: GatewaySelector::Name,
            servers,
        },
        admits,
    }
}

/// None: not served, which validation has said.
fn server(
    context: &mut Context<'_>,
    object: &Object,
    path: &str,
    listener: &Listener,
) -> Option<GatewayServer> {
    let passes = listener.tls.as_ref().and_then(|tls| tls.mode) == Some(TlsMode::Passthrough);
    let protocol = match listener.protocol.as_str() {
        "HTTP" | "HTTPS" => GatewayProtocol::Http,
        "TLS" => GatewayProtocol::Tls,
        "TCP" => GatewayProtocol::Tcp,
        _ => return None,
    };
    let tls = match &listener.tls {
        Some(tls) if !passes => Some(self::tls(context, object, &format!("{path}.tls"), tls)?),
        _ => None,
    };
    let hostname = listener.hostname.clone().filter(|hostname| !hostname.is_empty());
    Some(GatewayServer {
        name: listener.name.clone(),
        place: object.place_of(path).to_string(),
        port: port(listener.port)?,
        bind: None,
        protocol,
        tls,
        https_redirect: false,
        hosts: vec![hostname.unwrap_or_else(|| "*".into()).to_ascii_lowercase()],
        virtual_hosts: Vec::new(),
        streams: Vec::new(),
        attached_routes: 0,
    })
}

/// None: the listener cannot be served, which has been reported.
fn tls(context: &mut Context<'_>, object: &Object, path: &str, tls: &ListenerTls) -> Option<GatewayTls> {
    let reference = tls.certificate_refs.first()?;
    let path = format!("{path}.certificateRefs[0]");
    let of_secret = reference.kind.as_deref().unwrap_or("Secret") == "Secret"
        && matches!(reference.group.as_deref(), None | Some("" | "core"));
    let own = &*object.key.namespace;
    let namespace = reference.namespace.as_deref().unwrap_or(own);
    let name = (namespace.to_owned(), reference.name.clone());
    let granted = namespace == own
        || context.grants.allows(
            (GROUP, "Gateway", own),
            ("", "Secret", namespace, &reference.name),
        );
    let (message, hint) = if !of_secret {
        let message = format!("the certificate {} is no Secret", reference.name);
        (message, "refer to a Secret of type kubernetes.io/tls")
    } else if !granted {
        let message = format!(
            "the Secret {namespace}/{} is in another namespace",
            reference.name
        );
        (message, "grant it with a ReferenceGrant in that namespace")
    } else if !context.secrets.contains(&name) {
        let message = format!(
            "there is no Secret {namespace}/{} with a certificate",
            reference.name
        );
        (
            message,
            "add it: type kubernetes.io/tls, with tls.crt and tls.key",
        )
    } else {
        return Some(made(tls, namespace, &reference.name));
    };
    context.report(
        object,
        (Code::SecretNotFound, Severity::Error),
        &path,
        message,
        hint,
    );
    // What is only not there yet is served as soon as it is; the port says so in its proxy's status.
    (of_secret && granted).then(|| made(tls, namespace, &reference.name))
}

fn made(tls: &ListenerTls, namespace: &str, name: &str) -> GatewayTls {
    let clients = match tls.options.get(TERMINATE_MODE).map(String::as_str) {
        Some("MUTUAL") => ClientCertificates::Required,
        Some("OPTIONAL_MUTUAL") => ClientCertificates::Optional,
        _ => ClientCertificates::NotAsked,
    };
    GatewayTls {
        clients,
        certificate: CertificateSource::Secret {
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        },
        subject_alt_names: Vec::new(),
        only_tls13: false,
        only_tls12: false,
    }
}

fn allowed(listener: &Listener, own: &str, namespaces: &BTreeMap<String, Labels>) -> Allowed {
    let said = listener.allowed_routes.clone().unwrap_or_default();
    let from = said.namespaces.unwrap_or_default();
    let selected = |selector: &LabelSelector| {
        let fits = namespaces
            .iter()
            .filter(|(name, labels)| selects(selector, name, labels));
        fits.map(|(name, _)| name.clone()).collect()
    };
    Allowed {
        namespaces: match from.from {
            FromNamespaces::All => Namespaces::All,
            FromNamespaces::Same => Namespaces::These(BTreeSet::from([own.to_owned()])),
            FromNamespaces::Selector => {
                Namespaces::These(from.selector.as_ref().map(selected).unwrap_or_default())
            }
            FromNamespaces::None => Namespaces::These(BTreeSet::new()),
        },
        kinds: said
            .kinds
            .into_iter()
            .filter(|kind| kind.group.as_deref().unwrap_or(GROUP) == GROUP)
            .map(|kind| kind.kind)
            .collect(),
    }
}

/// As Kubernetes has it; every namespace carries its name as a label.
fn selects(selector: &LabelSelector, name: &str, labels: &Labels) -> bool {
    let value = |key: &str| match key {
        "kubernetes.io/metadata.name" => Some(name),
        key => labels.get(key).map(String::as_str),
    };
    let expressions = selector.match_expressions.iter().all(|expression| {
        let found = value(&expression.key);
        let listed = found.is_some_and(|found| expression.values.iter().any(|value| value == found));
        match expression.operator {
            LabelOperator::In => listed,
            LabelOperator::NotIn => !listed,
            LabelOperator::Exists => found.is_some(),
            LabelOperator::DoesNotExist => found.is_none(),
        }
    });
    let mut wanted = selector.match_labels.iter();
    expressions && wanted.all(|(key, wanted)| value(key) == Some(wanted))
}

impl Allowed {
    pub(crate) fn allows(&self, kind: &str, namespace: &str) -> bool {
        let namespace = match &self.namespaces {
            Namespaces::All => true,
            Namespaces::These(these) => these.contains(namespace),
        };
        namespace && (self.kinds.is_empty() || self.kinds.iter().any(|allowed| allowed == kind))
    }
}
