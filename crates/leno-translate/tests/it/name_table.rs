//! Names and addresses for the proxy's DNS.

use leno_proto::istio::networking::nds::v1::NameTable;
use leno_translate::{Proxy, ResourceType};
use prost::Message;

use crate::mesh::{Mesh, sidecar};

fn table(mesh: &Mesh, proxy: &Proxy) -> NameTable {
    let resource = mesh
        .ask(proxy, ResourceType::NameTable, "name-table")
        .resource
        .unwrap();
    NameTable::decode(resource.body.clone()).unwrap()
}

#[test]
#[allow(deprecated)]
fn the_short_name_is_for_the_same_namespace_only() {
    let mesh = Mesh::bookinfo();
    let near = table(&mesh, &sidecar("ratings-v1"));
    let reviews = &near.table["reviews.default.svc.cluster.local"];
    assert_eq!(reviews.ips, ["240.240.0.7", "fd00:6c65:6e6f::7"]);
    assert_eq!(
        reviews.alt_hosts,
        ["reviews", "reviews.default.svc", "reviews.default"]
    );
    let stranger = Proxy {
        namespace: "other".into(),
        ..sidecar("ratings-v1")
    };
    let far = table(&mesh, &stranger);
    let reviews = &far.table["reviews.default.svc.cluster.local"];
    assert_eq!(reviews.alt_hosts, ["reviews.default.svc", "reviews.default"]);
}
