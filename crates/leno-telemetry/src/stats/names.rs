//! What is counted, by Envoy's names.

use super::Scope;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    /// A state: it goes up and down.
    Gauge,
}

/// One of the things that are counted in a scope.
pub trait Stat: Copy + 'static {
    const SCOPE: Scope;
    /// By [`Self::index`].
    const NAMES: &'static [(&'static str, Kind)];
    /// Whose distribution is kept, by their index.
    type Time: Time;

    fn index(self) -> usize;
}

/// What takes time, in milliseconds, in a scope.
pub trait Time: Copy + 'static {
    const NAMES: &'static [&'static str];

    fn index(self) -> usize;
}

/// Of a scope where nothing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTime {}

impl Time for NoTime {
    const NAMES: &'static [&'static str] = &[];

    fn index(self) -> usize {
        match self {}
    }
}

macro_rules! stats {
    ($(#[$doc:meta])* $enum:ident of $scope:ident, $time:ident { $($variant:ident $kind:ident $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $enum {
            $($variant,)*
        }

        impl Stat for $enum {
            const SCOPE: Scope = Scope::$scope;
            const NAMES: &'static [(&'static str, Kind)] = &[$(($name, Kind::$kind),)*];
            type Time = $time;

            #[inline]
            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

macro_rules! times {
    ($(#[$doc:meta])* $enum:ident { $($variant:ident $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $enum {
            $($variant,)*
        }

        impl Time for $enum {
            const NAMES: &'static [&'static str] = &[$($name,)*];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

/// Of what is counted by names that somebody says, and by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {}

impl Stat for Alone {
    const SCOPE: Scope = Scope::Alone;
    const NAMES: &'static [(&'static str, Kind)] = &[];
    type Time = NoTime;

    fn index(self) -> usize {
        match self {}
    }
}

times! {
    /// `cluster.NAME.`
    ClusterTime {
        Rq "upstream_rq_time",
        CxConnect "upstream_cx_connect_ms",
        CxLength "upstream_cx_length_ms",
    }
}

times! {
    /// `cluster.NAME.internal.`, `cluster.NAME.canary.`, `cluster.NAME.zone.FROM.TO.`
    AnswerTime {
        Rq "upstream_rq_time",
    }
}

times! {
    /// `vhost.NAME.vcluster.NAME.`, `vhost.NAME.route.STAT_PREFIX.`
    RouteTime {
        Rq "upstream_rq_time",
    }
}

times! {
    /// `http.STAT_PREFIX.`
    HttpTime {
        Rq "downstream_rq_time",
        CxLength "downstream_cx_length_ms",
    }
}

times! {
    /// `listener.ADDRESS.`
    ListenerTime {
        CxLength "downstream_cx_length_ms",
    }
}

stats! {
    /// `cluster.NAME.`
    ClusterStat of Cluster, ClusterTime {
        CxTotal Counter "upstream_cx_total",
        CxActive Gauge "upstream_cx_active",
        CxHttp1Total Counter "upstream_cx_http1_total",
        CxHttp2Total Counter "upstream_cx_http2_total",
        CxConnectFail Counter "upstream_cx_connect_fail",
        CxConnectTimeout Counter "upstream_cx_connect_timeout",
        CxConnectAttemptsExceeded Counter "upstream_cx_connect_attempts_exceeded",
        CxDestroy Counter "upstream_cx_destroy",
        CxDestroyLocal Counter "upstream_cx_destroy_local",
        CxDestroyRemote Counter "upstream_cx_destroy_remote",
        CxDestroyWithActiveRq Counter "upstream_cx_destroy_with_active_rq",
        CxDestroyLocalWithActiveRq Counter "upstream_cx_destroy_local_with_active_rq",
        CxDestroyRemoteWithActiveRq Counter "upstream_cx_destroy_remote_with_active_rq",
        CxRxBytesTotal Counter "upstream_cx_rx_bytes_total",
        CxTxBytesTotal Counter "upstream_cx_tx_bytes_total",
        CxOverflow Counter "upstream_cx_overflow",
        CxNoneHealthy Counter "upstream_cx_none_healthy",
        CxMaxRequests Counter "upstream_cx_max_requests",
        RqTotal Counter "upstream_rq_total",
        RqActive Gauge "upstream_rq_active",
        RqPendingTotal Counter "upstream_rq_pending_total",
        RqPendingActive Gauge "upstream_rq_pending_active",
        RqPendingOverflow Counter "upstream_rq_pending_overflow",
        RqActiveOverflow Counter "upstream_rq_active_overflow",
        RqPendingFailureEject Counter "upstream_rq_pending_failure_eject",
        RqCompleted Counter "upstream_rq_completed",
        Rq1xx Counter "upstream_rq_1xx",
        Rq2xx Counter "upstream_rq_2xx",
        Rq3xx Counter "upstream_rq_3xx",
        Rq4xx Counter "upstream_rq_4xx",
        Rq5xx Counter "upstream_rq_5xx",
        RqTimeout Counter "upstream_rq_timeout",
        RqPerTryTimeout Counter "upstream_rq_per_try_timeout",
        RqPerTryIdleTimeout Counter "upstream_rq_per_try_idle_timeout",
        RqMaxDurationReached Counter "upstream_rq_max_duration_reached",
        RqRetry Counter "upstream_rq_retry",
        RqRetryBackoffExponential Counter "upstream_rq_retry_backoff_exponential",
        RqRetryLimitExceeded Counter "upstream_rq_retry_limit_exceeded",
        RqRetryOverflow Counter "upstream_rq_retry_overflow",
        RqRetrySuccess Counter "upstream_rq_retry_success",
        RqRxReset Counter "upstream_rq_rx_reset",
        RqRetryBackoffRatelimited Counter "upstream_rq_retry_backoff_ratelimited",
        InternalRedirectSucceeded Counter "upstream_internal_redirect_succeeded_total",
        InternalRedirectFailed Counter "upstream_internal_redirect_failed_total",
        CxIdleTimeout Counter "upstream_cx_idle_timeout",
        CxProtocolError Counter "upstream_cx_protocol_error",
        CxMaxDurationReached Counter "upstream_cx_max_duration_reached",
        LbHealthyPanic Counter "lb_healthy_panic",
        LbLocalClusterNotOk Counter "lb_local_cluster_not_ok",
        LbZoneRoutingAllDirectly Counter "lb_zone_routing_all_directly",
        LbZoneRoutingSampled Counter "lb_zone_routing_sampled",
        LbZoneRoutingCrossZone Counter "lb_zone_routing_cross_zone",
        LbZoneNoCapacityLeft Counter "lb_zone_no_capacity_left",
    }
}

stats! {
    /// Some of a cluster's answers, in [`Scope::Answers`].
    AnswerStat of Answers, AnswerTime {
        RqCompleted Counter "upstream_rq_completed",
        Rq1xx Counter "upstream_rq_1xx",
        Rq2xx Counter "upstream_rq_2xx",
        Rq3xx Counter "upstream_rq_3xx",
        Rq4xx Counter "upstream_rq_4xx",
        Rq5xx Counter "upstream_rq_5xx",
    }
}

stats! {
    /// `vhost.NAME.vcluster.NAME.`, `vhost.NAME.route.STAT_PREFIX.`
    RouteStat of VirtualHost, RouteTime {
        RqTotal Counter "upstream_rq_total",
        RqCompleted Counter "upstream_rq_completed",
        Rq1xx Counter "upstream_rq_1xx",
        Rq2xx Counter "upstream_rq_2xx",
        Rq3xx Counter "upstream_rq_3xx",
        Rq4xx Counter "upstream_rq_4xx",
        Rq5xx Counter "upstream_rq_5xx",
        RqTimeout Counter "upstream_rq_timeout",
        RqRetry Counter "upstream_rq_retry",
        RqRetryLimitExceeded Counter "upstream_rq_retry_limit_exceeded",
        RqRetryOverflow Counter "upstream_rq_retry_overflow",
        RqRetrySuccess Counter "upstream_rq_retry_success",
    }
}

stats! {
    /// `http.STAT_PREFIX.`
    HttpStat of Http, HttpTime {
        CxTotal Counter "downstream_cx_total",
        CxActive Gauge "downstream_cx_active",
        CxDestroy Counter "downstream_cx_destroy",
        CxDestroyLocal Counter "downstream_cx_destroy_local",
        CxDestroyRemote Counter "downstream_cx_destroy_remote",
        CxDelayedCloseTimeout Counter "downstream_cx_delayed_close_timeout",
        CxDestroyActiveRq Counter "downstream_cx_destroy_active_rq",
        CxDestroyLocalActiveRq Counter "downstream_cx_destroy_local_active_rq",
        CxDestroyRemoteActiveRq Counter "downstream_cx_destroy_remote_active_rq",
        CxRxBytesTotal Counter "downstream_cx_rx_bytes_total",
        CxTxBytesTotal Counter "downstream_cx_tx_bytes_total",
        CxHttp1Total Counter "downstream_cx_http1_total",
        CxHttp1Active Gauge "downstream_cx_http1_active",
        CxHttp2Total Counter "downstream_cx_http2_total",
        CxHttp2Active Gauge "downstream_cx_http2_active",
        CxSslTotal Counter "downstream_cx_ssl_total",
        CxSslActive Gauge "downstream_cx_ssl_active",
        RqTotal Counter "downstream_rq_total",
        RqActive Gauge "downstream_rq_active",
        RqHttp1Total Counter "downstream_rq_http1_total",
        RqHttp2Total Counter "downstream_rq_http2_total",
        RqCompleted Counter "downstream_rq_completed",
        Rq1xx Counter "downstream_rq_1xx",
        Rq2xx Counter "downstream_rq_2xx",
        Rq3xx Counter "downstream_rq_3xx",
        Rq4xx Counter "downstream_rq_4xx",
        Rq5xx Counter "downstream_rq_5xx",
        RqRxReset Counter "downstream_rq_rx_reset",
        RqOverloadClose Counter "downstream_rq_overload_close",
        CxOverloadDisableKeepalive Counter "downstream_cx_overload_disable_keepalive",
        RqOverloadLocalReply Counter "rq_overload_local_reply",
        RqIdleTimeout Counter "downstream_rq_idle_timeout",
        RqTimeout Counter "downstream_rq_timeout",
        RqMaxDurationReached Counter "downstream_rq_max_duration_reached",
        RqWsOnNonWsRoute Counter "downstream_rq_ws_on_non_ws_route",
        NoRoute Counter "no_route",
        NoCluster Counter "no_cluster",
        RqDirectResponse Counter "rq_direct_response",
        RqTooLarge Counter "downstream_rq_too_large",
        RsTooLarge Counter "rs_too_large",
        RqHeaderTimeout Counter "downstream_rq_header_timeout",
        RqNonRelativePath Counter "downstream_rq_non_relative_path",
        RqFailedPathNormalization Counter "downstream_rq_failed_path_normalization",
        RqRedirectedWithNormalizedPath Counter "downstream_rq_redirected_with_normalized_path",
        RqRejectedViaIpDetection Counter "downstream_rq_rejected_via_ip_detection",
        CxProtocolError Counter "downstream_cx_protocol_error",
        CxMaxRequestsReached Counter "downstream_cx_max_requests_reached",
        CxIdleTimeout Counter "downstream_cx_idle_timeout",
        CxMaxDurationReached Counter "downstream_cx_max_duration_reached",
        CxDrainClose Counter "downstream_cx_drain_close",
        CxUpgradesTotal Counter "downstream_cx_upgrades_total",
        CxUpgradesActive Gauge "downstream_cx_upgrades_active",
        RouterRqTotal Counter "rq_total",
        TracingRandomSampling Counter "tracing.random_sampling",
        TracingServiceForced Counter "tracing.service_forced",
        TracingClientEnabled Counter "tracing.client_enabled",
        TracingNotTraceable Counter "tracing.not_traceable",
        TracingHealthCheck Counter "tracing.health_check",
    }
}

stats! {
    /// `tracing.opentelemetry.`
    OpenTelemetryStat of OpenTelemetry, NoTime {
        SpansSent Counter "spans_sent",
        TimerFlushed Counter "timer_flushed",
        SpansDropped Counter "spans_dropped",
        HttpReportsSent Counter "http_reports_sent",
        HttpReportsSuccess Counter "http_reports_success",
        HttpReportsFailed Counter "http_reports_failed",
    }
}

stats! {
    /// `tracing.zipkin.`
    ZipkinStat of Zipkin, NoTime {
        SpansSent Counter "spans_sent",
        TimerFlushed Counter "timer_flushed",
        ReportsSkippedNoCluster Counter "reports_skipped_no_cluster",
        ReportsSent Counter "reports_sent",
        ReportsDropped Counter "reports_dropped",
        ReportsFailed Counter "reports_failed",
    }
}

stats! {
    /// `listener.ADDRESS.`
    ListenerStat of Listener, ListenerTime {
        CxTotal Counter "downstream_cx_total",
        CxActive Gauge "downstream_cx_active",
        CxDestroy Counter "downstream_cx_destroy",
        CxOverflow Counter "downstream_cx_overflow",
        GlobalCxOverflow Counter "downstream_global_cx_overflow",
        CxOverloadReject Counter "downstream_cx_overload_reject",
        NoFilterChainMatch Counter "no_filter_chain_match",
        PreCxActive Gauge "downstream_pre_cx_active",
        PreCxTimeout Counter "downstream_pre_cx_timeout",
        ListenerFilterRemoteClose Counter "downstream_listener_filter_remote_close",
        ListenerFilterError Counter "downstream_listener_filter_error",
        CxTransportSocketConnectTimeout Counter "downstream_cx_transport_socket_connect_timeout",
    }
}

stats! {
    /// `tcp.STAT_PREFIX.`
    TcpStat of Tcp, NoTime {
        CxTotal Counter "downstream_cx_total",
        CxNoRoute Counter "downstream_cx_no_route",
        CxRxBytesTotal Counter "downstream_cx_rx_bytes_total",
        CxTxBytesTotal Counter "downstream_cx_tx_bytes_total",
        IdleTimeout Counter "idle_timeout",
        MaxDownstreamConnectionDuration Counter "max_downstream_connection_duration",
    }
}

/// By scope.
pub(super) fn of(scope: Scope) -> &'static [(&'static str, Kind)] {
    match scope {
        Scope::Cluster => ClusterStat::NAMES,
        Scope::VirtualHost => RouteStat::NAMES,
        Scope::Answers => AnswerStat::NAMES,
        Scope::Http => HttpStat::NAMES,
        Scope::Listener => ListenerStat::NAMES,
        Scope::Tcp => TcpStat::NAMES,
        Scope::OpenTelemetry => OpenTelemetryStat::NAMES,
        Scope::Zipkin => ZipkinStat::NAMES,
        Scope::Alone => Alone::NAMES,
    }
}

pub(super) fn times_of(scope: Scope) -> &'static [&'static str] {
    match scope {
        Scope::Cluster => ClusterTime::NAMES,
        Scope::VirtualHost => RouteTime::NAMES,
        Scope::Http => HttpTime::NAMES,
        Scope::Listener => ListenerTime::NAMES,
        Scope::Answers => AnswerTime::NAMES,
        Scope::Tcp | Scope::OpenTelemetry | Scope::Zipkin | Scope::Alone => NoTime::NAMES,
    }
}

impl ClusterStat {
    /// The class of a status.
    pub fn of_status(status: u16) -> Option<Self> {
        Some(match status / 100 {
            1 => Self::Rq1xx,
            2 => Self::Rq2xx,
            3 => Self::Rq3xx,
            4 => Self::Rq4xx,
            5 => Self::Rq5xx,
            _ => return None,
        })
    }
}

impl AnswerStat {
    /// The class of a status.
    pub fn of_status(status: u16) -> Option<Self> {
        Some(match status / 100 {
            1 => Self::Rq1xx,
            2 => Self::Rq2xx,
            3 => Self::Rq3xx,
            4 => Self::Rq4xx,
            5 => Self::Rq5xx,
            _ => return None,
        })
    }
}

impl RouteStat {
    /// The class of a status.
    pub fn of_status(status: u16) -> Option<Self> {
        Some(match status / 100 {
            1 => Self::Rq1xx,
            2 => Self::Rq2xx,
            3 => Self::Rq3xx,
            4 => Self::Rq4xx,
            5 => Self::Rq5xx,
            _ => return None,
        })
    }
}

impl HttpStat {
    /// What an answer of the proxy's own is counted as besides, by its details.
    pub fn of_details(details: &str, status: Option<u16>) -> Option<Self> {
        Some(match details {
            "via_upstream" => return None,
            "request_overall_timeout" => Self::RqTimeout,
            "request_header_timeout" => Self::RqHeaderTimeout,
            "max_duration_timeout" => Self::RqMaxDurationReached,
            "request_payload_too_large" => Self::RqTooLarge,
            "response_payload_too_large" => Self::RsTooLarge,
            "absolute_path_rejected" => Self::RqNonRelativePath,
            "path_normalization_failed" if status == Some(307) => Self::RqRedirectedWithNormalizedPath,
            "path_normalization_failed" => Self::RqFailedPathNormalization,
            "rejecting_because_detection_failed" => Self::RqRejectedViaIpDetection,
            _ => return None,
        })
    }

    /// The class of a status.
    pub fn of_status(status: u16) -> Option<Self> {
        Some(match status / 100 {
            1 => Self::Rq1xx,
            2 => Self::Rq2xx,
            3 => Self::Rq3xx,
            4 => Self::Rq4xx,
            5 => Self::Rq5xx,
            _ => return None,
        })
    }
}
