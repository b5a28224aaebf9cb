//! Istio's other samples: each file is loaded as it is, and does what it says; or is named here, with the reason.

mod elsewhere;
mod programs;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use leno_testkit::{Mesh, MeshBuilder, Process, eventually};

use crate::cases::{istio_samples, yaml_files};
use crate::shares::bounds;
use crate::support::{LENO, stdout};
use elsewhere::ELSEWHERE;
use programs::{APPLICATION, CALLER, NAMES};

/// A file, and who answers which call while it is in force.
struct Row {
    file: &'static str,
    /// Files that its own instructions want to be there before it.
    before: &'static [&'static str],
    calls: &'static [Call],
}

/// `[outside] KIND HOST PORT COUNT WHAT` of the caller, and all the different answers that it gets. `90% ANSWER` is one
/// that comes so often.
type Call = (&'static str, &'static [&'static str]);

const fn row(file: &'static str, calls: &'static [Call]) -> Row {
    after(&[], file, calls)
}

const fn after(before: &'static [&'static str], file: &'static str, calls: &'static [Call]) -> Row {
    Row { file, before, calls }
}

/// Two workloads answer by turns; 2^-32 that one is never asked.
const BOTH_HELLOS: &[&str] = &["v1 /hello", "v2 /hello"];
/// Balanced in the way of TCP: each connection is a choice.
const BOTH_ECHOES: &[&str] = &["one hello", "two hello"];

const ROWS: &[Row] = &[
    row(
        "helloworld/helloworld.yaml",
        &[("http helloworld 5000 32 /hello", BOTH_HELLOS)],
    ),
    row(
        "helloworld/helloworld-dual-stack.yaml",
        &[
            ("http helloworld 5000 32 /hello", BOTH_HELLOS),
            ("http6 helloworld 5000 32 /hello", BOTH_HELLOS),
        ],
    ),
    row(
        "helloworld/gateway-api/helloworld-versions.yaml",
        &[
            ("http helloworld-v1 5000 8 /hello", &["v1 /hello"]),
            ("http helloworld-v2 5000 8 /hello", &["v2 /hello"]),
        ],
    ),
    row(
        "httpbin/httpbin.yaml",
        &[("http httpbin 8000 1 /get", &["httpbin /get"])],
    ),
    row(
        "httpbin/httpbin-nodeport.yaml",
        &[("http httpbin 8000 1 /get", &["httpbin /get"])],
    ),
    row(
        "httpbin/sample-client/fortio-deploy.yaml",
        &[("http fortio 8080 1 /fortio", &["fortio /fortio"])],
    ),
    // Services of programs that only call others: they are known, and nobody answers.
    row("curl/curl.yaml", &[("http curl 80 1 /", &["503"])]),
    row("sleep/sleep.yaml", &[("http sleep 80 1 /", &["503"])]),
    row(
        "tcp-echo/tcp-echo-services.yaml",
        &[
            ("tcp tcp-echo 9000 32 hello", BOTH_ECHOES),
            ("tcp tcp-echo 9001 32 hello", BOTH_ECHOES),
        ],
    ),
    row(
        "tcp-echo/tcp-echo.yaml",
        &[("tcp tcp-echo 9000 32 hello", BOTH_ECHOES)],
    ),
    row(
        "tcp-echo/tcp-echo-ipv4.yaml",
        &[("tcp tcp-echo 9000 32 hello", BOTH_ECHOES)],
    ),
    row(
        "tcp-echo/tcp-echo-ipv6.yaml",
        &[("tcp6 tcp-echo 9000 32 hello", BOTH_ECHOES)],
    ),
    row(
        "tcp-echo/tcp-echo-dual-stack.yaml",
        &[
            ("tcp tcp-echo 9000 32 hello", BOTH_ECHOES),
            ("tcp6 tcp-echo 9001 32 hello", BOTH_ECHOES),
        ],
    ),
    row(
        "websockets/app.yaml",
        &[("websocket tornado 8888 1 hello", &["tornado hello"])],
    ),
    row(
        "grpc-echo/grpc-echo.yaml",
        &[
            ("http echo.echo-grpc 80 1 /x", &["echo /x"]),
            ("tcp echo.echo-grpc 9090 1 hello", &["echo hello"]),
            ("h2c echo.echo-grpc 7070 1 /x", &["204/2"]),
        ],
    ),
    // The application's own TLS passes as it is.
    row(
        "mtls-echo/mtls-echo.yaml",
        &[("tls mtls-echo 8443 1 app.example", &["mtls-echo app.example"])],
    ),
    row(
        "health-check/liveness-http-same-port.yaml",
        &[("http liveness-http 8001 1 /foo", &["liveness-http /foo"])],
    ),
    // Outside of the mesh only what is named may be called, by the name that the call itself says.
    row(
        "external/aptget.yaml",
        &[
            ("http deb.debian.org 80 1 /", &["outside /"]),
            ("http archive.ubuntu.com 80 1 /", &["outside /"]),
            ("http example.org 80 1 /", &["502"]),
            ("tls github.com 443 1 github.com", &["refused"]),
        ],
    ),
    row(
        "external/github.yaml",
        &[
            ("tls github.com 443 1 github.com", &["outside github.com"]),
            ("tls pypi.org 443 1 pypi.org", &["refused"]),
            ("tcp 140.82.112.4 22 1 hello", &["outside hello"]),
            ("tcp 198.18.7.3 22 1 hello", &["refused"]),
        ],
    ),
    row(
        "external/pypi.yaml",
        &[
            (
                "tls pypi.python.org 443 1 pypi.python.org",
                &["outside pypi.python.org"],
            ),
            ("tls pypi.org 443 1 pypi.org", &["outside pypi.org"]),
            (
                "tls files.pythonhosted.org 443 1 files.pythonhosted.org",
                &["outside files.pythonhosted.org"],
            ),
            ("tls github.com 443 1 github.com", &["refused"]),
        ],
    ),
    // From outside of the mesh, through a gateway.
    after(
        &["helloworld/helloworld.yaml"],
        "helloworld/helloworld-gateway.yaml",
        &[
            ("outside http 127.0.0.1 80 32 /hello", BOTH_HELLOS),
            ("outside http 127.0.0.1 80 1 /other", &["404"]),
        ],
    ),
    after(
        &["helloworld/helloworld.yaml"],
        "helloworld/gateway-api/helloworld-gateway.yaml",
        &[
            ("outside http 127.0.0.1 80 32 /hello", BOTH_HELLOS),
            ("outside http 127.0.0.1 80 1 /other", &["404"]),
        ],
    ),
    after(
        &[
            "helloworld/gateway-api/helloworld-versions.yaml",
            "helloworld/gateway-api/helloworld-gateway.yaml",
        ],
        "helloworld/gateway-api/helloworld-route.yaml",
        &[(
            "outside http 127.0.0.1 80 400 /hello",
            &["90% v1 /hello", "10% v2 /hello"],
        )],
    ),
    after(
        &["httpbin/httpbin.yaml"],
        "httpbin/httpbin-gateway.yaml",
        &[(
            "outside http 127.0.0.1 80 1 /status/any",
            &["httpbin /status/any"],
        )],
    ),
    after(
        &["httpbin/httpbin.yaml"],
        "httpbin/gateway-api/httpbin-gateway.yaml",
        &[("outside http 127.0.0.1 80 1 /get", &["httpbin /get"])],
    ),
    after(
        &["websockets/app.yaml"],
        "websockets/route.yaml",
        &[("outside websocket 127.0.0.1 80 1 hello", &["tornado hello"])],
    ),
    after(
        &["tcp-echo/tcp-echo-services.yaml"],
        "tcp-echo/tcp-echo-all-v1.yaml",
        &[("outside tcp 127.0.0.1 31400 100 hello", &["one hello"])],
    ),
    after(
        &["tcp-echo/tcp-echo-services.yaml", "tcp-echo/tcp-echo-all-v1.yaml"],
        "tcp-echo/tcp-echo-20-v2.yaml",
        &[(
            "outside tcp 127.0.0.1 31400 400 hello",
            &["80% one hello", "20% two hello"],
        )],
    ),
    after(
        &["tcp-echo/tcp-echo-services.yaml"],
        "tcp-echo/gateway-api/tcp-echo-all-v1.yaml",
        &[("outside tcp 127.0.0.1 31400 100 hello", &["one hello"])],
    ),
    after(
        &[
            "tcp-echo/tcp-echo-services.yaml",
            "tcp-echo/gateway-api/tcp-echo-all-v1.yaml",
        ],
        "tcp-echo/gateway-api/tcp-echo-20-v2.yaml",
        &[(
            "outside tcp 127.0.0.1 31400 400 hello",
            &["80% one hello", "20% two hello"],
        )],
    ),
];

/// 198.18.7.3 is every host outside of the mesh, 140.82.112.4 one of github's addresses; both are here.
const MACHINE: &str = r#"
ip addr add 198.18.7.3/32 dev lo
ip addr add 140.82.112.4/32 dev lo
echo nameserver 127.0.0.1 > resolv.conf
mount --bind resolv.conf /etc/resolv.conf
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=any -keyout any.key -out any.pem 2>&1
"#;

const ONLY_WHAT_IS_NAMED: &str = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}";

#[test]
fn each_file_is_loaded_whole_or_says_what_leno_does_not_serve() {
    let Some(samples) = istio_samples("each_file_is_loaded_whole_or_says_what_leno_does_not_serve") else {
        return;
    };
    for file in yaml_files(&samples) {
        let mut validate = std::process::Command::new(LENO);
        let output = validate
            .args(["validate", "-f"])
            .arg(samples.join(&file))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &stdout(&output);
        let expected = ELSEWHERE
            .iter()
            .find(|other| other.file == file)
            .map_or("", |other| other.says);
        let left_out = ["LN0106", "LN0107", "error["]
            .iter()
            .any(|code| said.contains(code));
        assert_eq!(left_out, !expected.is_empty(), "{file}: {said}");
        assert!(said.contains(expected), "{file}: expected `{expected}`: {said}");
    }
}

#[test]
fn each_file_does_what_it_says() {
    let Some(samples) = istio_samples("each_file_does_what_it_says") else {
        return;
    };
    every_file_is_somewhere(&samples);
    let mesh = MeshBuilder::new(Path::new(LENO))
        .on_a_machine(MACHINE)
        .file("mesh.yaml", ONLY_WHAT_IS_NAMED)
        .start();
    let _programs = start_programs(&mesh);
    let before = |number: usize| format!("b-before-{number}.yaml");
    for row in ROWS {
        println!("{}", row.file);
        let put = |name: &str, file: &str| mesh.write(name, &fs::read_to_string(samples.join(file)).unwrap());
        for (number, file) in row.before.iter().enumerate() {
            put(&before(number), file);
        }
        // Of an object that is given twice the first by file name holds: the newer one.
        put("a-row.yaml", row.file);
        for (call, answers) in row.calls {
            eventually(&format!("{}: {call}", row.file), || {
                let said = call_of(&mesh, call);
                if are(&said, answers) { Ok(()) } else { Err(said) }
            });
        }
        for number in 0..row.before.len() {
            mesh.remove(&before(number));
        }
    }
}

fn every_file_is_somewhere(samples: &Path) {
    // bookinfo's routes have a table of their own.
    let routes =
        |file: &str| file.starts_with("bookinfo/networking/") || file.starts_with("bookinfo/gateway-api/");
    let mut files = yaml_files(samples);
    files.retain(|file| !routes(file));
    let elsewhere = ELSEWHERE.iter().filter(|other| !routes(other.file));
    let mut known: Vec<&str> = ROWS
        .iter()
        .map(|row| row.file)
        .chain(elsewhere.map(|other| other.file))
        .collect();
    known.sort_unstable();
    assert_eq!(files, known, "a row for each file, or the reason why not");
}

/// Answers, and how often each came.
type Answers = BTreeMap<String, usize>;

/// By a program in the mesh, or by one outside of it.
#[track_caller]
fn call_of(mesh: &Mesh, call: &str) -> Answers {
    let output = match call.strip_prefix("outside ") {
        Some(call) => {
            let mut caller = mesh.program("python3");
            caller.arg("caller.py").args(call.split(' ')).output().unwrap()
        }
        None => mesh.client(
            &[
                &["python3", "caller.py"],
                &call.split(' ').collect::<Vec<_>>()[..],
            ]
            .concat(),
        ),
    };
    assert!(output.status.success(), "{call}: {output:?}");
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn are(said: &Answers, expected: &[&str]) -> bool {
    let all = said.values().sum();
    said.len() == expected.len()
        && expected.iter().all(|answer| match answer.split_once("% ") {
            Some((share, answer)) => {
                let bounds = bounds(all, share.parse::<f64>().unwrap() / 100.0);
                said.get(answer).is_some_and(|count| bounds.contains(count))
            }
            None => said.contains_key(*answer),
        })
}

/// The workloads are there before any file says their names: `app` is not what they are called.
#[track_caller]
fn start_programs(mesh: &Mesh) -> Vec<Process> {
    for (name, text) in [
        ("app.py", APPLICATION),
        ("caller.py", CALLER),
        ("names.py", NAMES),
    ] {
        mesh.user.write(name, text);
    }
    let workloads: [(&str, &str, &str, &[&str]); 11] = [
        ("helloworld", "v1", "default", &["http:5000:v1"]),
        ("helloworld", "v2", "default", &["http:5000:v2"]),
        ("httpbin", "v1", "default", &["http:8080:httpbin"]),
        ("fortio", "v1", "default", &["http:8080:fortio"]),
        ("liveness-http", "v1", "default", &["http:8001:liveness-http"]),
        ("tcp-echo", "v1", "default", &["tcp:9000:one", "tcp:9001:one"]),
        ("tcp-echo", "v2", "default", &["tcp:9000:two", "tcp:9001:two"]),
        ("tornado", "v1", "default", &["http:8888:tornado"]),
        (
            "echo",
            "v1",
            "echo-grpc",
            &["http:18080:echo", "tcp:19090:echo", "h2c:17070:echo"],
        ),
        ("mtls-echo", "v1", "default", &["tls:8443:mtls-echo"]),
        ("other", "v1", "default", &["http:9999:other"]),
    ];
    let mut programs = Vec::new();
    for (app, version, namespace, serves) in workloads {
        let (service, label) = (format!("{app}-program"), format!("app={app}"));
        let mut args = vec![
            "--service",
            &service,
            "--version",
            version,
            "--namespace",
            namespace,
            "--label",
            &label,
        ];
        for port in serves.iter().filter_map(|serve| serve.split(':').nth(1)) {
            args.extend(["--port", port]);
        }
        programs.push(mesh.run(&args, &[&["python3", "app.py"], serves].concat()));
    }
    let outside = [
        "198.18.7.3:http:80:outside",
        "198.18.7.3:tls:443:outside",
        "0.0.0.0:tcp:22:outside",
    ];
    // The outside has ports 80 and 22 at other addresses of this machine.
    let gateway = ["proxy", "gateway", "--bind", "127.0.0.1", "--metrics-port", "0"];
    programs.push(Process::spawn(mesh.command(&gateway)));
    for program in [&["names.py"][..], &[&["app.py"], &outside[..]].concat()] {
        let mut command = mesh.program("python3");
        command.args(program);
        programs.push(Process::spawn(command));
    }
    for (app, ..) in workloads {
        let count = workloads.iter().filter(|(other, ..)| *other == app).count();
        mesh.wait_for_instances(&format!("{app}-program"), count);
    }
    programs
}
