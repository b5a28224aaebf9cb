//! Compiles our own few `.proto` files. protox stands in for `protoc`, so that a fresh machine needs only cargo.

use std::error::Error;

const PROTOS: [&str; 7] = [
    "proto/envoy/extensions/filters/http/peak_ewma/v3alpha/peak_ewma.proto",
    "proto/envoy/extensions/load_balancing_policies/peak_ewma/v3alpha/peak_ewma.proto",
    "proto/leno/control.proto",
    "proto/istio/v1/auth/ca.proto",
    "proto/istio/networking/nds/v1/nds.proto",
    "proto/opentelemetry/otlp.proto",
    "proto/zipkin/zipkin.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    // One Struct, one Any: Google's types are the ones that Envoy's messages already use.
    let mut config = tonic_prost_build::Config::new();
    config
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com");
    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::envoy_types::pb::google::protobuf")
        .extern_path(
            ".opentelemetry.proto.common.v1",
            "::envoy_types::pb::opentelemetry::proto::common::v1",
        )
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
