//! A stock Envoy as the sidecar, under leno's control plane.

use leno_testkit::{Issuer, Process, eventually};
use serde_json::json;

use super::{EXPIRED, ISSUER, NO_KEY, claims, tokens};
use crate::pod::{POD, Pod};
use crate::support::{SERVICE, stdout};

const PORT: u16 = 8099;

/// A server of what stands in `keys/`.
fn key_server(pod: &Pod) -> Process {
    let port = PORT.to_string();
    let directory = pod.user.home().join("keys").display().to_string();
    pod.beside(
        "python3",
        &[
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "--directory",
            &directory,
            &port,
        ],
    )
}

fn with(pod: &Pod, token: &str) -> String {
    let url = format!("http://{POD}:9080/");
    let bearer = format!("authorization: Bearer {token}");
    let args = ["-s", "-m", "10", "-H", &bearer, "-w", " %{http_code}", &url];
    stdout(&pod.outside("curl", &args)).replace('\n', "")
}

#[track_caller]
fn gets(pod: &Pod, token: &str, wanted: &str) {
    eventually(&format!("Envoy answers {wanted}"), || match with(pod, token) {
        answer if answer == wanted => Ok(()),
        other => Err(other),
    });
}

#[test]
fn an_envoy_takes_the_same_tokens_and_keeps_its_keys_while_their_server_is_dead() {
    let test = "an_envoy_takes_the_same_tokens_and_keeps_its_keys_while_their_server_is_dead";
    let (issuer, next, inline) = (Issuer::new("one"), Issuer::new("two"), Issuer::new("three"));
    let uri = format!("http://127.0.0.1:{PORT}/jwks");
    let fetched = tokens("fetched", ISSUER, ("jwksUri", &uri), "    audiences: [reviews]\n");
    let other = "https://other.example";
    let written = tokens("written", other, ("jwks", &inline.key_set()), "");
    // Nobody has its keys: the listener has to be taken all the same.
    let lost = tokens(
        "lost",
        "https://lost.example",
        ("jwksUri", "http://127.0.0.1:9/"),
        "",
    );
    let files = [
        ("reviews.yaml", SERVICE),
        ("fetched.yaml", &*fetched),
        ("written.yaml", &*written),
        ("lost.yaml", &*lost),
    ];
    let Some(mut pod) = Pod::start(test, &files) else {
        return;
    };
    pod.user.write("keys/jwks", &issuer.key_set());
    let mut keys = key_server(&pod);
    let reviews = [
        "--service",
        "reviews",
        "--service-account",
        "bee",
        "--version=v1",
        "--port",
        "9080:http",
    ];
    let _application = pod.application("v1");
    let mut agent = pod.agent(&reviews);
    pod.wait_for(&["reviews"]);

    let good = issuer.token(&claims(json!({})));
    gets(&pod, &good, "v1 200");
    let of_other = inline.token(&claims(json!({"iss": other})));
    assert_eq!(with(&pod, &of_other), "v1 200");
    let url = format!("http://{POD}:9080/");
    let without = pod.outside("curl", &["-s", "-m", "10", "-w", " %{http_code}", &url]);
    assert_eq!(stdout(&without), "v1\n 200");
    let mut bad = vec![
        issuer.token(&claims(json!({"exp": 1_000_000_000}))),
        issuer.token(&claims(json!({"iss": "https://nobody.example"}))),
        issuer.token(&claims(json!({"iss": "https://lost.example"}))),
        issuer.none(&claims(json!({}))),
        Issuer::new("one").token(&claims(json!({}))),
    ];
    bad.extend(issuer.by_public_key(&claims(json!({}))));
    for token in &bad {
        let answer = with(&pod, token);
        assert!(answer.ends_with(" 401"), "{answer}: {token}");
    }
    assert_eq!(with(&pod, &bad[0]), EXPIRED);
    let answer = with(&pod, &issuer.token(&claims(json!({"aud": "ratings"}))));
    assert_eq!(answer, "Audiences in Jwt are not allowed 403");

    // Rotating, lying, dead, and a restart of everybody.
    pod.user.write("keys/jwks", &next.key_set());
    let fresh = next.token(&claims(json!({})));
    gets(&pod, &fresh, "v1 200");
    gets(&pod, &good, NO_KEY);
    pod.user.write("keys/jwks", "<html>");
    let status_says = |pod: &Pod, part: &str| {
        eventually(&format!("status says {part}"), || {
            match stdout(&pod.leno(&["status"])) {
                status if status.contains(part) => Ok(()),
                status => Err(status),
            }
        });
    };
    status_says(&pod, "is not JSON");
    assert_eq!(with(&pod, &fresh), "v1 200");
    keys.stop();
    pod.control().stop();
    agent.stop();
    pod.start_control();
    let _agent = pod.agent(&reviews);
    pod.wait_for(&["reviews"]);
    gets(&pod, &fresh, "v1 200");
    assert_eq!(with(&pod, &of_other), "v1 200");
    status_says(&pod, "LN0331");
    let rejected = pod.stats("update_rejected");
    assert_eq!(rejected.iter().map(|(_, n)| n).sum::<u64>(), 0, "{rejected:?}");
}
