//! RFC 9113 and RFC 7541 as h2spec (github.com/summerwind/h2spec) checks them: leno passes every case that Envoy
//! passes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::bootstrap::bootstrap;
use crate::envoy::{Envoy, Leno, program};

const TEST: &str = "leno_passes_what_envoy_passes_of_h2spec";

#[tokio::test]
async fn leno_passes_what_envoy_passes_of_h2spec() {
    let Some(envoy) = program(TEST) else { return };
    let Ok(h2spec) = std::env::var("LENO_H2SPEC") else {
        return leno_testkit::skip(TEST, "no h2spec: set LENO_H2SPEC, see .ci/run");
    };
    let bootstrap = bootstrap(&[upstream().await]);
    let envoy = Envoy::start(&envoy, &bootstrap);
    let leno = Leno::start(&bootstrap);
    let ours = run(&h2spec, leno.listeners[0], &[]).await;
    assert!(ours.len() > 140, "{} cases", ours.len());
    let failed: Vec<(&Case, &String)> = ours
        .iter()
        .filter_map(|(case, verdict)| Some((case, verdict.as_ref()?)))
        .collect();
    // Envoy is asked of these only: it takes its time over what it closes.
    let sections: Vec<&str> = failed.iter().map(|(case, _)| case.section.as_str()).collect();
    let envoys = match sections.is_empty() {
        true => BTreeMap::new(),
        false => run(&h2spec, envoy.listeners[0], &sections).await,
    };
    let worse: Vec<_> = failed
        .iter()
        .filter(|(case, _)| matches!(envoys.get(case), Some(None)))
        .collect();
    assert!(worse.is_empty(), "leno fails what Envoy passes: {worse:#?}");
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    section: String,
    title: String,
}

/// What failed of each case; None: it passed.
async fn run(h2spec: &str, address: SocketAddr, sections: &[&str]) -> BTreeMap<Case, Option<String>> {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report.xml");
    let mut command = Command::new(h2spec);
    command
        .args(["--strict", "--timeout", "1", "--host", "127.0.0.1", "--port"])
        .arg(address.port().to_string())
        .arg("--junit-report")
        .arg(&report)
        .args(sections)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // It fails if any case does; the report says which.
    tokio::task::spawn_blocking(move || command.status().unwrap())
        .await
        .unwrap();
    verdicts(&std::fs::read_to_string(report).unwrap())
}

/// Of a JUnit report, whose names are quoted and escaped, so that no `<` stands for itself.
fn verdicts(report: &str) -> BTreeMap<Case, Option<String>> {
    let reported = report.split("<testcase ").skip(1);
    reported
        .filter_map(|text| {
            let attribute = |name: &str| text.split_once(&format!("{name}=\""))?.1.split('"').next();
            let case = Case {
                section: attribute("package")?.to_owned(),
                title: attribute("classname")?.to_owned(),
            };
            let failed = ["<failure", "<error", "<skipped"]
                .iter()
                .find(|kind| text.contains(**kind));
            let said = text.split_once('>')?.1.split("</testcase").next()?;
            Some((case, failed.map(|_| said.trim().to_owned())))
        })
        .collect()
}

/// Answers every request with a few bytes.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut received = Vec::new();
                while stream.read_buf(&mut received).await? > 0 {
                    while let Some(end) = received.windows(4).position(|part| part == b"\r\n\r\n") {
                        received.drain(..end + 4);
                        stream
                            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789")
                            .await?;
                    }
                }
                std::io::Result::Ok(())
            });
        }
    });
    address
}
