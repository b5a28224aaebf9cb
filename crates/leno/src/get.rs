//! `leno get`: the objects that the control plane holds, and what has become of them.

use anyhow::Context;
use clap::Args;
use leno_proto::control::{Diagnostic, Object, ObjectsRequest, ObjectsResponse, StatusResponse};
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
        "status": object.status, "place": object.place, "conditions": conditions(object),
        "diagnostics": diagnostics.collect::<Vec<_>>(),
    })
}

/// Codes of what an object refers to and is not there.
const REFERENCES: [&str; 8] = [
    "LN0301", "LN0302", "LN0307", "LN0308", "LN0309", "LN0320", "LN0321", "LN0330",
];

/// As controllers of Kubernetes say it: whether what is written is taken, whether anything of the object is in force,
/// whether all that it refers to is there.
fn conditions(object: &Object) -> Value {
    let messages = |so: &dyn Fn(&Diagnostic) -> bool| {
        let those = object.diagnostics.iter().filter(|d| so(d));
        let messages: Vec<&str> = those.map(|d| d.message.as_str()).collect();
        messages.join("; ")
    };
    let reading = |d: &Diagnostic| {
        d.severity == "error" && ["LN01", "LN02", "LN04"].contains(&d.code.get(..4).unwrap_or(""))
    };
    let missing = |d: &Diagnostic| REFERENCES.contains(&d.code.as_str());
    let condition = |kind: &str, so: bool, reasons: [&str; 2], message: String| {
        let (status, reason) = if so {
            ("True", reasons[0])
        } else {
            ("False", reasons[1])
        };
        json!({ "type": kind, "status": status, "reason": reason, "message": if so { String::new() } else { message } })
    };
    let unresolved = messages(&missing);
    let accepted = !matches!(object.status.as_str(), "rejected" | "stale");
    json!([
        condition("Accepted", accepted, ["Accepted", "Invalid"], messages(&reading)),
        condition(
            "InForce",
            object.status != "rejected",
            ["InForce", "NoGoodVersion"],
            messages(&reading)
        ),
        condition(
            "ResolvedRefs",
            unresolved.is_empty(),
            ["ResolvedRefs", "RefNotFound"],
            unresolved
        ),
    ])
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: &str, found: &[(&str, &str)]) -> Vec<String> {
        let diagnostics = found.iter().map(|(code, message)| Diagnostic {
            code: (*code).to_owned(),
            severity: "error".to_owned(),
            message: (*message).to_owned(),
            ..Default::default()
        });
        let object = Object {
            status: status.to_owned(),
            diagnostics: diagnostics.collect(),
            ..Default::default()
        };
        let conditions = conditions(&object);
        let each = conditions.as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        each.map(|c| {
            format!(
                "{} {} {}",
                text(&c["type"]),
                text(&c["status"]),
                text(&c["message"])
            )
        })
        .collect()
    }

    #[test]
    fn conditions_say_what_is_taken_what_is_in_force_and_what_does_not_resolve() {
        let good = ["Accepted True ", "InForce True ", "ResolvedRefs True "];
        assert_eq!(of("accepted", &[]), good);
        assert_eq!(
            of("error", &[("LN0301", "no host a"), ("LN0308", "no port 1")]),
            [
                "Accepted True ",
                "InForce True ",
                "ResolvedRefs False no host a; no port 1"
            ]
        );
        assert_eq!(
            of("stale", &[("LN0102", "unknown field x")]),
            [
                "Accepted False unknown field x",
                "InForce True ",
                "ResolvedRefs True "
            ]
        );
        assert_eq!(
            of("rejected", &[("LN0102", "unknown field x")]),
            [
                "Accepted False unknown field x",
                "InForce False unknown field x",
                "ResolvedRefs True "
            ]
        );
    }
}
