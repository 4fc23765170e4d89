//! Log segments of any content: recovery reads them, cuts them or refuses them.
#![no_main]

use std::sync::Arc;

use engine::log::LogSettings;
use engine::log::recover::Contents;
use engine::recover::{DiskImage, Image, Inline, recover};
use libfuzzer_sys::fuzz_target;
use model::Zxid;

const SETTINGS: LogSettings = LogSettings { segment_bytes: 16 << 10, writes_max: 2, log_id: 7 };

fuzz_target!(|bytes: &[u8]| {
    let (segments, mended) = fuzz::segments(bytes);
    let borrowed = segments.iter().map(|(id, bytes)| (*id, bytes.as_slice())).collect();
    if let Ok(contents) = Contents::read(borrowed, &Inline) {
        let surviving = contents.surviving();
        for run in &surviving.runs {
            assert!(run.after(Zxid::ZERO).count() <= bytes.len());
        }
    }
    // An entry in a frame with a sound checksum is what a server decided: only whoever forges
    // checksums gets others applied.
    if !mended {
        let image = |bytes| -> Image { Arc::new(bytes) };
        let segments = segments.into_iter().map(|(id, bytes)| (id, image(bytes))).collect();
        let files = DiskImage { segments, ..DiskImage::default() };
        if let Ok(mut recovered) = recover(&files, fuzz::settings(), SETTINGS, &Inline) {
            fuzz::walk(&recovered.draft.freeze());
        }
    }
});
