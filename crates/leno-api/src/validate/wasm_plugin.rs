//! WasmPlugin: what is wrong with one is said, and that leno does not run it. One that decides who may come in is an
//! error: without it everybody would.

use super::{Check, policy_target};
use crate::codes::Code;
use crate::kinds::wasm_plugin::{PluginPhase, ValueSource, WasmPluginSpec};

const SCHEMES: [&str; 4] = ["oci", "http", "https", "file"];

pub(super) fn check(check: &mut Check<'_>, spec: &WasmPluginSpec) {
    policy_target::target(
        check,
        spec.selector.as_ref(),
        spec.target_ref.as_ref(),
        &spec.target_refs,
    );
    url(check, spec.url.as_deref());
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !(spec.sha256.is_empty() || spec.sha256.len() == 64 && hexadecimal(&spec.sha256)) {
        let message = format!("{:?} is no SHA-256", spec.sha256);
        check.error(
            Code::WrongValue,
            "spec.sha256",
            message,
            "it has 64 hexadecimal digits",
        );
    }
    let texts = [
        ("imagePullSecret", &spec.image_pull_secret, 253),
        ("pluginName", &spec.plugin_name, 256),
    ];
    for (field, text, most) in texts {
        let length = text.as_ref().map_or(1, String::len);
        if !(1..=most).contains(&length) {
            let message = format!("{field} has 1 to {most} characters");
            check.error(Code::Empty, format!("spec.{field}"), message, "");
        }
    }
    let variables = &spec.vm_config.env;
    for (i, variable) in variables.iter().enumerate() {
        let at = format!("spec.vmConfig.env[{i}]");
        if variable.name.is_empty() {
            check.error(Code::Empty, format!("{at}.name"), "a variable without a name", "");
        }
        if variable.value_from == ValueSource::Host && !variable.value.is_empty() {
            let message = "value goes with valueFrom: INLINE only";
            check.error(
                Code::BadCombination,
                format!("{at}.value"),
                message,
                "leave it out",
            );
        }
    }
    let names = variables.iter().enumerate();
    check.distinct(
        "variable",
        names.map(|(i, variable)| (format!("spec.vmConfig.env[{i}].name"), variable.name.as_str())),
    );
    for (i, selector) in spec.r#match.iter().enumerate() {
        for (j, port) in selector.ports.iter().enumerate() {
            let at = format!("spec.match[{i}].ports[{j}]");
            match port.number {
                None => check.error(Code::MissingField, at, "a port without number", "add number"),
                Some(number) => check.port(format!("{at}.number"), i64::from(number)),
            }
        }
    }
    let what = "WasmPlugin";
    if matches!(spec.phase, PluginPhase::Authn | PluginPhase::Authz) {
        check.not_served(
            "spec.phase",
            format!("{what}, here one that decides who may come in,"),
        );
    } else {
        let message = format!("{what} is not served by leno yet: it is without effect");
        check.warning(Code::NotServed, "spec", message, "");
    }
}

fn url(check: &mut Check<'_>, url: Option<&str>) {
    let Some(url) = url.filter(|url| !url.is_empty()) else {
        return check.error(Code::MissingField, "spec.url", "a plugin without url", "add url");
    };
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#%$".contains(&byte);
    if scheme.is_some_and(|scheme| !SCHEMES.contains(&scheme)) || !url.bytes().all(plain) {
        let message = format!("{url:?} is no place of a plugin");
        let hint = "use oci://, http://, https:// or file://; without any an image is meant";
        check.error(Code::WrongValue, "spec.url", message, hint);
    }
}
