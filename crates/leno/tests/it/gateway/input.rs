//! What can be wrong at a gateway: it is said, with the remedy, and the rest is served.

use std::net::TcpListener;

use leno_testkit::{Mesh, eventually};

use super::tls::{certificate, https, secret};
use super::{ISTIO, answer, free_port, gateway, shop, wait_for};
use crate::support::{reviews, stdout};

/// Waits until `leno status` says this, and returns all it says.
#[track_caller]
fn status_says(mesh: &Mesh, part: &str) -> String {
    eventually(&format!("status says `{part}`"), || {
        let status = stdout(&mesh.leno(&["status"]));
        if status.contains(part) {
            Ok(status)
        } else {
            Err(status)
        }
    })
}

/// Ports 80 and 82 for the same routes.
fn two_ports() -> String {
    ISTIO.replace(
        "  servers:",
        "  servers:\n  - port: {number: 82, name: http-more, protocol: HTTP}\n    hosts: [\"*\"]",
    )
}

#[test]
fn a_taken_port_is_said_and_the_other_is_served_until_it_is_free() {
    let mesh = shop().file("istio.yaml", &two_ports()).start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, free) = (holder.local_addr().unwrap().port(), free_port());
    let gateway = gateway(&mesh, &[(80, taken), (82, free)], &[]);
    wait_for(free, "shop.example.com", "/v1", "v1 200");
    let said = gateway.wait_for_output("Address already in use");
    let line = said
        .lines()
        .find(|line| line.contains("Address already in use"))
        .unwrap();
    for part in [
        &format!("127.0.0.1:{taken}"),
        "0.0.0.0_80 of Gateway/default/shop/http",
        "ss -ltnp",
        "--map PORT:OTHER",
    ] {
        assert!(line.contains(part), "`{part}` is not in: {line}");
    }
    let status = status_says(&mesh, "rejects LDS: cannot listen");
    assert!(status.contains("REJECTED"), "{status}");
    // As soon as it is free it is opened.
    drop(holder);
    wait_for(taken, "shop.example.com", "/v1", "v1 200");
    eventually("nothing is rejected", || {
        let status = stdout(&mesh.leno(&["status"]));
        if status.contains("REJECTED") {
            Err(status)
        } else {
            Ok(())
        }
    });
}

#[test]
fn a_port_that_is_for_root_is_said_with_what_an_ordinary_user_can_do() {
    let unprivileged = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if unprivileged.trim().parse::<u16>().is_ok_and(|start| start <= 80) {
        leno_testkit::skip(
            "a_port_that_is_for_root_is_said_with_what_an_ordinary_user_can_do",
            "net.ipv4.ip_unprivileged_port_start lets everybody open port 80",
        );
        return;
    }
    let mesh = shop().file("istio.yaml", &two_ports()).start();
    let free = free_port();
    let gateway = gateway(&mesh, &[(82, free)], &[]);
    let said = gateway.wait_for_output("Permission denied");
    let line = said
        .lines()
        .find(|line| line.contains("Permission denied"))
        .unwrap();
    for part in [
        "127.0.0.1:80",
        "Gateway/default/shop/http",
        "--map 80:8080",
        "setcap",
        "ip_unprivileged_port_start",
    ] {
        assert!(line.contains(part), "`{part}` is not in: {line}");
    }
    assert_eq!(answer(free, "nobody.example.com", "/v1"), "404");
}

const TLS: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: {mode: SIMPLE, credentialName: shop}
  - port: {number: 444, name: https-files, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: {mode: SIMPLE, serverCertificate: HOME/files.pem, privateKey: HOME/files.key}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example.com]
  gateways: [shop]
  http:
  - route: [{destination: {host: reviews}}]
";

#[test]
fn a_certificate_that_is_missing_broken_or_expired_names_the_gateway_and_the_secret() {
    let mesh = shop().start();
    let _workload = reviews(&mesh, "v1");
    mesh.wait_for_instances("reviews", 1);
    mesh.write(
        "tls.yaml",
        &TLS.replace("HOME", &mesh.user.home().display().to_string()),
    );
    let (http, tls, files) = (free_port(), free_port(), free_port());
    let gateway = gateway(&mesh, &[(80, http), (443, tls), (444, files)], &[]);
    // Missing: the other port is served.
    wait_for(http, "shop.example.com", "/v1", "v1 200");
    let status = status_says(&mesh, "rejects SDS");
    for part in [
        // The control plane's, from the files alone; then the proxy's.
        "error[LN0321]: there is no Secret shop with a certificate — Gateway default/shop",
        "the certificate kubernetes://default/shop is not there — Gateway/default/shop/https — put a Secret shop",
        "files.key is not usable — Gateway/default/shop/https-files — put PEM files",
    ] {
        assert!(status.contains(part), "`{part}` is not in: {status}");
    }
    assert!(!https(&mesh, tls, "files", &[]).contains("200"));
    // Expired: told, and a new one is taken.
    mesh.write("secret.yaml", &secret(&mesh, "shop", "old", 0));
    let status = status_says(&mesh, "has expired");
    let expired =
        "the certificate kubernetes://default/shop has expired — Gateway/default/shop/https — put a new one";
    assert!(status.contains(expired), "{status}");
    assert!(!status.contains("LN0321"), "{status}");
    gateway.wait_for_output(expired);
    mesh.write("secret.yaml", &secret(&mesh, "shop", "new", 10));
    certificate(&mesh, "files", "shop.example.com", 10);
    eventually("both are served", || {
        let answers = [https(&mesh, tls, "new", &[]), https(&mesh, files, "files", &[])];
        match answers.iter().all(|answer| answer == "v1 200 2") {
            true => Ok(()),
            false => Err(answers),
        }
    });
    eventually("nothing is rejected", || {
        let status = stdout(&mesh.leno(&["status"]));
        if status.contains("REJECTED") {
            Err(status)
        } else {
            Ok(())
        }
    });
    // Broken: refused where it is read, and the last good one stays.
    mesh.write(
        "secret.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: shop}\ntype: kubernetes.io/tls\nstringData: {tls.crt: oops, tls.key: oops}\n",
    );
    status_says(&mesh, "tls.crt is not a certificate in PEM — Secret default/shop");
    assert_eq!(https(&mesh, tls, "new", &[]), "v1 200 2");
}
