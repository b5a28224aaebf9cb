//! Writes the seeds that are not written by hand: `cargo run --example seeds` in this directory.

use std::fs;
use std::path::Path;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use leno_engine::decide::filter::PeerMetadata;
use leno_engine::decide::filter::peer_metadata::encode;
use leno_fuzz::mesh;
use leno_tls::{PendingIdentity, SpiffeId};
use leno_translate::ResourceType;

fn main() {
    compiled();
    dns();
    client_hello();
    identity();
    let peer = PeerMetadata {
        workload: "reviews-v1".into(),
        namespace: "default".into(),
        app: "reviews".into(),
        version: "v1".into(),
        ..PeerMetadata::default()
    };
    write("peer_metadata", "reviews", &encode(&peer));
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&directory).expect("a directory for the seeds");
    fs::write(directory.join(name), bytes).expect("a seed is written");
}

/// The largest resource of each type that the seed mesh makes: it has the most fields.
fn compiled() {
    let kinds = [
        ResourceType::Listener,
        ResourceType::Route,
        ResourceType::Cluster,
        ResourceType::Endpoints,
    ];
    let snapshot = mesh::snapshot(include_bytes!("../seeds/mesh/good.yaml"));
    let resources = mesh::resources(&snapshot, &mesh::proxy(true));
    for (at, kind) in kinds.into_iter().enumerate() {
        let of_kind = resources.iter().filter(|r| r.type_url == kind.type_url());
        if let Some(resource) = of_kind.max_by_key(|r| r.body.len()) {
            let mut bytes = vec![at as u8];
            bytes.extend_from_slice(&resource.body);
            write("xds_compile", &format!("{kind:?}").to_lowercase(), &bytes);
        }
    }
}

fn dns() {
    for (name, kind) in [
        ("reviews.", RecordType::A),
        ("x.default.svc.cluster.local.", RecordType::AAAA),
    ] {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        write(
            "dns",
            &kind.to_string().to_lowercase(),
            &message.to_vec().expect("a message"),
        );
    }
}

/// A ClientHello as RFC 8446 §4.1.2 has it, with a server name and two protocols, and the place of a cut before it.
fn client_hello() {
    fn sized(bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [&length[length.len() - bytes..], content].concat()
    }
    let name = sized(2, &[vec![0], sized(2, b"reviews")].concat());
    let protocols = sized(2, &[sized(1, b"istio-h2"), sized(1, b"http/1.1")].concat());
    let extensions = [vec![0, 0], sized(2, &name), vec![0, 16], sized(2, &protocols)].concat();
    let hello = [
        vec![3, 3],
        vec![7; 32],
        sized(1, &[]),
        sized(2, &[0x13, 0x01]),
        sized(1, &[0]),
        sized(2, &extensions),
    ]
    .concat();
    let record = [vec![22, 3, 1], sized(2, &[vec![1], sized(3, &hello)].concat())].concat();
    write("client_hello", "hello", &[vec![0, 20], record].concat());
}

fn identity() {
    let text = "spiffe://cluster.local/ns/default/sa/reviews";
    let id: SpiffeId = text.parse().expect("a SPIFFE id");
    write("identity", "id", format!("\0{text}").as_bytes());
    // The empty sequence, for a key that nobody could use.
    let key = "\x03-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    write("identity", "key", key.as_bytes());
    let pending = PendingIdentity::generate(id).expect("a key");
    write("identity", "csr", format!("\x04{}", pending.csr_pem()).as_bytes());
}
