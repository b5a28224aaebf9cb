//! One file's text to objects.

mod patches;

use std::sync::Arc;

use leno_proto_text::Schema;
use serde::de::DeserializeOwned;

use crate::catalogue::{Known, known, nearest_kind};
use crate::codes::Code;
use crate::decode::{Problem, decode};
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::key::{Kind, ObjectKey};
use crate::kinds::ingress::{CLASS, IS_DEFAULT};
use crate::kinds::{Envelope, Labels};
use crate::node::{Broken, Entry, Node, Pos, Value, documents};
use crate::object::{Object, Spec};
use crate::validate::{names, validate};
use crate::written::Written;

/// Files over this are refused whole.
pub const MAX_FILE_BYTES: usize = 10 << 20;

/// What a file says.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    pub objects: Vec<Object>,
    /// Objects that are there but have errors: their last good version stays in force.
    pub rejected: Vec<ObjectKey>,
    /// Some document could not be read at all, so it is unknown which object it was.
    pub broken: bool,
    /// Nothing but space and comments.
    pub empty: bool,
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses, and holds each object to the rules of its kind.
pub fn read(file: &str, bytes: &[u8]) -> Parsed {
    let mut parsed = parse(file, bytes);
    let (mut good, text) = (Vec::new(), std::str::from_utf8(bytes).unwrap_or_default());
    for object in std::mem::take(&mut parsed.objects) {
        let mut found = validate(&object);
        add_snippets(&mut found, text);
        if found.iter().any(Diagnostic::is_error) {
            parsed.rejected.push(object.key);
        } else {
            good.push(object);
        }
        parsed.diagnostics.append(&mut found);
    }
    parsed.objects = good;
    parsed
}

/// Parses only: an object is there when all its fields are known and of the right type.
pub fn parse(file: &str, bytes: &[u8]) -> Parsed {
    let mut reading = Reading {
        file: file.into(),
        parsed: Parsed::default(),
        schema: None,
    };
    match text_of(bytes) {
        Err(broken) => reading.broken(broken),
        Ok(text) => {
            let documents = documents(text);
            reading.parsed.empty = documents.is_empty();
            for document in documents {
                match document {
                    Ok(node) => reading.document(node),
                    Err(broken) => reading.broken(broken),
                }
            }
            add_snippets(&mut reading.parsed.diagnostics, text);
        }
    }
    reading.parsed
}

fn text_of(bytes: &[u8]) -> Result<&str, Broken> {
    let whole = |code, message: String, hint: &str| Broken {
        code,
        pos: Pos::default(),
        message,
        hint: hint.into(),
    };
    if bytes.len() > MAX_FILE_BYTES {
        let message = format!("the file is larger than {} MB", MAX_FILE_BYTES >> 20);
        return Err(whole(Code::TooLarge, message, "split the file"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let message = format!("not UTF-8 at byte {}", error.valid_up_to());
        whole(Code::NotText, message, "save the file as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn add_snippets(diagnostics: &mut [Diagnostic], text: &str) {
    if diagnostics.is_empty() {
        return;
    }
    let lines: Vec<&str> = text.lines().collect();
    // The text of a Secret goes into no message.
    let secrets = text.contains("kind: Secret");
    let secret = |d: &Diagnostic| match &d.object {
        Some(key) => key.kind == Kind::Secret,
        None => secrets,
    };
    for diagnostic in diagnostics
        .iter_mut()
        .filter(|d| d.snippet.is_none() && d.place.line > 0 && !secret(d))
    {
        let line = lines.get(diagnostic.place.line as usize - 1);
        diagnostic.snippet = line.map(|line| line.chars().take(200).collect());
    }
}

struct Reading {
    file: Arc<str>,
    parsed: Parsed,
    /// Of Envoy's messages; loaded for the first EnvoyFilter and given back with the file.
    schema: Option<Schema>,
}

impl Reading {
    fn broken(&mut self, broken: Broken) {
        self.parsed.broken = true;
        let place = self.place(broken.pos);
        let diagnostic = Diagnostic::new(broken.code, Severity::Error, place, broken.message);
        self.parsed.diagnostics.push(diagnostic.hint(broken.hint));
    }

    fn place(&self, pos: Pos) -> Place {
        Place {
            file: self.file.clone(),
            line: pos.line,
            column: pos.column,
        }
    }

    fn document(&mut self, mut node: Node) {
        let text = |key| node.get(key).and_then(Node::text).map(str::to_owned);
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if let (Some("v1" | "gateway.networking.k8s.io/v1"), Some(list)) =
            (api_version.as_deref(), kind.as_deref())
            && list.ends_with("List")
            && let Value::Map(entries) = &mut node.value
            && let Some(items) = entries.iter_mut().find(|entry| entry.key == "items")
            && let Value::List(items) = &mut items.value.value
        {
            return std::mem::take(items)
                .into_iter()
                .for_each(|item| self.document(item));
        }
        match (api_version, kind) {
            (None, None) if self.is_mesh_file() => self.bare_mesh_config(node),
            (api, Some(kind)) if api.is_some() || kind == "MeshConfig" => {
                self.object(node, &api.unwrap_or_default(), &kind);
            }
            _ => {
                self.parsed.broken = true;
                let place = self.place(node.pos);
                let message = format!("{} without apiVersion and kind", node.describe());
                let hint = "begin each document with apiVersion, kind and metadata";
                let diagnostic = Diagnostic::new(Code::NotAnObject, Severity::Error, place, message);
                self.parsed.diagnostics.push(diagnostic.hint(hint));
            }
        }
    }

    fn is_mesh_file(&self) -> bool {
        let name = self.file.rsplit('/').next().unwrap_or_default();
        matches!(name, "mesh.yaml" | "mesh.yml" | "mesh.json")
    }

    /// The document of `mesh.yaml` is the spec itself, as in Istio's ConfigMap.
    fn bare_mesh_config(&mut self, node: Node) {
        let pos = node.pos;
        let entry = |key: &str, value| Entry {
            key: key.into(),
            key_pos: pos,
            value: Node { pos, value },
        };
        let metadata = Value::Map(vec![entry("name", Value::Text("mesh".into()))]);
        let entries = vec![
            entry("metadata", metadata),
            Entry {
                key: "spec".into(),
                key_pos: pos,
                value: node,
            },
        ];
        self.served(
            Kind::MeshConfig,
            Node {
                pos,
                value: Value::Map(entries),
            },
        );
    }

    fn object(&mut self, mut node: Node, api_version: &str, kind: &str) {
        let named = |node: &Node| {
            let meta = |key| node.get("metadata").and_then(|m| m.get(key)).and_then(Node::text);
            format!(
                "{kind} {}/{}",
                meta("namespace").unwrap_or("default"),
                meta("name").unwrap_or("?")
            )
        };
        let (code, severity, message, hint) = match known(api_version, kind) {
            Known::Served(Kind::MeshConfig) => return self.mesh_config(node),
            Known::Served(kind @ (Kind::Secret | Kind::EndpointSlice)) => return self.beside(kind, node),
            Known::Served(kind) => {
                if let Value::Map(entries) = &mut node.value {
                    entries.retain(|entry| entry.key != "status");
                }
                return self.served(kind, node);
            }
            Known::NotServedYet(protects) => {
                let severity = match protects {
                    true => Severity::Error,
                    false => Severity::Warning,
                };
                let message = format!("{} is not served by leno yet and is skipped", named(&node));
                (Code::NotServed, severity, message, String::new())
            }
            Known::Kubernetes => (
                Code::SkippedKind,
                Severity::Info,
                format!("{} is skipped", named(&node)),
                String::new(),
            ),
            Known::WrongVersion(versions) => {
                let message = format!("{kind} has no version {api_version}");
                (
                    Code::UnknownKind,
                    Severity::Error,
                    message,
                    format!("use {versions} of it"),
                )
            }
            Known::Unknown => {
                let message = format!("unknown kind {kind} of {api_version}, skipped");
                (Code::UnknownKind, Severity::Warning, message, nearest_kind(kind))
            }
        };
        let pos = node.entry("kind").map_or(node.pos, |entry| entry.value.pos);
        let diagnostic = Diagnostic::new(code, severity, self.place(pos), message).hint(hint);
        self.parsed.diagnostics.push(diagnostic);
    }

    /// A Secret's fields stand beside kind and metadata, and some others' do.
    fn beside(&mut self, kind: Kind, mut node: Node) {
        into_spec(&mut node);
        self.served(kind, node);
    }

    /// `kind: MeshConfig`: the settings beside kind and metadata, or under spec.
    fn mesh_config(&mut self, mut node: Node) {
        let pos = node.pos;
        if node.get("spec").is_none() {
            into_spec(&mut node);
        }
        if node.get("metadata").is_none()
            && let Value::Map(entries) = &mut node.value
        {
            let name = Node {
                pos,
                value: Value::Text("mesh".into()),
            };
            let name = Entry {
                key: "name".into(),
                key_pos: pos,
                value: name,
            };
            let value = Node {
                pos,
                value: Value::Map(vec![name]),
            };
            entries.push(Entry {
                key: "metadata".into(),
                key_pos: pos,
                value,
            });
        }
        self.served(Kind::MeshConfig, node);
    }

    fn served(&mut self, kind: Kind, node: Node) {
        match kind {
            Kind::Sidecar => self.typed(kind, node, |spec| Spec::Sidecar(Arc::new(spec))),
            Kind::MeshConfig => self.typed(kind, node, |spec| Spec::MeshConfig(Arc::new(spec))),
            Kind::Service => self.typed(kind, node, |spec| Spec::Service(Arc::new(spec))),
            Kind::ServiceEntry => self.typed(kind, node, |spec| Spec::ServiceEntry(Arc::new(spec))),
            Kind::HttpRoute => self.typed(kind, node, |spec| Spec::HttpRoute(Arc::new(spec))),
            Kind::TcpRoute => self.typed(kind, node, |spec| Spec::TcpRoute(Arc::new(spec))),
            Kind::VirtualService => self.typed(kind, node, |spec| Spec::VirtualService(Arc::new(spec))),
            Kind::DestinationRule => self.typed(kind, node, |spec| Spec::DestinationRule(Arc::new(spec))),
            Kind::PeerAuthentication => {
                self.typed(kind, node, |spec| Spec::PeerAuthentication(Arc::new(spec)))
            }
            Kind::AuthorizationPolicy => {
                self.typed(kind, node, |spec| Spec::AuthorizationPolicy(Arc::new(spec)))
            }
            Kind::RequestAuthentication => {
                self.typed(kind, node, |spec| Spec::RequestAuthentication(Arc::new(spec)))
            }
            Kind::Gateway => self.typed(kind, node, |spec| Spec::Gateway(Arc::new(spec))),
            Kind::KubernetesGateway => self.typed(kind, node, |spec| Spec::KubernetesGateway(Arc::new(spec))),
            Kind::GatewayClass => self.typed(kind, node, |spec| Spec::GatewayClass(Arc::new(spec))),
            Kind::ReferenceGrant => self.typed(kind, node, |spec| Spec::ReferenceGrant(Arc::new(spec))),
            Kind::Secret => self.typed(kind, node, |spec| Spec::Secret(Arc::new(spec))),
            Kind::Namespace => self.typed(kind, node, |spec| Spec::Namespace(Arc::new(spec))),
            Kind::EnvoyFilter => {
                let before = self.parsed.objects.len();
                self.typed(kind, node, |spec| Spec::EnvoyFilter(Arc::new(spec)));
                if self.parsed.objects.len() > before {
                    self.compile_patches();
                }
            }
            Kind::ProxyConfig => self.typed(kind, node, |spec| Spec::ProxyConfig(Arc::new(spec))),
            Kind::Telemetry => self.typed(kind, node, |spec| Spec::Telemetry(Arc::new(spec))),
            Kind::WasmPlugin => self.typed(kind, node, |spec| Spec::WasmPlugin(Arc::new(spec))),
            Kind::EndpointSlice => self.typed(kind, node, |spec| Spec::EndpointSlice(Arc::new(spec))),
            Kind::Node => self.typed(kind, node, |spec| Spec::Node(Arc::new(spec))),
            Kind::WorkloadGroup => self.typed(kind, node, |spec| Spec::WorkloadGroup(Arc::new(spec))),
            Kind::WorkloadEntry => self.typed(kind, node, |spec| Spec::WorkloadEntry(Arc::new(spec))),
            Kind::Ingress => self.typed(kind, node, |spec| Spec::Ingress(Arc::new(spec))),
            Kind::IngressClass => self.typed(kind, node, |spec| Spec::IngressClass(Arc::new(spec))),
        }
    }

    fn typed<S: DeserializeOwned>(&mut self, kind: Kind, node: Node, wrap: impl FnOnce(S) -> Spec) {
        let key = key_of(kind, &node);
        let (envelope, mut problems) = decode::<Envelope<S>>(&node);
        let mut labels = Labels::new();
        let mut annotations = Labels::new();
        let mut spec = None;
        if let Some(envelope) = envelope {
            problems.extend(bad_names(
                &envelope.metadata.name,
                envelope.metadata.namespace.as_deref(),
                &node,
            ));
            labels = envelope.metadata.labels;
            annotations = envelope
                .metadata
                .annotations
                .into_iter()
                .filter(|(name, _)| is_istios(name) || [CLASS, IS_DEFAULT].contains(&name.as_str()))
                .filter_map(|(name, annotation)| Some((name, annotation.0?)))
                .collect();
            spec = envelope.spec;
            if spec.is_none() {
                // `spec:` may be left out where everything in it may be.
                let empty = Node {
                    pos: node.pos,
                    value: Value::Map(Vec::new()),
                };
                let (decoded, more) = decode::<S>(&empty);
                spec = decoded;
                problems.extend(more);
            }
        }
        let failed = problems.iter().any(|problem| problem.severity == Severity::Error);
        let found: Vec<Diagnostic> = problems
            .into_iter()
            .map(|problem| self.diagnostic(problem, &key))
            .collect();
        self.parsed.diagnostics.extend(found);
        match spec {
            Some(spec) if !failed => self.parsed.objects.push(Object {
                key,
                labels,
                annotations,
                file: self.file.clone(),
                spec: wrap(spec),
                written: Written::new(&node),
            }),
            _ => self.parsed.rejected.push(key),
        }
    }

    /// The values of the EnvoyFilter that was read last, as messages of Envoy's; one with a value that is none is
    /// rejected.
    fn compile_patches(&mut self) {
        let Some(mut object) = self.parsed.objects.pop() else {
            return;
        };
        let Spec::EnvoyFilter(mut spec) = object.spec else {
            return self.parsed.objects.push(object);
        };
        let schema = self.schema.get_or_insert_with(Schema::load);
        let problems = patches::compile(Arc::make_mut(&mut spec), schema, &object.written.node());
        object.spec = Spec::EnvoyFilter(spec);
        if problems.is_empty() {
            return self.parsed.objects.push(object);
        }
        for problem in problems {
            let found = self.diagnostic(problem, &object.key);
            self.parsed.diagnostics.push(found);
        }
        self.parsed.rejected.push(object.key);
    }

    fn diagnostic(&self, problem: Problem, key: &ObjectKey) -> Diagnostic {
        Diagnostic::new(
            problem.code,
            problem.severity,
            self.place(problem.pos),
            problem.message,
        )
        .hint(problem.hint)
        .path(problem.path)
        .object(key.clone())
    }
}

/// Puts the fields beside kind and metadata under `spec`.
fn into_spec(node: &mut Node) {
    let pos = node.pos;
    let Value::Map(entries) = &mut node.value else {
        return;
    };
    let outer = ["apiVersion", "kind", "metadata", "status"];
    let (outer, inner): (Vec<Entry>, Vec<Entry>) = std::mem::take(entries)
        .into_iter()
        .partition(|entry| outer.contains(&entry.key.as_str()));
    *entries = outer;
    let value = Node {
        pos,
        value: Value::Map(inner),
    };
    entries.push(Entry {
        key: "spec".into(),
        key_pos: pos,
        value,
    });
}

fn key_of(kind: Kind, node: &Node) -> ObjectKey {
    let meta = |key| node.get("metadata").and_then(|m| m.get(key)).and_then(Node::text);
    ObjectKey {
        kind,
        namespace: meta("namespace").unwrap_or("default").into(),
        name: meta("name").unwrap_or_default().into(),
    }
}

/// `istio.io/dry-run`, `networking.istio.io/exportTo`
fn is_istios(annotation: &str) -> bool {
    let (group, _) = annotation.split_once('/').unwrap_or_default();
    group == "istio.io" || group.ends_with(".istio.io")
}

fn bad_names(name: &str, namespace: Option<&str>, node: &Node) -> Vec<Problem> {
    let problem = |path: &str, message: String| Problem {
        code: Code::BadName,
        severity: Severity::Error,
        pos: node.pos_of(path),
        path: path.into(),
        message,
        hint: "use lower-case letters, digits, dashes and dots".into(),
    };
    let mut problems = Vec::new();
    if !names::is_subdomain(name) {
        problems.push(problem(
            "metadata.name",
            format!("{name:?} is no name for an object"),
        ));
    }
    if let Some(namespace) = namespace.filter(|namespace| !names::is_label(namespace)) {
        problems.push(problem(
            "metadata.namespace",
            format!("{namespace:?} is no name for a namespace"),
        ));
    }
    problems
}
