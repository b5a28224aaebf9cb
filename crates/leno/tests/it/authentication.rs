//! RequestAuthentications in a mesh that runs: whose tokens are taken, from servers of keys that are down, slow, rotating and
//! lying, by leno's proxy and by Envoy.

mod envoy;
mod gateway;
mod secure;

use leno_testkit::{Answer, Issuer, KeyServer, Mesh, MeshBuilder, Process, eventually};
use serde_json::{Value, json};

use crate::support::{SERVER, mesh, stdout};

const LOG: &str = "accessLogFile: /dev/stdout\n";
const ISSUER: &str = "https://issuer.example";
const EXPIRED: &str = "Jwt is expired 401";
const NO_KEY: &str = "Jwks doesn't have key to match kid or alg from Jwt 401";

/// A rule for everybody in the namespace. `keys`: `jwks` or `jwksUri`, with its value.
fn tokens(name: &str, issuer: &str, keys: (&str, &str), more: &str) -> String {
    let (field, value) = (keys.0, serde_json::to_string(keys.1).unwrap());
    format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: {name}}}\nspec:\n  jwtRules:\n  - issuer: {issuer}\n    {field}: {value}\n{more}"
    )
}

fn claims(more: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "sub": "somebody", "aud": "reviews", "exp": 4_102_444_800_u64});
    if let (Some(all), Value::Object(more)) = (claims.as_object_mut(), more) {
        all.extend(more);
    }
    claims
}

/// Keys are asked for again and again.
fn impatient() -> MeshBuilder {
    mesh().file("mesh.yaml", LOG).control_arg("--jwks-refresh=100ms")
}

/// reviews, which answers `v1` to anything.
#[track_caller]
fn server(mesh: &Mesh) -> Process {
    let script = mesh.user.write("server.py", SERVER);
    let server = mesh.run(
        &["--service", "reviews", "--version", "v1", "--port", "9080:http"],
        &["python3", &script.display().to_string(), "v1", "9080"],
    );
    mesh.wait_for_instances("reviews", 1);
    server
}

/// What a workload gets for each of these requests, body and status: one process of the mesh for all of them.
#[track_caller]
fn ask(mesh: &Mesh, requests: &[&[&str]]) -> Vec<String> {
    let mut args = vec!["curl", "-sS", "--max-time", "20"];
    for (i, request) in requests.iter().enumerate() {
        if i > 0 {
            args.extend(["--next", "-sS", "--max-time", "20"]);
        }
        args.extend(["-w", " %{http_code}\n"]);
        args.extend(*request);
    }
    let output = mesh.client(&args);
    let lines = stdout(&output).replace("\n ", " ");
    lines.lines().map(str::to_owned).collect()
}

#[track_caller]
fn with(mesh: &Mesh, token: &str) -> String {
    let bearer = format!("authorization: Bearer {token}");
    let answers = ask(mesh, &[&["-H", &bearer, "http://reviews:9080/"]]);
    answers.concat()
}

#[track_caller]
fn gets(mesh: &Mesh, token: &str, wanted: &str) {
    eventually(&format!("it is answered {wanted}"), || match with(mesh, token) {
        answer if answer == wanted => Ok(()),
        other => Err(other),
    });
}

#[track_caller]
fn status_says(mesh: &Mesh, part: &str) -> String {
    eventually(&format!("status says `{part}`"), || {
        match stdout(&mesh.leno(&["status"])) {
            status if status.contains(part) => Ok(status),
            status => Err(status),
        }
    })
}

#[test]
fn a_good_token_passes_a_bad_one_is_refused_and_the_log_says_why() {
    let issuer = Issuer::new("one");
    let (stranger, keys) = (Issuer::new("one"), issuer.key_set());
    let more = "    audiences: [reviews]\n    outputClaimToHeaders: [{header: x-team, claim: team.name}]\n    outputPayloadToHeader: x-payload\n";
    let mesh = impatient()
        .file("tokens.yaml", &tokens("tokens", ISSUER, ("jwks", &keys), more))
        .start();
    let server = server(&mesh);
    let good = issuer.token(&claims(json!({"team": {"name": "a"}})));
    gets(&mesh, &good, "v1 200");

    let bearer = |token: &str| format!("authorization: Bearer {token}");
    let url = "http://reviews:9080/";
    let seen = ask(
        &mesh,
        &[
            &[url],
            &[
                "-H",
                &bearer(&good),
                "-H",
                "x-team: forged",
                "http://reviews:9080/headers",
            ],
            &["-H", "x-team: forged", "http://reviews:9080/headers"],
        ],
    );
    assert_eq!(seen.first().map(String::as_str), Some("v1 200"), "{seen:?}");
    let (with_token, without) = (&seen[1], &seen[2]);
    assert!(with_token.contains("\"x-team\": \"a\"") && with_token.contains("\"x-payload\": \""));
    assert!(
        !with_token.to_lowercase().contains("authorization"),
        "{with_token}"
    );
    // What only a token says nobody else may say.
    assert!(!without.contains("x-team"), "{without}");

    let mut bad = vec![
        (issuer.token(&claims(json!({"exp": 1_000_000_000}))), EXPIRED),
        (
            issuer.token(&claims(json!({"nbf": 4_000_000_000_u64}))),
            "Jwt not yet valid 401",
        ),
        (
            issuer.token(&claims(json!({"aud": "ratings"}))),
            "Audiences in Jwt are not allowed 403",
        ),
        (
            issuer.token(&claims(json!({"iss": "https://other.example"}))),
            "Jwt issuer is not configured 401",
        ),
        (stranger.token(&claims(json!({}))), "Jwt verification fails 401"),
        (Issuer::new("two").token(&claims(json!({}))), NO_KEY),
        (
            issuer.none(&claims(json!({}))),
            "Jwt header [alg] is not supported 401",
        ),
        (
            "a.b".to_owned(),
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections 401",
        ),
    ];
    let public = issuer.by_public_key(&claims(json!({})));
    bad.extend(
        public
            .into_iter()
            .map(|token| (token, "Jwt verification fails 401")),
    );
    let headers: Vec<String> = bad.iter().map(|(token, _)| bearer(token)).collect();
    let requests: Vec<[&str; 3]> = headers
        .iter()
        .map(|header| ["-H", header.as_str(), url])
        .collect();
    let requests: Vec<&[&str]> = requests.iter().map(|request| &request[..]).collect();
    let answers = ask(&mesh, &requests);
    let wanted: Vec<&str> = bad.iter().map(|(_, wanted)| *wanted).collect();
    assert_eq!(answers, wanted);

    let rule = "by ns[default]-tokens[tokens]-rule[0] RequestAuthentication/default/tokens (";
    for part in [
        "jwt_authn_access_denied{Jwt_is_expired}",
        "Jwt is expired: its exp is 1000000000, and now is ",
        "Audiences in Jwt are not allowed: its audience is \"ratings\", not reviews",
        "Jwt issuer is not configured: its issuer is \"https://other.example\", not https://issuer.example",
        "from Jwt: its key is \"two\", for RS256",
        "tokens.yaml:6:5)",
        rule,
    ] {
        let log = server.wait_for_output(part);
        assert!(!log.contains(&good), "a token is in the log: {log}");
    }
}

#[test]
fn tokens_are_found_in_headers_parameters_and_cookies_and_authorization_asks_for_them() {
    let issuer = Issuer::new("one");
    let more = "    fromHeaders: [{name: x-token, prefix: \"Token \"}]\n    fromParams: [token]\n    fromCookies: [session]\n    forwardOriginalToken: true\n";
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: members}\nspec:\n  rules:\n  - from: [{source: {requestPrincipals: [\"https://issuer.example/*\"]}}]\n    when: [{key: \"request.auth.claims[groups]\", values: [members]}, {key: \"request.auth.audiences\", values: [reviews]}, {key: \"request.auth.claims[scope]\", values: [read]}]\n";
    let mesh = impatient()
        .file(
            "tokens.yaml",
            &tokens("tokens", ISSUER, ("jwks", &issuer.key_set()), more),
        )
        .file("policy.yaml", policy)
        .start();
    let server = server(&mesh);
    let member = issuer.token(&claims(
        json!({"groups": ["others", "members"], "scope": "write read"}),
    ));
    let other = issuer.token(&claims(json!({"groups": ["others"], "scope": "read"})));
    let header = |token: &str| format!("x-token: Token {token}");
    let url = "http://reviews:9080/";
    eventually("the member is let in", || {
        let answers = ask(&mesh, &[&["-H", &header(&member), url]]);
        if answers == ["v1 200"] {
            Ok(())
        } else {
            Err(answers)
        }
    });
    let answers = ask(
        &mesh,
        &[
            &[&format!("{url}?token={member}&a=b")],
            &["-H", &format!("cookie: a=b; session={member}"), url],
            &["-H", &header(&other), url],
            &[url],
            // Not where this rule looks.
            &["-H", &format!("authorization: Bearer {member}"), url],
            &["-H", &header("a.b.c"), url],
        ],
    );
    let denied = "RBAC: access denied 403";
    let broken = "Jwt header is an invalid Base64url encoded 401";
    assert_eq!(answers, ["v1 200", "v1 200", denied, denied, denied, broken]);
    let log = server.wait_for_output("the token's groups is [\"others\"], not members");
    assert!(
        log.contains("no policy allows it; nearest is ns[default]-policy[members]-rule[0]"),
        "{log}"
    );
}

#[test]
fn keys_outlive_a_server_that_is_slow_lying_and_dead_and_restarts_of_everybody() {
    let (issuer, next) = (Issuer::new("one"), Issuer::new("two"));
    let keys = KeyServer::start(Answer::Body(issuer.key_set()));
    let url = keys.url();
    let mut mesh = impatient()
        .file(
            "tokens.yaml",
            &tokens("tokens", ISSUER, ("jwksUri", &url), "    timeout: 200ms\n"),
        )
        .start();
    let mut first = server(&mesh);
    let (old, new) = (issuer.token(&claims(json!({}))), next.token(&claims(json!({}))));
    gets(&mesh, &old, "v1 200");
    assert_eq!(with(&mesh, &new), NO_KEY);

    // Rotating: both for a while, then the new one alone.
    let both = json!({"keys": [issuer.key(), next.key()]}).to_string();
    keys.set(Answer::Body(both));
    gets(&mesh, &new, "v1 200");
    assert_eq!(with(&mesh, &old), "v1 200");
    keys.set(Answer::Body(next.key_set()));
    gets(&mesh, &old, NO_KEY);

    let garbage = [
        (Answer::Silence, "no answer within 200 ms"),
        (Answer::Body("<html>".to_owned()), "is not JSON: \"<html>\""),
        (
            Answer::Body("{\"keys\": []}".to_owned()),
            "none of its keys can verify",
        ),
        (
            Answer::Body("{\"keys\": [{\"kty\": \"RSA\", \"n\": \"AA\", \"e\": \"AQAB\"}]}".to_owned()),
            "none of its keys can verify",
        ),
        (Answer::Status(503), "answers 503"),
        (Answer::Body("x".repeat(2 << 20)), "more than 1 MiB"),
    ];
    for (answer, said) in garbage {
        keys.set(answer);
        let status = status_says(&mesh, said);
        assert!(
            status.contains("LN0331") && status.contains("the last good ones hold"),
            "{status}"
        );
        assert_eq!(with(&mesh, &new), "v1 200", "{said}");
    }

    // Dead, and everybody begins anew.
    let address = keys.address;
    drop(keys);
    status_says(&mesh, "Connection refused");
    mesh.control().stop();
    mesh.start_control();
    mesh.wait_for_instances("reviews", 1);
    assert_eq!(with(&mesh, &new), "v1 200");
    first.stop();
    mesh.wait_for_instances("reviews", 0);
    let _second = server(&mesh);
    gets(&mesh, &new, "v1 200");
    assert_eq!(with(&mesh, &issuer.token(&claims(json!({})))), NO_KEY);

    // Back, with the old key: it was a mistake.
    let keys = KeyServer::start_at(address, Answer::Body(issuer.key_set()));
    gets(&mesh, &old, "v1 200");
    eventually("nothing is wrong any more", || {
        match stdout(&mesh.leno(&["status"])) {
            status if status.contains("LN0331") => Err(status),
            _ => Ok(()),
        }
    });
    assert!(keys.asked() > 0);
}

#[test]
fn a_server_that_is_dead_from_the_start_is_nothing_to_other_issuers() {
    let (dead, silent, alive) = (Issuer::new("one"), Issuer::new("one"), Issuer::new("one"));
    let gone = KeyServer::start(Answer::Silence);
    let (address, url) = (gone.address, gone.url());
    drop(gone);
    let hanging = KeyServer::start(Answer::Silence);
    let serving = KeyServer::start(Answer::Body(alive.key_set()));
    let of = |name: &str| format!("https://{name}.example");
    let policy = |name: &str, uri: &str| tokens(name, &of(name), ("jwksUri", uri), "");
    let mesh = impatient()
        .file("dead.yaml", &policy("dead", &url))
        .file("hanging.yaml", &policy("hanging", &hanging.url()))
        .file("serving.yaml", &policy("serving", &serving.url()))
        .start();
    let _server = server(&mesh);
    let token = |issuer: &Issuer, name: &str| issuer.token(&claims(json!({"iss": of(name)})));
    gets(&mesh, &token(&alive, "serving"), "v1 200");
    assert_eq!(with(&mesh, &token(&dead, "dead")), NO_KEY);
    assert_eq!(with(&mesh, &token(&silent, "hanging")), NO_KEY);
    assert_eq!(ask(&mesh, &[&["http://reviews:9080/"]]), ["v1 200"]);
    let status = status_says(&mesh, "the keys of https://dead.example cannot be fetched");
    assert!(status.contains("no token of the issuer is taken"), "{status}");

    let _keys = KeyServer::start_at(address, Answer::Body(dead.key_set()));
    gets(&mesh, &token(&dead, "dead"), "v1 200");
    assert_eq!(with(&mesh, &token(&alive, "serving")), "v1 200");
}

#[test]
fn an_openid_provider_says_where_its_keys_are() {
    let issuer = Issuer::new("one");
    let keys = KeyServer::start(Answer::Body(issuer.key_set()));
    let provider = KeyServer::start(Answer::Status(404));
    let name = format!("http://{}", provider.address);
    let discovery =
        |issuer: &str| Answer::Body(json!({"issuer": issuer, "jwks_uri": keys.url()}).to_string());
    provider.set(discovery("https://somebody.else.example"));
    let policy = format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: tokens}}\nspec: {{jwtRules: [{{issuer: \"{name}\"}}]}}\n"
    );
    let mesh = impatient().file("tokens.yaml", &policy).start();
    let _server = server(&mesh);
    let token = issuer.token(&claims(json!({"iss": name})));
    gets(&mesh, &token, NO_KEY);
    status_says(
        &mesh,
        "is of the issuer \"\\\"https://somebody.else.example\\\"\"",
    );
    provider.set(discovery(&name));
    gets(&mesh, &token, "v1 200");
}
