//! A configuration file is understood or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::config::{CommandLine, ZooCfg, parse, resolve};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let Ok((cfg, _)) = ZooCfg::read(parse(&text)) else { return };
    if let Ok((resolved, _)) = resolve(&cfg, &CommandLine::default()) {
        resolved.conf_text(resolved.port);
    }
});
