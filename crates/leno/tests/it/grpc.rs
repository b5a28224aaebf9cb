//! gRPC libraries that are xDS clients themselves: the C core by Python, and grpc-js, with no proxy beside them.

use std::path::PathBuf;
use std::process::Command;

use leno_testkit::{Mesh, MeshBuilder, Process, eventually, skip};

use crate::support::{LENO, stdout};

const SERVER: &str = r#"
import sys, grpc
from concurrent import futures
version, address = sys.argv[1:]
def hello(request, context):
    return " ".join([version] + [i.decode() for i in context.peer_identities() or []]).encode()
class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(hello) if details.method == "/demo.Greeter/Hello" else None
server = grpc.server(futures.ThreadPoolExecutor(4), xds=True)
server.add_generic_rpc_handlers([Handler()])
server.add_secure_port(address, grpc.xds_server_credentials(grpc.insecure_server_credentials()))
server.start(); server.wait_for_termination()
"#;

/// TARGET COUNT [NAME=VALUE]...: one line a call.
const PYTHON: &str = r#"
import sys, grpc, grpc.experimental
target, count, pairs = sys.argv[1], int(sys.argv[2]), [tuple(p.split("=")) for p in sys.argv[3:]]
credentials = grpc.xds_channel_credentials(grpc.experimental.insecure_channel_credentials())
hello = grpc.secure_channel("xds:///" + target, credentials).unary_unary("/demo.Greeter/Hello")
for _ in range(count):
    try: print("OK", hello(b"", timeout=30, metadata=pairs).decode(), flush=True)
    except grpc.RpcError as e: print(e.code().name, e.details(), flush=True)
"#;

const NODE: &str = r#"
const grpc = require("@grpc/grpc-js"), xds = require("@grpc/grpc-js-xds");
xds.register();
const [target, count, ...pairs] = process.argv.slice(2);
const credentials = new xds.XdsChannelCredentials(grpc.credentials.createInsecure());
const client = new grpc.Client("xds:///" + target, credentials), metadata = new grpc.Metadata(), same = (b) => b;
for (const pair of pairs) metadata.set(...pair.split("="));
const call = () => new Promise((done) => client.makeUnaryRequest("/demo.Greeter/Hello", same, same, Buffer.alloc(0),
  metadata, { deadline: Date.now() + 30000 },
  (error, answer) => done(error ? `${grpc.status[error.code]} ${error.details}` : `OK ${answer}`)));
(async () => { for (let i = 0; i < Number(count); i++) console.log(await call()); process.exit(0); })();
"#;

const GREETER: &str = "
apiVersion: v1
kind: Service
metadata: {name: greeter}
spec: {selector: {app: greeter}, ports: [{name: grpc, port: 5000}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: greeter}
spec: {host: greeter, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: greeter}
spec:
  hosts: [greeter]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: greeter, subset: v2}}]
  - route: [{destination: {host: greeter, subset: v1}, weight: 75}, {destination: {host: greeter, subset: v2}, weight: 25}]
";
const TARGET: &str = "greeter.default.svc.cluster.local:5000";

/// The libraries, where an ordinary user can read them.
struct Libraries {
    python: PathBuf,
    node: PathBuf,
}

fn libraries(test: &str, mesh: &Mesh) -> Option<Libraries> {
    let variables = ["LENO_GRPC_PYTHON", "LENO_GRPC_NODE"].map(std::env::var_os);
    let [Some(python), Some(node)] = variables else {
        skip(
            test,
            "no gRPC libraries: set LENO_GRPC_PYTHON (pip install grpcio) and LENO_GRPC_NODE (npm install @grpc/grpc-js-xds)",
        );
        return None;
    };
    let copied = |from: std::ffi::OsString, name: &str| {
        let to = mesh.user.home().join(name);
        let copy = Command::new("cp").arg("-rL").arg(from).arg(&to).status().unwrap();
        assert!(copy.success());
        to
    };
    Some(Libraries {
        python: copied(python, "grpc-python"),
        node: copied(node, "node_modules"),
    })
}

/// `leno agent grpc ARGS -- COMMAND` with the libraries.
fn agent(mesh: &Mesh, libraries: &Libraries, args: &[&str], command: &[&str]) -> Command {
    let mut agent = mesh.command(&["agent", "grpc"]);
    agent.args(args).arg("--").args(command);
    agent
        .env("PYTHONPATH", &libraries.python)
        .env("NODE_PATH", &libraries.node);
    agent
}

fn server(mesh: &Mesh, libraries: &Libraries, version: &str, address: &str) -> Process {
    let script = mesh.user.write("server.py", SERVER).display().to_string();
    let (version_flag, account) = (
        format!("--version={version}"),
        format!("--service-account=greeter-{version}"),
    );
    let advertise = format!("--advertise={address}");
    let args = [
        "--service=greeter",
        &version_flag,
        &account,
        "--port=5000",
        &advertise,
    ];
    let listen = format!("{address}:5000");
    Process::spawn(agent(
        mesh,
        libraries,
        &args,
        &["python3", &script, version, &listen],
    ))
}

/// What a client in one of the languages says of its calls.
fn calls(mesh: &Mesh, libraries: &Libraries, language: &str, args: &[&str]) -> Vec<String> {
    let script = match language {
        "python3" => mesh.user.write("client.py", PYTHON),
        _ => mesh.user.write("client.js", NODE),
    };
    let script = script.display().to_string();
    let command = [&[language, script.as_str()], args].concat();
    let identity = ["--service=client", "--service-account=cee"];
    let output = agent(mesh, libraries, &identity, &command).output().unwrap();
    stdout(&output).lines().map(str::to_owned).collect()
}

#[test]
fn weights_header_matches_and_mutual_tls_hold_in_python_and_node() {
    let test = "weights_header_matches_and_mutual_tls_hold_in_python_and_node";
    let mesh = MeshBuilder::new(LENO.as_ref())
        .file("greeter.yaml", GREETER)
        .start();
    let Some(libraries) = libraries(test, &mesh) else {
        return;
    };
    let _servers = [
        server(&mesh, &libraries, "v1", "127.70.0.1"),
        server(&mesh, &libraries, "v2", "127.70.0.2"),
    ];
    mesh.wait_for_instances("greeter", 2);
    for language in ["python3", "node"] {
        eventually("both versions answer", || {
            let said = calls(&mesh, &libraries, language, &[TARGET, "20"]).join("\n");
            let all = ["OK v1", "OK v2"].iter().all(|part| said.contains(part));
            if all { Ok(()) } else { Err(said) }
        });
        // Whom the server was called by, it knows by a certificate from the agent's files.
        let client = " spiffe://cluster.local/ns/default/sa/cee";
        let said = calls(&mesh, &libraries, language, &[TARGET, "400"]);
        assert_eq!(said.len(), 400, "{language}");
        assert!(
            said.iter().all(|l| l.starts_with("OK ") && l.ends_with(client)),
            "{said:?}"
        );
        // Binomial, mean 300, deviation 8.7: 6.2 deviations away happens once in 10^9.
        let v1 = said.iter().filter(|l| l.starts_with("OK v1")).count();
        assert!(
            (246..=354).contains(&v1),
            "{language}: v1 answered {v1} of 400, expected 300"
        );
        let jason = calls(&mesh, &libraries, language, &[TARGET, "10", "end-user=jason"]);
        assert_eq!(jason, vec![format!("OK v2{client}"); 10], "{language}");
    }
    // Nothing was rejected on either side's streams.
    let status = mesh.status().to_string();
    assert!(!status.contains("REJECTED"), "{status}");
}

#[test]
fn a_service_that_is_not_there_is_an_error_at_once_that_names_it() {
    let test = "a_service_that_is_not_there_is_an_error_at_once_that_names_it";
    let mesh = MeshBuilder::new(LENO.as_ref())
        .file("greeter.yaml", GREETER)
        .start();
    let Some(libraries) = libraries(test, &mesh) else {
        return;
    };
    let said = calls(&mesh, &libraries, "python3", &["nobody:5000", "1"]);
    let said = said.join("\n");
    for part in [
        "UNAVAILABLE",
        "the mesh has no nobody:5000",
        "check the name and the port",
    ] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}
