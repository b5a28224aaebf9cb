//! What of a request's record is known before its end.

use leno_engine::compile::access_log::{FormatValues, MetadataKind, Operator};
use leno_engine::compile::log_filter::LogType;
use leno_engine::compile::metadata::Value;
use leno_telemetry::access_log::{Common, RequestValues};

use super::{Exchange, route_record};

/// For header edits.
impl FormatValues for Exchange {
    fn write(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        // Nothing has been sent yet.
        if *operator == Operator::ResponseCode {
            return false;
        }
        self.so_far(|values| values.write(operator, out))
    }

    fn metadata(&self, kind: MetadataKind, namespace: &str, read: &mut dyn FnMut(&Value)) {
        self.so_far(|values| values.metadata(kind, namespace, read));
    }
}

impl Exchange {
    /// What could be told of it now. The messages are not looked at: somebody may be editing them.
    fn so_far<T>(&self, tell: impl FnOnce(&RequestValues<'_>) -> T) -> T {
        let began = self.watch.began();
        let (route, upstream) = (self.route.borrow(), self.upstream.borrow());
        let host = self.host.borrow();
        let trace = self.trace();
        let details = self.details.borrow();
        tell(&RequestValues {
            request_duration: self.watch.request_duration(),
            response_duration: self.response_duration.get(),
            response: None,
            grpc_status: self.grpc_status.get(),
            route: route_record(route.as_deref(), host.as_deref()),
            span: trace.as_ref().and_then(|trace| trace.context()),
            notes: &self.notes,
            on_demand: self.on_demand.get().map(|kept| &**kept),
            common: Common {
                start: self.session.worker.wall_time(began),
                duration: began.elapsed(),
                flags: self.flags.get(),
                details: &details,
                received: self.received.get(),
                sent: self.sent.get(),
                wire: self.counter.get(),
                attempts: self.attempts.get(),
                upstream: upstream.record(),
                downstream: self.downstream(),
                log_type: LogType::NotSet,
                random: self.session.worker.random.next(),
            },
        })
    }
}
