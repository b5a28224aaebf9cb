//! Fields and values that Istio keeps for those who have them already.

use leno_api::kinds::destination_rule::{DestinationRuleSpec, SimpleBalancer, TrafficPolicy};
use leno_api::kinds::virtual_service::VirtualServiceSpec;
use leno_api::{Code, Object, Severity, Spec};

use super::Mesh;

pub(super) fn look(mesh: &mut Mesh<'_>) {
    for object in mesh.objects.clone() {
        let outdated = match &object.spec {
            Spec::VirtualService(spec) => of_virtual_service(spec),
            Spec::DestinationRule(spec) => of_destination_rule(spec),
            _ => continue,
        };
        for (path, instead) in outdated {
            tell(mesh, object, &path, instead);
        }
    }
}

/// Where, and what to write instead.
type Outdated = (String, &'static str);

fn of_virtual_service(spec: &VirtualServiceSpec) -> Vec<Outdated> {
    let mut found = Vec::new();
    for (i, rule) in spec.http.iter().enumerate() {
        if rule.mirror_percent.is_some() {
            found.push((
                format!("spec.http[{i}].mirrorPercent"),
                "mirrorPercentage: {value: …}",
            ));
        }
        let Some(fault) = &rule.fault else { continue };
        if fault.delay.as_ref().is_some_and(|delay| delay.percent.is_some()) {
            found.push((
                format!("spec.http[{i}].fault.delay.percent"),
                "percentage: {value: …}",
            ));
        }
        if fault.abort.as_ref().is_some_and(|abort| abort.percent.is_some()) {
            found.push((
                format!("spec.http[{i}].fault.abort.percent"),
                "percentage: {value: …}",
            ));
        }
    }
    found
}

fn of_destination_rule(spec: &DestinationRuleSpec) -> Vec<Outdated> {
    let mut found = of_policy(&spec.traffic_policy, "spec.trafficPolicy");
    for (i, subset) in spec.subsets.iter().enumerate() {
        if let Some(policy) = &subset.traffic_policy {
            found.extend(of_policy(policy, &format!("spec.subsets[{i}].trafficPolicy")));
        }
    }
    found
}

fn of_policy(policy: &TrafficPolicy, at: &str) -> Vec<Outdated> {
    let mut found = Vec::new();
    let outlier = policy.outlier_detection.as_ref();
    if outlier.is_some_and(|outlier| outlier.consecutive_errors.is_some()) {
        found.push((
            format!("{at}.outlierDetection.consecutiveErrors"),
            "consecutive5xxErrors",
        ));
    }
    let balancer = policy.load_balancer.as_ref().and_then(|balancer| balancer.simple);
    if balancer == Some(SimpleBalancer::LeastConn) {
        found.push((format!("{at}.loadBalancer.simple"), "LEAST_REQUEST"));
    }
    found
}

fn tell(mesh: &mut Mesh<'_>, object: &Object, path: &str, instead: &str) {
    let name = path.rsplit('.').next().unwrap_or(path);
    let message = match name {
        "simple" => "LEAST_CONN is Istio's old name".to_owned(),
        name => format!("{name} is Istio's old field"),
    };
    let what = (Code::Outdated, Severity::Info);
    mesh.tell(object, what, path, message, format!("write {instead}"));
}
