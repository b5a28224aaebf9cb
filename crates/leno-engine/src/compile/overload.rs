//! `envoy.config.overload.v3.OverloadManager`: what is measured of the machine and the process, and what is not done any
//! more when there is too much of it.

use std::path::PathBuf;
use std::time::Duration;

use super::Rejection;
use super::at::{At, no_effect, refuse};
use super::pb::{monitors, overload as pb};
use crate::runtime::Setting;

#[derive(Clone, Debug, PartialEq)]
pub struct Overload {
    /// Between two looks at the monitors.
    pub interval: Duration,
    pub monitors: Vec<Monitor>,
    pub actions: Vec<Action>,
    /// By how much [`What::ReduceTimeouts`] shortens them; others stay as they are.
    pub timers: Vec<(Timer, Least)>,
    /// Connections of clients at a time, over all listeners. None: as many as come.
    pub max_connections: Option<u64>,
}

/// Measures a pressure: 0 is none, 1 is all that there may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Monitor {
    pub name: String,
    pub resource: Resource,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// Memory of the process, of so many bytes.
    Heap { most: Setting<u64> },
    /// Memory of the control group, of so many bytes or of the group's own limit, whichever is less.
    Cgroup { most: Option<u64> },
    /// The machine's processors.
    Cpu,
    /// A file says it.
    Injected { file: PathBuf },
    /// Connections of clients; [`Overload::max_connections`].
    Connections,
}

/// Something that is done, or left undone, by the state of its triggers.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    pub name: String,
    pub what: What,
    /// The greatest of their states counts.
    pub triggers: Vec<Trigger>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Requests are answered 503.
    StopRequests,
    /// A connection ends with the answer.
    DisableKeepalive,
    /// What connects waits.
    StopConnections,
    /// What connects is closed.
    RejectConnections,
    /// Timers are shorter.
    ReduceTimeouts,
    /// Nothing: the allocator gives back by itself.
    ShrinkHeap,
    /// Load-shed points.
    ShedConnections,
    ShedRequests,
    ShedCodecs,
    ShedForwarded,
}

/// Timers of clients' connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    ConnectionIdle,
    StreamIdle,
    Handshake,
}

/// What is left of a timer when there is all of the pressure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Least {
    Time(Duration),
    /// Of what is configured, from 0 to 1.
    Share(f64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// The place among the monitors.
    pub monitor: usize,
    /// The pressure from which on it has an effect, and that from which on it has all of it. They are equal where it is a
    /// threshold.
    pub scaling: f64,
    pub saturation: f64,
    pub threshold: bool,
}

const CONNECTIONS: &str = "envoy.resource_monitors.global_downstream_max_connections";

const ACTIONS: [(&str, What); 6] = [
    ("envoy.overload_actions.reduce_timeouts", What::ReduceTimeouts),
    (
        "envoy.overload_actions.stop_accepting_requests",
        What::StopRequests,
    ),
    (
        "envoy.overload_actions.disable_http_keepalive",
        What::DisableKeepalive,
    ),
    (
        "envoy.overload_actions.stop_accepting_connections",
        What::StopConnections,
    ),
    (
        "envoy.overload_actions.reject_incoming_connections",
        What::RejectConnections,
    ),
    ("envoy.overload_actions.shrink_heap", What::ShrinkHeap),
];

const POINTS: [(&str, What); 4] = [
    (
        "envoy.load_shed_points.tcp_listener_accept",
        What::ShedConnections,
    ),
    (
        "envoy.load_shed_points.http_connection_manager_decode_headers",
        What::ShedRequests,
    ),
    (
        "envoy.load_shed_points.hcm_ondata_creating_codec",
        What::ShedCodecs,
    ),
    (
        "envoy.load_shed_points.http_downstream_filter_check",
        What::ShedForwarded,
    ),
];

// === impl What ===

impl What {
    pub const COUNT: usize = Self::ShedForwarded as usize + 1;

    pub fn is_point(self) -> bool {
        POINTS.iter().any(|(_, what)| *what == self)
    }
}

pub(super) fn overload(at: &At<'_>, message: &pb::OverloadManager) -> Result<Overload, Rejection> {
    let pb::OverloadManager {
        refresh_interval,
        resource_monitors,
        actions,
        loadshed_points,
        buffer_factory_config,
    } = message;
    // Needed for resetting streams by what they hold alone.
    refuse!(at; buffer_factory_config);
    if resource_monitors.is_empty() {
        return Err(at.field("resource_monitors").reject("required"));
    }
    let mut max_connections = None;
    let monitors = at.each("resource_monitors", resource_monitors, |at, message| {
        monitor(at, message, &mut max_connections)
    })?;
    for (i, monitor) in monitors.iter().enumerate() {
        if monitors[..i].iter().any(|other| other.name == monitor.name) {
            let at = at.item("resource_monitors", i);
            return Err(at.field("name").reject("there is one of this name already"));
        }
    }
    let mut timers = Vec::new();
    let mut all = at.each("actions", actions, |at, message| {
        action(at, message, &monitors, &mut timers)
    })?;
    all.extend(at.each("loadshed_points", loadshed_points, |at, message| {
        let pb::LoadShedPoint { name, triggers } = message;
        Ok(Action {
            name: name.clone(),
            what: named(at, name, &POINTS)?,
            triggers: self::triggers(at, triggers, &monitors)?,
        })
    })?);
    for (i, action) in all.iter().enumerate() {
        if all[..i].iter().any(|other| other.what == action.what) {
            return Err(at.reject(format!("{:?} stands there twice", action.name)));
        }
    }
    Ok(Overload {
        interval: at.positive("refresh_interval", refresh_interval, Duration::from_secs(1))?,
        monitors,
        actions: all,
        timers,
        max_connections,
    })
}

fn monitor(
    at: &At<'_>,
    message: &pb::ResourceMonitor,
    max_connections: &mut Option<u64>,
) -> Result<Monitor, Rejection> {
    use pb::resource_monitor::ConfigType;
    let pb::ResourceMonitor { name, config_type } = message;
    at.not_empty("name", name)?;
    let ConfigType::TypedConfig(any) = at.required("typed_config", config_type)?;
    let typed = at.field("typed_config");
    let resource = match any.type_url.rsplit_once('/').map_or("", |(_, name)| name) {
        "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig" => {
            let monitors::fixed_heap::FixedHeapConfig {
                max_heap_size_bytes,
                max_heap_size_bytes_runtime,
            } = &typed.unpack(any)?;
            let most = match max_heap_size_bytes_runtime {
                None => Setting::from(*max_heap_size_bytes),
                Some(of_runtime) => typed.setting(of_runtime.default_value, &of_runtime.runtime_key),
            };
            if most.configured() == 0 {
                return Err(typed.field("max_heap_size_bytes").reject("must be more than 0"));
            }
            Resource::Heap { most }
        }
        "envoy.extensions.resource_monitors.cgroup_memory.v3.CgroupMemoryConfig" => {
            let monitors::cgroup_memory::CgroupMemoryConfig { max_memory_bytes } = typed.unpack(any)?;
            Resource::Cgroup {
                most: (max_memory_bytes > 0).then_some(max_memory_bytes),
            }
        }
        "envoy.extensions.resource_monitors.cpu_utilization.v3.CpuUtilizationConfig" => {
            use monitors::cpu_utilization::cpu_utilization_config::UtilizationComputeStrategy as S;
            let monitors::cpu_utilization::CpuUtilizationConfig { mode } = typed.unpack(any)?;
            match typed.choice("mode", mode)? {
                S::Host => Resource::Cpu,
                S::Container => return Err(typed.field("mode").reject("CONTAINER is not supported")),
            }
        }
        "envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig" => {
            let monitors::injected_resource::InjectedResourceConfig { filename } = typed.unpack(any)?;
            typed.not_empty("filename", &filename)?;
            Resource::Injected {
                file: filename.into(),
            }
        }
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig" => {
            let monitors::downstream_connections::DownstreamConnectionsConfig {
                max_active_downstream_connections: most,
            } = typed.unpack(any)?;
            let field = "max_active_downstream_connections";
            match u64::try_from(most) {
                Ok(most) if most > 0 => *max_connections = Some(most),
                _ => return Err(typed.field(field).reject("must be more than 0")),
            }
            // By its name it is found, as in Envoy.
            if name != CONNECTIONS {
                return Err(at.field("name").reject(format!("must be {CONNECTIONS}")));
            }
            Resource::Connections
        }
        _ => return Err(typed.unknown_extension(any)),
    };
    Ok(Monitor {
        name: name.clone(),
        resource,
    })
}

fn action(
    at: &At<'_>,
    message: &pb::OverloadAction,
    monitors: &[Monitor],
    timers: &mut Vec<(Timer, Least)>,
) -> Result<Action, Rejection> {
    let pb::OverloadAction {
        name,
        triggers,
        typed_config,
    } = message;
    let what = named(at, name, &ACTIONS)?;
    match what {
        What::ShrinkHeap => {
            at.warn("the allocator gives memory back by itself");
            no_effect!(at, "the allocator gives memory back by itself"; typed_config);
        }
        What::ReduceTimeouts => {
            let any = at.required("typed_config", typed_config)?;
            let at = at.field("typed_config");
            let pb::ScaleTimersOverloadActionConfig { timer_scale_factors } = &at.unpack(any)?;
            *timers = at.each("timer_scale_factors", timer_scale_factors, timer)?;
        }
        _ => {
            refuse!(at; typed_config);
        }
    }
    Ok(Action {
        name: name.clone(),
        what,
        triggers: self::triggers(at, triggers, monitors)?,
    })
}

fn timer(
    at: &At<'_>,
    message: &pb::scale_timers_overload_action_config::ScaleTimer,
) -> Result<(Timer, Least), Rejection> {
    use pb::scale_timers_overload_action_config::{ScaleTimer, TimerType, scale_timer::OverloadAdjust};
    let ScaleTimer {
        timer,
        overload_adjust,
    } = message;
    let timer = match at.choice("timer", *timer)? {
        TimerType::HttpDownstreamConnectionIdle => Timer::ConnectionIdle,
        TimerType::HttpDownstreamStreamIdle => Timer::StreamIdle,
        TimerType::TransportSocketConnect => Timer::Handshake,
        other @ (TimerType::HttpDownstreamConnectionMax | TimerType::HttpDownstreamStreamFlush) => {
            let why = format!("{} is not supported", other.as_str_name());
            return Err(at.field("timer").reject(why));
        }
        TimerType::Unspecified => return Err(at.field("timer").reject("required")),
    };
    let least = match at.required("overload_adjust", overload_adjust)? {
        OverloadAdjust::MinTimeout(time) => {
            let time = at.duration("min_timeout", &Some(*time))?;
            Least::Time(time.unwrap_or_default())
        }
        OverloadAdjust::MinScale(percent) => match (0.0..=100.0).contains(&percent.value) {
            true => Least::Share(percent.value / 100.0),
            false => return Err(at.field("min_scale").reject("from 0 to 100 percent")),
        },
    };
    Ok((timer, least))
}

fn named(at: &At<'_>, name: &str, known: &[(&str, What)]) -> Result<What, Rejection> {
    let found = known.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, what)| *what)
        .ok_or_else(|| at.field("name").reject(format!("{name:?} is not supported")))
}

fn triggers(at: &At<'_>, triggers: &[pb::Trigger], monitors: &[Monitor]) -> Result<Vec<Trigger>, Rejection> {
    if triggers.is_empty() {
        return Err(at.field("triggers").reject("required"));
    }
    let all = at.each("triggers", triggers, |at, message| trigger(at, message, monitors))?;
    for (i, trigger) in all.iter().enumerate() {
        if all[..i].iter().any(|other| other.monitor == trigger.monitor) {
            let at = at.item("triggers", i);
            return Err(at.field("name").reject("it is a trigger already"));
        }
    }
    Ok(all)
}

fn trigger(at: &At<'_>, message: &pb::Trigger, monitors: &[Monitor]) -> Result<Trigger, Rejection> {
    use pb::trigger::TriggerOneof;
    let pb::Trigger { name, trigger_oneof } = message;
    let monitor = monitors.iter().position(|monitor| monitor.name == *name);
    let monitor = monitor.ok_or_else(|| at.field("name").reject(format!("there is no monitor {name:?}")))?;
    if monitors[monitor].resource == Resource::Connections {
        return Err(at
            .field("name")
            .reject("it limits by itself, and triggers nothing"));
    }
    let share = |at: &At<'_>, field: &'static str, value: f64| match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err(at.field(field).reject("from 0 to 1")),
    };
    Ok(match at.required("trigger_oneof", trigger_oneof)? {
        TriggerOneof::Threshold(pb::ThresholdTrigger { value }) => {
            let value = share(&at.field("threshold"), "value", *value)?;
            Trigger {
                monitor,
                scaling: value,
                saturation: value,
                threshold: true,
            }
        }
        TriggerOneof::Scaled(pb::ScaledTrigger {
            scaling_threshold,
            saturation_threshold,
        }) => {
            let at = at.field("scaled");
            let scaling = share(&at, "scaling_threshold", *scaling_threshold)?;
            let saturation = share(&at, "saturation_threshold", *saturation_threshold)?;
            if scaling >= saturation {
                let why = "must be more than scaling_threshold";
                return Err(at.field("saturation_threshold").reject(why));
            }
            Trigger {
                monitor,
                scaling,
                saturation,
                threshold: false,
            }
        }
    })
}
