//! Response flags: what went wrong, in Envoy's names (`%RESPONSE_FLAGS%`).

use std::fmt;

/// A set of [`Flag`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

/// A mark beside the flags.
const HEALTH_CHECK: u32 = 1 << 31;

macro_rules! flags {
    ($($name:ident = $bit:literal, $short:literal, $long:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Flag { $(#[doc = $long] $name = $bit,)* }

        impl Flag {
            pub const ALL: &[Flag] = &[$(Flag::$name,)*];

            pub fn short(self) -> &'static str {
                match self { $(Flag::$name => $short,)* }
            }

            pub fn long(self) -> &'static str {
                match self { $(Flag::$name => $long,)* }
            }
        }
    };
}

flags! {
    FailedLocalHealthCheck = 30, "LH", "FailedLocalHealthCheck";
    UpstreamRetryLimitExceeded = 4, "URX", "UpstreamRetryLimitExceeded";
    NoHealthyUpstream = 0, "UH", "NoHealthyUpstream";
    UpstreamConnectionFailure = 1, "UF", "UpstreamConnectionFailure";
    UpstreamOverflow = 2, "UO", "UpstreamOverflow";
    NoRouteFound = 3, "NR", "NoRouteFound";
    NoClusterFound = 5, "NC", "NoClusterFound";
    DurationTimeout = 6, "DT", "DurationTimeout";
    DownstreamConnectionTermination = 7, "DC", "DownstreamConnectionTermination";
    UpstreamConnectionTermination = 8, "UC", "UpstreamConnectionTermination";
    UpstreamRequestTimeout = 9, "UT", "UpstreamRequestTimeout";
    UpstreamRemoteReset = 10, "UR", "UpstreamRemoteReset";
    LocalReset = 11, "LR", "LocalReset";
    DelayInjected = 12, "DI", "DelayInjected";
    FaultInjected = 13, "FI", "FaultInjected";
    RateLimited = 14, "RL", "RateLimited";
    UnauthorizedExternalService = 15, "UAEX", "UnauthorizedExternalService";
    StreamIdleTimeout = 16, "SI", "StreamIdleTimeout";
    InvalidEnvoyRequestHeaders = 22, "IH", "InvalidEnvoyRequestHeaders";
    DownstreamProtocolError = 17, "DPE", "DownstreamProtocolError";
    UpstreamProtocolError = 18, "UPE", "UpstreamProtocolError";
    UpstreamMaxStreamDurationReached = 19, "UMSDR", "UpstreamMaxStreamDurationReached";
    OverloadManagerTerminated = 20, "OM", "OverloadManagerTerminated";
    DnsResolutionFailed = 21, "DF", "DnsResolutionFailed";
    NoFilterConfigFound = 26, "NFCF", "NoFilterConfigFound";
    DropOverload = 24, "DO", "DropOverload";
    DownstreamRemoteReset = 23, "DR", "DownstreamRemoteReset";
    UnconditionalDropOverload = 25, "UDO", "UnconditionalDropOverload";
}

impl Flags {
    pub fn insert(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    pub fn contains(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 & !HEALTH_CHECK == 0
    }

    /// The request is a health check of the proxy; nothing went wrong by that.
    pub fn mark_health_check(&mut self) {
        self.0 |= HEALTH_CHECK;
    }

    /// Without marks.
    #[must_use]
    pub fn told(self) -> Self {
        Self(self.0 & !HEALTH_CHECK)
    }

    pub fn is_health_check(self) -> bool {
        self.0 & HEALTH_CHECK != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.iter().copied().filter(move |f| self.contains(*f))
    }
}

impl From<Flag> for Flags {
    fn from(flag: Flag) -> Self {
        let mut flags = Self::default();
        flags.insert(flag);
        flags
    }
}

impl std::ops::BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// `UF,URX`, or `-`.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (i, flag) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(flag.short())?;
        }
        Ok(())
    }
}
