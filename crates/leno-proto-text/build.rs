//! Makes the descriptor set that the crate embeds: Envoy's messages and ours, without comments and options.
//!
//! `envoy-types` carries the set that `protoc` made of Envoy's files when its Rust code was generated. Taking
//! that one and not the `.proto` files beside it saves 500 files' parsing in every build, and all names in it
//! are resolved already (Envoy's files lean on `protoc`'s scoping of names such as `config.core.v3.Address`).

use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use prost::Message;
use prost_reflect::DescriptorPool;
use prost_reflect::prost_types::FileDescriptorSet;

const ENVOY_TYPES: &str = "envoy-types";
const ENVOY_SET: &str = "src/generated/types.bin";
const OTHER_ROOTS: [&str; 4] = [
    "proto/xds",
    "proto/googleapis",
    "proto/cel-spec/proto",
    "proto/protoc-gen-validate",
];
const OWN_ROOT: &str = "../leno-proto/proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={OWN_ROOT}");
    println!("cargo::rerun-if-changed=build.rs");

    let package = package_directory(ENVOY_TYPES)?;
    let path = package.join(ENVOY_SET);
    println!("cargo::rerun-if-changed={}", path.display());
    let bytes = fs::read(&path).map_err(|e| format!("{ENVOY_TYPES} has no {ENVOY_SET} any more: {e}"))?;
    // Decoding into the bare descriptor types drops custom options; comments go below.
    let mut set = FileDescriptorSet::decode(bytes.as_slice())?;

    // Ours lean on a few of the others' files, which are in the set already.
    let roots = OTHER_ROOTS.iter().map(|root| package.join(root));
    let roots: Vec<PathBuf> = [PathBuf::from(OWN_ROOT)].into_iter().chain(roots).collect();
    for file in protox::compile(own_files(Path::new(OWN_ROOT))?, roots)?.file {
        if !set.file.iter().any(|known| known.name == file.name) {
            set.file.push(file);
        }
    }
    for file in &mut set.file {
        file.source_code_info = None;
    }

    let encoded = set.encode_to_vec();
    // What is embedded is known to load.
    DescriptorPool::decode(encoded.as_slice())?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("descriptors.bin"), encoded)?;
    Ok(())
}

/// Where cargo has a dependency's source: in a registry's cache, vendored or patched. Only cargo knows.
fn package_directory(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let cargo = env::var_os("CARGO").ok_or("CARGO is not set")?;
    let target = env::var("TARGET")?;
    let ask = |more: &[&str]| -> Result<Vec<u8>, Box<dyn Error>> {
        let output = Command::new(&cargo)
            .args(["metadata", "--format-version", "1", "--filter-platform", &target])
            .args(more)
            .output()?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into())
        }
    };
    // Offline first: the package is there, since it is being built against.
    let metadata = ask(&["--locked", "--offline"]).or_else(|_| ask(&[]))?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata)?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == name)
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or_else(|| format!("cargo metadata does not list {name}"))?;
    Ok(Path::new(manifest)
        .parent()
        .ok_or("a manifest without a directory")?
        .to_owned())
}

fn own_files(root: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension() == Some(OsStr::new("proto")) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
