//! A snapshot of any content is loaded or refused; what was loaded can be read. An odd first byte
//! mends the checksums.
#![no_main]

use std::sync::Arc;

use engine::Draft;
use engine::recover::{Image, Inline};
use engine::snapshot::{load, outline};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, file)) = bytes.split_first() else { return };
    let mut file = file.to_vec();
    if how & 1 == 1 {
        fuzz::mend_snapshot(&mut file);
    }
    let _ = outline(&file);
    let image: Image = Arc::new(file);
    if let Ok(loaded) = load(&image, 0, &Inline) {
        let mut draft =
            Draft::restore_counted(fuzz::settings(), loaded.tree, loaded.stored, loaded.census);
        fuzz::walk(&draft.freeze());
    }
});
