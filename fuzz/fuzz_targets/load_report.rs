//! Reports of load (ORCA) in any header: reading and weighing them never panics.
#![no_main]

use leno_engine::decide::orca::LoadReport;
use leno_engine::message::Headers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let names = ["named_metrics.*".to_owned(), "utilization.x".to_owned()];
    for name in ["endpoint-load-metrics", "endpoint-load-metrics-bin"] {
        let mut headers = Headers::default();
        headers.append(name, input);
        if let Some(report) = LoadReport::of(&headers) {
            let _ = report.weight(&names, 1.0);
        }
    }
});
