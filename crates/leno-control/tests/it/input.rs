//! Bad configuration: each bad object is refused alone, with code and place; all else is in force.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use leno_proto::control::{Diagnostic, ObjectsRequest, StatusRequest};

use crate::rig::{PATIENCE, Rig};

/// `shared/cases/istio-crds`: what Istio's own CRDs accept or refuse.
fn documents(suffix: &str) -> Option<Vec<(String, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cases = std::env::var_os("LENO_CASES").map_or_else(|| root.join("../shared/cases"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(cases.join("istio-crds")) else {
        leno_testkit::skip("istio-crds through the control plane", "LENO_CASES not found");
        return None;
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(suffix));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        for (i, document) in text.split("\n---").enumerate() {
            // What the data says of the error that Kubernetes gives.
            let lines: Vec<&str> = document.lines().filter(|l| !l.starts_with("_err:")).collect();
            all.push((format!("{name}-{i}"), lines.join("\n")));
        }
    }
    Some(all)
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: {name}}}, ports: [{{port: 80, name: http}}]}}\n"
    )
}

/// The diagnostics once they are so.
async fn told(rig: &Rig, so: impl Fn(&[Diagnostic]) -> bool) -> Vec<Diagnostic> {
    let mut mesh = rig.mesh().await;
    let mut last = Vec::new();
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            last = mesh
                .status(StatusRequest {})
                .await
                .unwrap()
                .into_inner()
                .diagnostics;
            if so(&last) {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    let reached = asked.await.is_ok();
    assert!(reached, "never so: {last:#?}");
    last
}

/// Names of the objects of a kind that are in force.
async fn in_force(rig: &Rig, kind: &str) -> BTreeSet<String> {
    let request = ObjectsRequest {
        kind: kind.to_owned(),
        ..Default::default()
    };
    let answer = rig.mesh().await.objects(request).await.unwrap().into_inner();
    let held = answer
        .objects
        .into_iter()
        .filter(|object| !object.yaml.is_empty());
    held.map(|object| object.name).collect()
}

#[tokio::test]
async fn every_invalid_object_is_refused_alone_with_code_and_place() {
    let Some(documents) = documents("-invalid.yaml") else {
        return;
    };
    // What is refused by itself is refused by the control plane; what is not is listed in leno-api's exceptions.
    let refused = |text: &str| {
        let parsed = leno_api::read("case.yaml", text.as_bytes());
        parsed.objects.is_empty() && parsed.diagnostics.iter().any(leno_api::Diagnostic::is_error)
    };
    let bad: Vec<(String, String)> = documents.into_iter().filter(|(_, text)| refused(text)).collect();
    assert!(bad.len() > 40, "{} documents are refused", bad.len());
    let files: Vec<(String, String)> = bad
        .iter()
        .enumerate()
        .map(|(i, (name, text))| {
            let neighbours = (service(&format!("before-{i}")), service(&format!("after-{i}")));
            (
                format!("{name}.yaml"),
                format!("{}---\n{text}\n---\n{}", neighbours.0, neighbours.1),
            )
        })
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    let rig = Rig::start(&files).await;
    let of = |found: &Diagnostic, file: &str| {
        found.severity == "error" && found.place.contains(&format!("/{file}:"))
    };
    let told = told(&rig, |told| {
        files.iter().all(|(file, _)| told.iter().any(|d| of(d, file)))
    })
    .await;
    for (file, _) in &files {
        let found = told.iter().find(|d| of(d, file)).unwrap();
        assert!(found.code.starts_with("LN0"), "{file}: {found:?}");
        // file:line:column, and behind the first neighbour.
        let place: Vec<&str> = found.place.rsplitn(3, ':').collect();
        let line: u32 = place[1].parse().unwrap();
        assert!(
            line > 5 && place[0].parse::<u32>().unwrap() > 0,
            "{}",
            found.place
        );
    }
    let services = in_force(&rig, "service").await;
    let expected = (0..files.len()).flat_map(|i| [format!("before-{i}"), format!("after-{i}")]);
    assert_eq!(services, expected.collect());
}

#[tokio::test]
async fn an_object_that_breaks_stays_as_it_was_whatever_its_kind() {
    let Some(documents) = documents("-valid.yaml") else {
        return;
    };
    let good = |text: &str| {
        let parsed = leno_api::read("case.yaml", text.as_bytes());
        parsed.objects.len() == 1 && !parsed.diagnostics.iter().any(leno_api::Diagnostic::is_error)
    };
    let mut names = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    let mut documents: Vec<(String, String)> = documents.into_iter().filter(|(_, text)| good(text)).collect();
    // Some are several forms of one object.
    documents.retain(|(_, text)| {
        let parsed = leno_api::read("case.yaml", text.as_bytes());
        kinds.insert(parsed.objects[0].key.kind);
        names.insert(parsed.objects[0].key.clone())
    });
    assert!(
        documents.len() >= 8 && kinds.len() >= 4,
        "{} of {kinds:?}",
        documents.len()
    );
    let rig = Rig::start(&[("neighbour.yaml", &service("neighbour"))]).await;
    let kept = |told: &[Diagnostic], name: &str| {
        told.iter()
            .any(|d| d.code == "LN0404" && d.place.contains(&format!("/{name}.yaml")))
    };
    for (name, text) in &documents {
        rig.write(&format!("{name}.yaml"), text);
    }
    let before = tokio::time::timeout(PATIENCE, async {
        loop {
            let held = in_force(&rig, "all").await;
            if held.len() > names.iter().map(|key| &key.name).collect::<BTreeSet<_>>().len() {
                return held;
            }
        }
    });
    let before = before.await.unwrap();
    for (name, text) in &documents {
        rig.write(
            &format!("{name}.yaml"),
            &text.replacen("spec:", "spec:\n  notAField: 1", 1),
        );
    }
    told(&rig, |told| documents.iter().all(|(name, _)| kept(told, name))).await;
    assert_eq!(in_force(&rig, "all").await, before);
}

#[tokio::test]
async fn files_that_are_meant_to_hurt_are_refused_by_their_size_and_hurt_nobody() {
    let bomb: String = (1..60)
        .map(|i| {
            let refers = vec![format!("*a{}", i - 1); 10].join(", ");
            format!("a{i}: &a{i} [{refers}]\n")
        })
        .collect();
    let wide: String = (0..600_000).map(|i| format!("  - {i}\n")).collect();
    let files = [
        ("large.yaml", "# padding\n".repeat(1_100_000)),
        (
            "bomb.yaml",
            format!("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n{bomb}"),
        ),
        (
            "cycle.yaml",
            "apiVersion: v1\nkind: Service\nmetadata: &m {name: *m}\n".to_owned(),
        ),
        ("deep-flow.yaml", "[".repeat(100_000)),
        (
            "deep-block.yaml",
            (0..3000).map(|i| format!("{}a:\n", " ".repeat(i))).collect(),
        ),
        (
            "wide.yaml",
            format!("apiVersion: v1\nkind: Service\nmetadata: {{name: x}}\nspec:\n  ports:\n{wide}"),
        ),
        ("bytes.yaml", "\u{0}\u{1}\u{feff}%%%@@@".to_owned()),
    ];
    let rig = Rig::start(&[("good.yaml", &service("good"))]).await;
    for (name, text) in &files {
        rig.write(name, text);
    }
    // Much of it is padding, and it is good.
    rig.write(
        "padded.yaml",
        &format!("{}{}", "# padding\n".repeat(900_000), service("padded")),
    );
    let of = |found: &Diagnostic, file: &str| {
        found.severity == "error" && found.place.contains(&format!("/{file}"))
    };
    let told = told(&rig, |told| {
        files.iter().all(|(file, _)| told.iter().any(|d| of(d, file)))
    })
    .await;
    for file in [
        "large.yaml",
        "bomb.yaml",
        "deep-flow.yaml",
        "deep-block.yaml",
        "wide.yaml",
    ] {
        let found: Vec<&str> = told
            .iter()
            .filter(|d| of(d, file))
            .map(|d| d.code.as_str())
            .collect();
        // A parser that gives up at a depth calls it bad syntax.
        let refused = |code: &&str| *code == "LN0105" || file.starts_with("deep") && *code == "LN0101";
        assert!(found.iter().any(refused), "{file}: {found:?}");
    }
    let all = tokio::time::timeout(PATIENCE, async {
        while in_force(&rig, "service").await.len() < 2 {}
    });
    all.await.unwrap();
    let expected = ["good", "padded"].map(str::to_owned).into();
    assert_eq!(in_force(&rig, "service").await, expected);
}

#[tokio::test]
async fn objects_that_refer_to_each_other_in_a_circle_are_read_once() {
    let circle: String = ["a", "b"]
        .into_iter()
        .map(|name| {
            let other = if name == "a" { "b" } else { "a" };
            format!(
                "{}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  \
                 hosts: [{name}]\n  http: [{{mirror: {{host: {name}}}, route: [{{destination: {{host: {other}}}}}]}}]\n---\n",
                service(name)
            )
        })
        .collect();
    let rig = Rig::start(&[("circle.yaml", &circle)]).await;
    assert_eq!(told(&rig, |_| true).await, []);
    assert_eq!(
        in_force(&rig, "virtualservice").await,
        ["a", "b"].map(str::to_owned).into()
    );
}
