//! `leno get`: the objects that the control plane holds, and what has become of them.

use anyhow::Context;
use clap::Args;
use leno_proto::control::{Object, ObjectsRequest, ObjectsResponse, StatusResponse};
use serde_json::{Value, json};

use crate::client::{self, Mesh};
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output::{self, Format};

/// Objects of the configuration with their status, and workloads
#[derive(Debug, Args)]
pub struct Get {
    /// A kind (virtualservice, vs, svc, dr, se, pa, gw, httproute, …), workloads, or all
    kind: String,
    /// Only the one with this name (NAME or NAME.NAMESPACE)
    #[arg(default_value = "")]
    name: String,
    /// Only in this namespace
    #[arg(short, long, value_name = "NAMESPACE", default_value = "")]
    namespace: String,
    #[command(flatten)]
    join: JoinArgs,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub fn run(args: &Get, environment: &Environment) -> anyhow::Result<()> {
    let join = args.join.resolve(environment)?;
    if matches!(args.kind.as_str(), "workload" | "workloads" | "wl") {
        let status = output::block_on(async { anyhow::Ok(Mesh::connect(&join).await?.status().await?) })?;
        return workloads(args, &status);
    }
    let request = ObjectsRequest {
        kind: args.kind.clone(),
        name: args.name.clone(),
        namespace: args.namespace.clone(),
    };
    let answer =
        output::block_on(async { anyhow::Ok(Mesh::connect(&join).await?.objects(&request).await?) })?;
    match args.output {
        Format::Table => output::text(table(&answer))?,
        Format::Yaml => output::text(yaml(&items(&answer.objects)?)?)?,
        Format::Json => output::print(Format::Json, &document(&args.name, items(&answer.objects)?))?,
    }
    Ok(())
}

fn table(answer: &ObjectsResponse) -> String {
    let mut out = String::new();
    if answer.objects.is_empty() {
        out.push_str(
            "There is none. Put a YAML file into the directory that `leno control --config` reads.\n",
        );
    } else {
        let rows = answer.objects.iter().map(|object| {
            vec![
                object.namespace.clone(),
                object.kind.clone(),
                object.name.clone(),
                object.status.clone(),
                object.place.clone(),
            ]
        });
        out.push_str(&output::table(
            ["NAMESPACE", "KIND", "NAME", "STATUS", "PLACE"],
            rows,
        ));
    }
    let said = answer.objects.iter().flat_map(|object| &object.diagnostics);
    for diagnostic in said.chain(&answer.others) {
        out.push_str(&client::line(diagnostic));
        out.push('\n');
    }
    out
}

/// The objects as they are in force, each with its status where a controller of Kubernetes would write it.
fn items(objects: &[Object]) -> anyhow::Result<Vec<Value>> {
    let item = |object: &Object| {
        let mut item: Value = match object.yaml.as_str() {
            "" => json!({
                "kind": object.kind, "metadata": { "name": object.name, "namespace": object.namespace },
            }),
            yaml => serde_saphyr::from_str(yaml).context("the control plane's answer is no YAML")?,
        };
        if let Some(item) = item.as_object_mut() {
            item.insert("status".into(), json!({ "leno": status(object) }));
        }
        Ok(item)
    };
    objects.iter().map(item).collect()
}

/// Documents of a file.
fn yaml(items: &[Value]) -> anyhow::Result<String> {
    let documents: Result<Vec<String>, _> = items.iter().map(serde_saphyr::to_string).collect();
    Ok(documents?.join("---\n"))
}

/// One object if one is asked for by its name, else a list, as kubectl does.
fn document(name: &str, items: Vec<Value>) -> Value {
    match <[Value; 1]>::try_from(items) {
        Ok([only]) if !name.is_empty() => only,
        Ok(one) => json!({ "kind": "List", "items": one }),
        Err(items) => json!({ "kind": "List", "items": items }),
    }
}

fn status(object: &Object) -> Value {
    let diagnostics = object.diagnostics.iter().map(|d| {
        json!({
            "code": d.code, "severity": d.severity, "place": d.place, "message": d.message, "hint": d.hint,
        })
    });
    json!({
        "status": object.status, "place": object.place, "diagnostics": diagnostics.collect::<Vec<_>>(),
    })
}

fn workloads(args: &Get, status: &StatusResponse) -> anyhow::Result<()> {
    let target = crate::seeing::target::Target::parse(&args.name).ok();
    let namespace = |workload: &str| {
        workload
            .rsplit_once('.')
            .map(|(_, ns)| ns.to_owned())
            .unwrap_or_default()
    };
    let instance =
        |workload: &str| workload.split('.').next() == Some(args.name.as_str()) || workload == args.name;
    let chosen: Vec<_> = status
        .proxies
        .iter()
        .filter(|proxy| args.namespace.is_empty() || namespace(&proxy.workload) == args.namespace)
        .filter(|proxy| {
            args.name.is_empty()
                || instance(&proxy.workload)
                || target.as_ref().is_some_and(|target| target.is_proxy(proxy))
        })
        .collect();
    if chosen.is_empty() && !args.name.is_empty() {
        let names = status.proxies.iter().map(|proxy| proxy.workload_name.as_str());
        let near = leno_api::nearest(&args.name, names).map(|near| format!("did you mean {near}? "));
        anyhow::bail!(
            "there is no workload {} — NAME — {}`leno get workloads` lists what there is",
            args.name,
            near.unwrap_or_default()
        );
    }
    let rows = chosen.iter().map(|proxy| {
        vec![
            namespace(&proxy.workload),
            proxy.workload_name.clone(),
            proxy.workload.split('.').next().unwrap_or_default().to_owned(),
            proxy.service.clone(),
            proxy.address.clone(),
            if proxy.healthy { "healthy" } else { "not ready" }.to_owned(),
            proxy.principal.clone(),
        ]
    });
    let heads = [
        "NAMESPACE",
        "NAME",
        "INSTANCE",
        "SERVICE",
        "ADDRESS",
        "STATUS",
        "IDENTITY",
    ];
    match args.output {
        Format::Table if chosen.is_empty() => {
            output::text("No workload is connected. Start one with `leno run --service NAME -- COMMAND`.\n")?
        }
        Format::Table => output::text(output::table(heads, rows))?,
        other => {
            let items: Vec<Value> = rows
                .map(|cells| {
                    let fields = heads.iter().map(|head| head.to_ascii_lowercase()).zip(cells);
                    fields.map(|(head, cell)| (head, Value::String(cell))).collect()
                })
                .collect();
            output::print(other, &json!({ "kind": "List", "items": items }))?;
        }
    }
    Ok(())
}
