//! Who sees what, and whom a change concerns.

use leno_api::Code;
use leno_model::delta::Key;
use leno_model::{Host, HttpAction};

use crate::dialects::bookinfo;
use crate::{Mesh, codes, host, keys, rules_in};

/// A VirtualService for reviews that answers with this status.
fn answering(name: &str, namespace: &str, export: &str, status: u16) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  exportTo: {export}\n  hosts: [reviews.default.svc.cluster.local]\n  http: [{{directResponse: {{status: {status}}}}}]\n"
    )
}

fn status(mesh: &Mesh, namespace: &str) -> Option<u16> {
    let rules = rules_in(&mesh.snapshot(), "reviews", namespace);
    rules.first().map(|rule| match rule.action {
        HttpAction::Respond { status, .. } => status,
        ref other => panic!("{other:?}"),
    })
}

#[test]
fn of_several_virtual_services_the_nearest_to_the_caller_holds() {
    let all = [
        bookinfo(),
        answering("a-public", "default", "['*']", 201),
        answering("b-named", "default", "[shop, edge]", 202),
        answering("c-private", "shop", "[.]", 203),
        answering("d-private", "other", "[.]", 204),
    ];
    let (mesh, outcome) = Mesh::of(&all.concat());
    assert_eq!(codes(&outcome), []);
    for (namespace, wanted) in [
        ("default", 201),
        ("anywhere", 201),
        ("edge", 202),
        ("shop", 203),
        ("other", 204),
    ] {
        assert_eq!(status(&mesh, namespace), Some(wanted), "{namespace}");
    }
}

#[test]
fn two_of_the_same_standing_for_the_same_namespace_are_a_conflict() {
    let of = |one: &str, other: &str| {
        let both = [
            bookinfo(),
            answering("a", "default", one, 201),
            answering("b", "default", other, 202),
        ];
        codes(&Mesh::of(&both.concat()).1)
    };
    assert_eq!(of("['*']", "['*']"), [Code::RouteConflict]);
    assert_eq!(of("[shop, edge]", "[edge]"), [Code::RouteConflict]);
    assert_eq!(of("[shop]", "[edge]"), []);
    assert_eq!(of("['*']", "[edge]"), []);
}

#[test]
fn a_change_of_what_a_namespace_does_not_see_does_not_concern_it() {
    let (mut mesh, _) = Mesh::of(&bookinfo());
    let own = |namespace: &str| Key::RoutesOf(host("reviews"), namespace.into());
    let private = |status| answering("a", "shop", "[.]", status);
    assert_eq!(keys(&mesh.file("a.yaml", &private(201))), [own("shop")]);
    assert_eq!(keys(&mesh.file("a.yaml", &private(202))), [own("shop")]);
    // The others' change concerns those who find nothing of their own; who does has been told so by its key.
    let public = answering("b", "default", "['*']", 203);
    assert_eq!(
        keys(&mesh.file("b.yaml", &public)),
        [Key::Routes(host("reviews"))]
    );
    // Without its own it finds the others'.
    assert_eq!(keys(&mesh.file("a.yaml", "")), [own("shop")]);
    assert_eq!(status(&mesh, "shop"), Some(203));
}

#[test]
fn a_service_that_few_see_is_told_to_them_only() {
    let (mut mesh, _) = Mesh::of(&bookinfo());
    let service = |port: u16| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: quiet, namespace: shop, annotations: {{networking.istio.io/exportTo: edge}}}}\nspec:\n  selector: {{app: quiet}}\n  ports: [{{port: {port}, name: http}}]\n"
        )
    };
    let quiet = Host::in_cluster("quiet", "shop");
    let lists = || ["edge", "shop"].map(|namespace| Key::ServiceListOf(namespace.into()));
    let [edge, shop] = lists();
    let outcome = mesh.file("quiet.yaml", &service(80));
    assert_eq!(
        keys(&outcome),
        [
            Key::Service(quiet.clone()),
            edge,
            shop,
            Key::Exported(quiet.clone())
        ]
    );
    // What it is concerns those who have asked for it; others are told nothing.
    assert_eq!(
        keys(&mesh.file("quiet.yaml", &service(81))),
        [Key::Service(quiet)]
    );
}

#[test]
fn a_rule_without_its_delegate_is_left_out_and_reported() {
    let root = |to: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: root, namespace: default}}\nspec:\n  hosts: [reviews]\n  http:\n  - match: [{{uri: {{prefix: /a}}}}]\n    delegate: {to}\n"
        )
    };
    let delegate = |export: &str, uri: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: part, namespace: team}}\nspec:\n  exportTo: {export}\n  http: [{{match: [{{uri: {uri}}}], directResponse: {{status: 201}}}}]\n"
        )
    };
    let (mesh, outcome) =
        Mesh::of(&(bookinfo() + &root("{name: part, namespace: team}") + &delegate("[]", "{prefix: /a/b}")));
    assert_eq!(codes(&outcome), []);
    assert_eq!(status(&mesh, "default"), Some(201));
    for (text, code) in [
        (
            root("{name: part}") + &delegate("[]", "{prefix: /a}"),
            Code::DelegateNotFound,
        ),
        (root("{name: root}"), Code::DelegateNotFound),
        (
            root("{name: part, namespace: team}") + &delegate("[.]", "{prefix: /a}"),
            Code::DelegateNotFound,
        ),
        (
            root("{name: part, namespace: team}") + &delegate("[]", "{prefix: /b}"),
            Code::DelegateConflict,
        ),
        (
            root("{name: part, namespace: team}") + &delegate("[]", "{regex: /a.*}"),
            Code::DelegateConflict,
        ),
    ] {
        let (mesh, outcome) = Mesh::of(&(bookinfo() + &text));
        assert_eq!(codes(&outcome), [code], "{text}");
        assert_eq!(status(&mesh, "default"), None, "{text}");
    }
}
