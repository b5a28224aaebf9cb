//! Secrets in a file that names files, which are replaced while the proxy serves.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

use leno_proto::envoy::config::bootstrap::v3::Bootstrap;
use leno_proto_text::Schema;
use leno_testkit::{eventually, free_address};
use serde_json::{Value, json};

use super::proxy::Proxy;
use super::script::socket;
use crate::config::{Pki, names_shown};

/// Once by a move of each file, once by a directory that is replaced as a whole, as Kubernetes does.
pub(crate) fn rotate(start: impl Fn(&Bootstrap) -> Proxy) {
    for whole in [false, true] {
        let (directory, pki, port) = (tempfile::tempdir().unwrap(), Pki::new(), free_address());
        let directory = directory.path();
        let files = Files {
            directory,
            pki: &pki,
            whole,
        };
        files.put("server", 1);
        let watched = whole.then_some(directory);
        let _proxy = start(&bootstrap(port, directory, watched));
        shows(&pki, port, "a.example *.wild.example");
        files.put("other", 2);
        shows(&pki, port, "b.example");
        // A key that is another certificate's: the last good ones stay.
        files.put_pair(("server", "other"), 3);
        shows(&pki, port, "b.example");
        files.put("stranger", 4);
        shows(&pki, port, "stranger.example");
    }
}

struct Files<'f> {
    directory: &'f Path,
    pki: &'f Pki,
    whole: bool,
}

impl Files<'_> {
    fn put(&self, name: &str, turn: u32) {
        self.put_pair((name, name), turn);
    }

    fn put_pair(&self, (certificate, key): (&str, &str), turn: u32) {
        let parts = [
            ("tls.crt", format!("{certificate}.crt")),
            ("tls.key", format!("{key}.key")),
        ];
        let next = self.directory.join(turn.to_string());
        fs::create_dir(&next).unwrap();
        for (file, pem) in &parts {
            fs::write(next.join(file), self.pki.pem(pem)).unwrap();
        }
        if self.whole {
            let link = self.directory.join("next");
            symlink(&next, &link).unwrap();
            fs::rename(link, self.directory.join("data")).unwrap();
        } else {
            fs::create_dir_all(self.directory.join("data")).unwrap();
            for (file, _) in &parts {
                fs::rename(next.join(file), self.directory.join("data").join(file)).unwrap();
            }
        }
    }
}

#[track_caller]
fn shows(pki: &Pki, port: SocketAddr, names: &str) {
    eventually(&format!("{names} is shown"), || match names_shown(pki, port) {
        Ok(other) if other == names => Ok(()),
        other => Err(other),
    });
}

fn bootstrap(port: SocketAddr, directory: &Path, watched: Option<&Path>) -> Bootstrap {
    let file = |name: &str| json!({"filename": directory.join("data").join(name)});
    let mut certificate = json!({"certificate_chain": file("tls.crt"), "private_key": file("tls.key")});
    if let Some(watched) = watched {
        certificate["watched_directory"] = json!({"path": watched});
    }
    let secret = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": "own",
        "tls_certificate": certificate,
    });
    let secrets = directory.join("sds.yaml");
    fs::write(&secrets, json!({"resources": [secret]}).to_string()).unwrap();
    let tls = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificate_sds_secret_configs": [{
            "name": "own",
            "sds_config": {"path_config_source": {"path": secrets}, "resource_api_version": "V3"},
        }]},
    });
    let answer: Value = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config",
        "response": {"inline_string": "hello"},
    });
    let chain = json!({
        "transport_socket": {"name": "tls", "typed_config": tls},
        "filters": [{"name": "direct", "typed_config": answer}],
    });
    let listener = json!({"name": "l", "address": socket(port), "filter_chains": [chain]});
    let text = json!({
        "node": {"id": "edge", "cluster": "edges"},
        "static_resources": {"listeners": [listener]},
    });
    Schema::load().from_text(&text.to_string()).unwrap()
}
