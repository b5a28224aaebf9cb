//! Message types: Envoy's xDS v3, and the few that are not in it.
//!
//! Envoy's own messages and Google's come from `envoy-types`, Istio's and leno's from `proto/`. All of them use
//! one set of `google.protobuf` types, [`google::protobuf`] (not `prost-types`).

mod any;
pub mod type_url;

pub use any::{FromAny, ToAny, UnpackError};
pub use envoy_types::pb::{envoy, google, opentelemetry, udpa, validate, xds};

mod xds_matchers;

/// Messages that belong beside those of `envoy-types`, which has not got them.
pub mod more {
    pub mod xds {
        pub mod r#type {
            pub mod matcher {
                pub mod v3 {
                    pub use crate::xds_matchers::{CelMatcher, HttpAttributesCelMatchInput, IpMatcher};

                    pub mod ip_matcher {
                        pub use crate::xds_matchers::IpRangeMatcher;
                    }
                }
            }
        }
    }
}

/// Logs and traces for an OpenTelemetry collector.
#[allow(clippy::all, unreachable_pub)]
pub mod otlp {
    tonic::include_proto!("opentelemetry");
}

/// Spans for a Zipkin collector.
#[allow(clippy::all, unreachable_pub)]
pub mod zipkin {
    tonic::include_proto!("zipkin");
}

/// Envoy's extensions that only its contrib build has.
#[allow(clippy::all, unreachable_pub)]
pub mod contrib {
    pub mod envoy {
        pub mod extensions {
            pub mod filters {
                pub mod http {
                    pub mod peak_ewma {
                        pub mod v3alpha {
                            tonic::include_proto!("envoy.extensions.filters.http.peak_ewma.v3alpha");
                        }
                    }
                }
            }
            pub mod load_balancing_policies {
                pub mod peak_ewma {
                    pub mod v3alpha {
                        tonic::include_proto!("envoy.extensions.load_balancing_policies.peak_ewma.v3alpha");
                    }
                }
            }
        }
    }
}

/// What Istio defines besides Envoy's messages.
#[allow(clippy::all, unreachable_pub, deprecated)]
pub mod istio {
    pub mod v1 {
        /// Certificates by CSR.
        pub mod auth {
            tonic::include_proto!("istio.v1.auth");
        }
    }
    pub mod networking {
        pub mod nds {
            /// Names and addresses for the DNS proxy.
            pub mod v1 {
                tonic::include_proto!("istio.networking.nds.v1");
            }
        }
    }
}

/// What operators and proxies say to leno's control plane besides xDS.
#[allow(clippy::all, unreachable_pub)]
pub mod control {
    tonic::include_proto!("leno.control.v1");
}
