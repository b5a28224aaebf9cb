//! Cases: what calls do in a mesh of a user's objects. Written once, and answered by the engine alone, by leno's proxy
//! and by Envoy.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// One case: objects, who is there, and calls. In a directory of its own the objects are `input.yaml` and the rest is
/// `calls.yaml`; in a file of several, `fields/*.yaml`, each has a name and its objects as text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    #[serde(default)]
    pub name: String,
    /// Files of `shared/` whose objects are there as well.
    #[serde(default)]
    pub with: Vec<String>,
    /// Objects as a user writes them.
    #[serde(default)]
    pub input: String,
    /// If nothing is said: client, reviews-v1 and reviews-v2.
    #[serde(default = "bookinfo")]
    pub workloads: Vec<Registration>,
    /// Gateway proxies; calls from them come from outside.
    #[serde(default)]
    pub gateways: Vec<GatewayProxy>,
    pub calls: Vec<Call>,
    /// It runs for real as well.
    #[serde(default)]
    pub live: bool,
    /// Its directory, if it has one.
    #[serde(skip)]
    pub directory: Option<PathBuf>,
}

/// Every case below a directory, by name.
#[track_caller]
pub fn all(root: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for directory in sorted(root) {
        if directory.join("calls.yaml").is_file() {
            let case: Case = parsed(&directory.join("calls.yaml"));
            let input = fs::read_to_string(directory.join("input.yaml")).expect("a case has an input");
            cases.push(Case {
                name: name_of(&directory),
                input,
                directory: Some(directory),
                ..case
            });
        }
    }
    for file in sorted(&root.join("fields")) {
        let of_file: Vec<Case> = parsed(&file);
        cases.extend(of_file.into_iter().map(|case| Case {
            name: format!("{}: {}", name_of(&file), case.name),
            ..case
        }));
    }
    for case in &mut cases {
        let shared = case
            .with
            .iter()
            .map(|name| root.join("shared").join(format!("{name}.yaml")));
        let mut texts: Vec<String> = shared
            .map(|path| {
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            })
            .collect();
        texts.push(std::mem::take(&mut case.input));
        case.input = texts.join("\n---\n");
    }
    cases
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

fn name_of(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[track_caller]
fn parsed<T: serde::de::DeserializeOwned>(file: &Path) -> T {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn bookinfo() -> Vec<Registration> {
    let reviews = |version: &str| Registration {
        name: format!("reviews-{version}"),
        namespace: default_namespace(),
        labels: [("app", "reviews"), ("version", version)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ports: vec![9080],
    };
    let client = Registration {
        name: "client".into(),
        namespace: default_namespace(),
        labels: [("app".to_owned(), "client".to_owned())].into(),
        ports: Vec::new(),
    };
    vec![client, reviews("v1"), reviews("v2")]
}

/// A workload as it registers: protocol detected, leno's proxy in front of it. One without ports only calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    pub name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// `app` is its service.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub ports: Vec<u16>,
}

/// A gateway proxy, which has proved who it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayProxy {
    pub name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// A workload of the case.
    pub from: String,
    /// `http://reviews:9080/path`, `tls://example.com:443`, `tcp://db:3306`; `https://…` where TLS ends at a gateway.
    pub to: String,
    /// The address that the caller has found out by itself; else the mesh's.
    #[serde(default)]
    pub at: Option<IpAddr>,
    #[serde(default)]
    pub method: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A cluster; `404`, `500 body`; `301 https://elsewhere/`; `no name`, `no listener`, `refused`.
    #[serde(default)]
    pub want: Option<String>,
    /// Instead: percent of the calls by what becomes of them.
    #[serde(default)]
    pub shares: BTreeMap<String, f64>,
    /// What the workload is told.
    #[serde(default)]
    pub sees: Sees,
    /// Headers of the answer; none: it must not be there.
    #[serde(default)]
    pub answer: BTreeMap<String, Option<String>>,
    /// How it is forwarded, as the engine has it: `timeout`, `tries`, `mirrors` and so on. Not looked at live.
    #[serde(default)]
    pub route: BTreeMap<String, String>,
}

/// Of a request, as it arrives; only what is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sees {
    pub path: Option<String>,
    pub host: Option<String>,
    /// None: it must not be there.
    pub headers: BTreeMap<String, Option<String>>,
}

/// What has become of a call.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The request as it arrived, if it did.
    pub path: String,
    pub host: String,
    pub headers: BTreeMap<String, String>,
    /// Of the answer.
    pub answer: BTreeMap<String, String>,
    /// How it was forwarded.
    pub route: BTreeMap<String, String>,
}

fn default_namespace() -> String {
    "default".into()
}

impl Call {
    pub fn scheme(&self) -> &str {
        self.parts().0
    }

    pub fn is_encrypted(&self) -> bool {
        matches!(self.scheme(), "tls" | "https")
    }

    pub fn authority(&self) -> &str {
        let rest = self.parts().1;
        rest.split('/').next().unwrap_or(rest)
    }

    pub fn host_and_port(&self) -> (&str, u16) {
        let (host, port) = self.authority().rsplit_once(':').expect("a call says its port");
        (host, port.parse().expect("a port is a number"))
    }

    pub fn path(&self) -> &str {
        let rest = self.parts().1;
        rest.find('/').map_or("/", |at| &rest[at..])
    }

    fn parts(&self) -> (&str, &str) {
        self.to.split_once("://").expect("a call says its scheme")
    }

    /// What is to become of it, in percent.
    pub fn wanted(&self) -> BTreeMap<String, f64> {
        let one = self.want.iter().map(|want| (want.clone(), 100.0));
        self.shares.clone().into_iter().chain(one).collect()
    }

    /// `got` in percent; `tolerance` where there are several.
    pub fn differs(&self, got: &BTreeMap<String, f64>, tolerance: f64) -> Option<String> {
        let want = self.wanted();
        let close = |a: f64, b: f64| (a - b).abs() <= if want.len() == 1 { 0.0 } else { tolerance };
        let same = want.len() == got.len()
            && want
                .iter()
                .all(|(what, share)| got.get(what).is_some_and(|is| close(*is, *share)));
        (!same).then(|| format!("wanted {want:?}, got {got:?}"))
    }

    /// How it is forwarded otherwise than it should be.
    pub fn forwarded_otherwise(&self, told: &Told) -> Option<String> {
        let wrong: Vec<String> = self
            .route
            .iter()
            .filter(|(what, want)| told.route.get(*what) != Some(want))
            .map(|(what, want)| format!("{what}: wanted {want:?}, got {:?}", told.route.get(what)))
            .collect();
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }

    /// What the workload, or the caller, is told otherwise than it should be.
    pub fn told_otherwise(&self, told: &Told) -> Option<String> {
        let mut wrong = Vec::new();
        let texts = [
            ("path", &self.sees.path, &told.path),
            ("host", &self.sees.host, &told.host),
        ];
        for (what, want, got) in texts {
            if let Some(want) = want.as_ref().filter(|want| *want != got) {
                wrong.push(format!("{what}: wanted {want:?}, got {got:?}"));
            }
        }
        let headers = self.sees.headers.iter().map(|header| (header, &told.headers));
        let answer = self.answer.iter().map(|header| (header, &told.answer));
        for ((name, want), got) in headers.chain(answer) {
            let got = got.get(name);
            if want.as_ref() != got {
                wrong.push(format!("{name}: wanted {want:?}, got {got:?}"));
            }
        }
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.as_deref().unwrap_or("GET");
        write!(f, "{} -> {method} {}", self.from, self.to)
    }
}
