//! A configuration file is understood or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::config::{Beside, CommandLine, ZooCfg, parse, resolve};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let Ok((cfg, _)) = ZooCfg::read(parse(&text)) else { return };
    for my_id in [None, Some("1".to_owned())] {
        let beside = Beside { my_id, initialize: false };
        if let Ok((resolved, _)) = resolve(&cfg, &CommandLine::default(), &beside) {
            resolved.conf_text(resolved.port);
        }
    }
});
